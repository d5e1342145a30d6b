import { describe, expect, test } from 'vitest';
import { Lifecycle } from './lifecycle.ts';
import { createLog } from './log.ts';

function make() {
  const lines: string[] = [];
  const happened: string[] = [];
  const lifecycle = new Lifecycle(
    createLog({ level: 'info', isReadable: false, destination: { write: (line) => void lines.push(line) } }),
  );
  const add = (name: string, over: { start?: () => unknown; stop?: () => unknown; stopLimitMs?: number } = {}) =>
    lifecycle.add({
      name,
      start: () => {
        happened.push(`start ${name}`);
        return over.start?.();
      },
      stop: () => {
        happened.push(`stop ${name}`);
        return over.stop?.();
      },
      ...(over.stopLimitMs === undefined ? {} : { stopLimitMs: over.stopLimitMs }),
    });
  return { lifecycle, add, happened, lines };
}

describe('Lifecycle', () => {
  test('starts in order, one after the other, and stops in the reverse', async () => {
    const { lifecycle, add, happened } = make();
    add('store', { start: async () => void happened.push('store is up'), stop: () => Promise.resolve() });
    add('server');
    await lifecycle.start();
    await lifecycle.stop();
    expect(happened).toEqual(['start store', 'store is up', 'start server', 'stop server', 'stop store']);
  });

  test('undoes what was started when a step fails, that step included, and throws its error', async () => {
    const { lifecycle, add, happened } = make();
    add('store');
    add('server', { start: () => Promise.reject(new Error('the port is taken')) });
    add('never');
    await expect(lifecycle.start()).rejects.toThrow('the port is taken');
    expect(happened).toEqual(['start store', 'start server', 'stop server', 'stop store']);
  });

  test('stops once, however often it is asked to', async () => {
    const { lifecycle, add, happened } = make();
    add('store');
    await lifecycle.start();
    await Promise.all([lifecycle.stop(), lifecycle.stop()]);
    expect(happened).toEqual(['start store', 'stop store']);
  });

  test('gives up a step that does not stop in its time, or fails, says so, and stops the rest', async () => {
    const { lifecycle, add, happened, lines } = make();
    add('store');
    add('stuck', { stop: () => new Promise(() => {}), stopLimitMs: 20 });
    add('broken', {
      stop: () => {
        throw new Error('already gone');
      },
    });
    await lifecycle.start();
    await lifecycle.stop();
    expect(happened.slice(3)).toEqual(['stop broken', 'stop stuck', 'stop store']);
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { step: 'broken', msg: 'Did not stop cleanly', err: { message: 'already gone' } },
      { step: 'stuck', limitMs: 20, msg: 'Did not stop in time' },
    ]);
  });

  test('a stop while it starts ends the starting', async () => {
    const { lifecycle, add, happened } = make();
    let stopped: Promise<void> | undefined;
    add('store', {
      start: () => {
        stopped = lifecycle.stop();
      },
    });
    add('server');
    await lifecycle.start();
    await stopped;
    expect(happened).toEqual(['start store', 'stop store']);
  });
});
