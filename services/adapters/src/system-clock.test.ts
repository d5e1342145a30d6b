import { clockContract } from '@starling/ports/contract';
import { expect, test } from 'vitest';
import { SystemClock } from './system-clock.ts';

clockContract('SystemClock', () => ({ clock: new SystemClock(), drive: () => undefined }));

test('[OP12] what a timer throws, or rejects with, is told, and the timers behind it run', async () => {
  const defects: unknown[] = [];
  const clock = new SystemClock({ defect: (kind, err) => void defects.push([kind, (err as Error).message]) });
  const fail = (text: string) => () => {
    throw new Error(text);
  };
  clock.soon(fail('soon'));
  clock.after(1, fail('after'));
  clock.after(2, async () => fail('rejected')());
  await new Promise<void>((resolve) => {
    const alive = setTimeout(() => undefined, 10_000);
    clock.after(5, () => {
      clearTimeout(alive);
      clock.soon(resolve);
    });
  });
  expect(defects).toEqual(['soon', 'after', 'rejected'].map((text) => ['timer', text]));
});

test('measures by a clock that is never set back', () => {
  const clock = new SystemClock();
  const before = clock.elapsed();
  expect(clock.elapsed()).toBeGreaterThanOrEqual(before);
});
