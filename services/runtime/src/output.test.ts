import { once } from 'node:events';
import { Writable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { flushed, LogOutput } from './output.ts';

/** A reader that reads when it is told to. */
class Reader extends Writable {
  readonly lines: string[] = [];
  failure: Error | undefined;
  #held: (() => void) | undefined;
  isReading = true;

  constructor() {
    super({ decodeStrings: false, autoDestroy: false });
  }

  override _write(text: string, _encoding: string, done: (err?: Error) => void): void {
    const take = () => {
      if (this.failure === undefined) this.lines.push(text);
      done(this.failure);
    };
    if (this.isReading) take();
    else this.#held = take;
  }

  readOn(): void {
    this.isReading = true;
    this.#held?.();
  }
}

describe('[OP17] LogOutput', () => {
  test('drops lines that nobody reads past its bound, counts them, and says so when they are read again', async () => {
    const reader = new Reader();
    reader.isReading = false;
    const told: number[] = [];
    const output = new LogOutput(reader, (dropped) => told.push(dropped), 1_000);
    const before = LogOutput.dropped;
    for (let count = 0; count < 10_000; count++) output.write('x'.repeat(100));
    expect(reader.writableLength).toBeLessThanOrEqual(1_000);
    expect(LogOutput.dropped - before).toBe(9_990);
    expect(told).toEqual([]);
    reader.readOn();
    await flushed(reader, 5_000);
    expect(reader.lines).toHaveLength(10);
    expect(told).toEqual([9_990]);
    output.write('next');
    expect(reader.lines.at(-1)).toBe('next');
  });

  test('outlives every failure of the stream, and tells of the lost lines when there is room again', async () => {
    const reader = new Reader();
    const told: number[] = [];
    const output = new LogOutput(reader, (dropped) => told.push(dropped), 1_000);
    const before = LogOutput.dropped;
    reader.failure = Object.assign(new Error('write ENOSPC'), { code: 'ENOSPC' });
    const failed = once(reader, 'error').catch(() => undefined);
    output.write('lost');
    await failed;
    expect(LogOutput.dropped - before).toBe(1);

    const throwing = new Reader();
    throwing.write = () => {
      throw new Error('thrown at once');
    };
    new LogOutput(throwing, () => {}).write('lost too');
    expect(LogOutput.dropped - before).toBe(2);
  });

  test('flushed ends at its limit when nobody reads', async () => {
    const reader = new Reader();
    reader.isReading = false;
    reader.write('stuck');
    await flushed(reader, 10);
    expect(reader.lines).toEqual([]);
  });
});
