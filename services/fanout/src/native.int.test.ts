/** The native half, compiled here: the same proofs as the plain writer's, and what only C can do wrong. */
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { buildNativeFanout, findCompiler } from '../../../infra/testing/native-fanout.ts';
import { type NativeModule, NativeSocketWriter } from './native-socket-writer.ts';
import { openSocketWriter } from './open-socket-writer.ts';
import { descriptorOf, Exchange, proveSocketWriter, unexpected } from './socket-writer.test-kit.ts';

const room = dirname(dirname(fileURLToPath(import.meta.url)));
const built = buildNativeFanout();
const native: NativeModule = createRequire(import.meta.url)(built.file);
afterAll(() => built.remove());

describe('the native writer', () => {
  proveSocketWriter(() => {
    const writer = openSocketWriter('auto', built.file);
    expect(writer.path).toBe('native');
    return writer;
  });
});

describe('the way past the stream', () => {
  const exchange = new Exchange();
  beforeAll(() => exchange.start());
  afterEach(() => exchange.cut());
  afterAll(() => exchange.stop());

  /** A writer, and what the kernel said to each frame it was given. */
  function watched(): { writer: NativeSocketWriter; outcomes: number[] } {
    const outcomes: number[] = [];
    const write: NativeModule['write'] = (sockets, ends, frames, runs) => {
      native.write(sockets, ends, frames, runs);
      outcomes.push(...sockets.subarray(0, ends[runs - 1]));
    };
    return { writer: new NativeSocketWriter({ write }), outcomes };
  }

  it('is the one taken: the stream has written nothing', async () => {
    const { writer, outcomes } = watched();
    const wires = await exchange.openMany(3);
    writer.write(
      wires.map(({ server }) => server),
      [Buffer.from('one'), Buffer.from('two'), Buffer.from('three')],
      3,
      unexpected,
    );
    expect(outcomes).toEqual([3, 3, 5]);
    expect(wires.map(({ server }) => server.bytesWritten)).toEqual([0, 0, 0]);
    expect((await Promise.all(wires.map((wire) => wire.receive(3)))).join()).toBe('one,two,three');
  });

  it('ends where the kernel takes a part of a frame: the stream gets the rest', async () => {
    const { writer, outcomes } = watched();
    const wire = await exchange.open();
    wire.client.pause();
    const frame = Buffer.alloc(24_000_000, 'f');
    writer.write([wire.server], [frame], 1, unexpected);
    const [taken = 0] = outcomes;
    expect(taken).toBeGreaterThan(0);
    expect(wire.server.writableLength).toBe(frame.length - taken);
    wire.client.resume();
    expect((await wire.receive(frame.length, 20_000)).equals(frame)).toBe(true);
  });

  it('ends where the kernel takes nothing of a frame: the stream gets all of it', async () => {
    const { writer, outcomes } = watched();
    const wire = await exchange.open();
    wire.client.pause();
    let sent = 0;
    for (const size of [100_000, 1]) {
      const piece = Buffer.alloc(size, 'p');
      for (;;) {
        const sockets = Int32Array.of(descriptorOf(wire.server));
        native.write(sockets, Int32Array.of(1), [piece], 1);
        const [taken = 0] = sockets;
        if (taken < 0) break;
        sent += taken;
      }
    }
    writer.write([wire.server], [Buffer.from('refused')], 1, unexpected);
    expect(outcomes).toEqual([-constants.errno.EAGAIN]);
    expect(wire.server.writableLength).toBe(7);
    wire.client.resume();
    const received = await wire.receive(sent + 7, 20_000);
    expect(received.subarray(sent).toString()).toBe('refused');
  });
});

describe('the native module', () => {
  const one = Int32Array.of(-1);
  const frame = Buffer.from('x');
  it.each<[string, unknown[]]>([
    ['no arguments', []],
    ['numbers that are no descriptors', [[1], one, [frame], 1]],
    ['descriptors in another width', [new Int16Array(1), one, [frame], 1]],
    ['a run that ends beyond the sockets', [one, Int32Array.of(2), [frame], 1]],
    ['a run that ends before it starts', [Int32Array.of(-1, -1), Int32Array.of(2, 1), [frame, frame], 2]],
    ['a run that ends below zero', [one, Int32Array.of(-1), [frame], 1]],
    ['more runs than ends', [one, one, [frame], 2]],
    ['fewer frames than runs', [one, Int32Array.of(1), [], 1]],
    ['a frame of text', [one, Int32Array.of(1), ['x'], 1]],
    ['a frame in another width', [one, Int32Array.of(1), [new Uint16Array(1)], 1]],
    ['runs that are no number', [one, Int32Array.of(1), [frame], 'one']],
  ])('refuses %s, rather than touch memory that is not its own', (_what, args) => {
    const write = native.write as (...args: unknown[]) => void;
    expect(() => write(...args)).toThrow(TypeError);
  });

  it('throws before it sends anything, not half way', async () => {
    const exchange = new Exchange();
    await exchange.start();
    const wire = await exchange.open();
    const descriptor = descriptorOf(wire.server);
    const sockets = Int32Array.of(descriptor, -1);
    const write = native.write as (...args: unknown[]) => void;
    expect(() => write(sockets, Int32Array.of(1, 2), [Buffer.from('too soon'), 'no frame'], 2)).toThrow(TypeError);
    expect([...sockets]).toEqual([descriptor, -1]);
    wire.server.end();
    expect((await wire.receive(1)).toString()).toBe('');
    exchange.stop();
  });

  it('keeps to its memory and to defined behaviour, as the address sanitizer sees it', () => {
    const program = `${built.file}.test`;
    const sources = ['send_run.c', 'send_run.test.c'].map((name) => join(room, 'src/native', name));
    const strict = ['-std=c11', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Wpedantic', '-Werror'];
    const watchful = ['-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=all'];
    execFileSync(findCompiler(), [...strict, ...watchful, '-o', program, ...sources], { encoding: 'utf8' });
    expect(execFileSync(program, { encoding: 'utf8', timeout: 20_000 })).toBe('ok\n');
  });
});
