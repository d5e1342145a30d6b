import { describe, expect, test } from 'vitest';
import { Lifecycle } from './lifecycle.ts';
import { createLog } from './log.ts';

function make() {
  const lines: string[] = [];
  const happened: string[] = [];
  const lifecycle = new Lifecycle(
    createLog({ level: 'info', isReadable: false, destination: { write: (line) => void lines.push(line) } }),
  );
  const add = (name: string, over: { open?: () => unknown; close?: () => unknown; closeLimitMs?: number } = {}) =>
    lifecycle.add(
      name,
      async () => {
        happened.push(`open ${name}`);
        await over.open?.();
        return () => {
          happened.push(`close ${name}`);
          return over.close?.();
        };
      },
      over.closeLimitMs,
    );
  return { lifecycle, add, happened, lines };
}

describe('Lifecycle', () => {
  test('opens in order, one after the other, and closes in the reverse', async () => {
    const { lifecycle, add, happened } = make();
    add('store', { open: async () => void happened.push('store is up'), close: () => Promise.resolve() });
    lifecycle.add('nothing to close', () => happened.push('greeting'));
    add('server');
    await lifecycle.start();
    await lifecycle.stop();
    expect(happened).toEqual(['open store', 'store is up', 'greeting', 'open server', 'close server', 'close store']);
  });

  test('closes what was opened when a step fails, and throws its error', async () => {
    const { lifecycle, add, happened } = make();
    add('store');
    add('server', { open: () => Promise.reject(new Error('the port is taken')) });
    add('never');
    await expect(lifecycle.start()).rejects.toThrow('the port is taken');
    expect(happened).toEqual(['open store', 'open server', 'close store']);
  });

  test('stops once, however often it is asked to', async () => {
    const { lifecycle, add, happened } = make();
    add('store');
    await lifecycle.start();
    await Promise.all([lifecycle.stop(), lifecycle.stop()]);
    expect(happened).toEqual(['open store', 'close store']);
  });

  test('gives up a step that does not close in its time, or fails, says so, and closes the rest', async () => {
    const { lifecycle, add, happened, lines } = make();
    add('store');
    add('stuck', { close: () => new Promise(() => {}), closeLimitMs: 20 });
    add('broken', {
      close: () => {
        throw new Error('already gone');
      },
    });
    await lifecycle.start();
    await lifecycle.stop();
    expect(happened.slice(3)).toEqual(['close broken', 'close stuck', 'close store']);
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { step: 'broken', msg: 'Did not stop cleanly', err: { message: 'already gone' } },
      { step: 'stuck', closeLimitMs: 20, msg: 'Did not stop in time' },
    ]);
  });

  test('a stop while it starts ends the starting', async () => {
    const { lifecycle, add, happened } = make();
    let stopped: Promise<void> | undefined;
    add('store', {
      open: () => {
        stopped = lifecycle.stop();
      },
    });
    add('server');
    await lifecycle.start();
    await stopped;
    expect(happened).toEqual(['open store', 'close store']);
  });
});
