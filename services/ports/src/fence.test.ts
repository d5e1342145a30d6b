import { expect, it } from 'vitest';
import { fence } from './fence.ts';
import type { DefectKind } from './observer.ts';

function observed() {
  const defects: Array<readonly [DefectKind, unknown]> = [];
  return { defects, observer: { defect: (kind: DefectKind, err: unknown) => void defects.push([kind, err]) } };
}

const fault = new Error('broken');

it('[OP12] what a callback throws is told and goes no further', () => {
  const { defects, observer } = observed();
  const destroyed: string[] = [];
  const fenced = fence(
    observer,
    'connection',
    (_name: string) => {
      throw fault;
    },
    (name) => destroyed.push(name),
  );
  expect(() => fenced('one')).not.toThrow();
  expect(defects).toEqual([['connection', fault]]);
  expect(destroyed).toEqual(['one']);
});

it('[OP12] what a callback rejects with is told and goes no further', async () => {
  const { defects, observer } = observed();
  const destroyed = await new Promise<string>((resolve) => {
    fence(
      observer,
      'stream',
      async (_name: string) => {
        throw fault;
      },
      resolve,
    )('two');
  });
  expect(destroyed).toBe('two');
  expect(defects).toEqual([['stream', fault]]);
});

it('[OP12] what the cleaning up throws is told, too', () => {
  const { defects, observer } = observed();
  const second = new Error('broken, too');
  const fenced = fence(
    observer,
    'timer',
    () => {
      throw fault;
    },
    () => {
      throw second;
    },
  );
  expect(fenced).not.toThrow();
  expect(defects).toEqual([
    ['timer', fault],
    ['timer', second],
  ]);
});

it('[OP12] a callback that works is called with its arguments, and nothing is told', () => {
  const { defects, observer } = observed();
  const calls: number[][] = [];
  fence(observer, 'listener', (...args: number[]) => void calls.push(args))(1, 2);
  expect(calls).toEqual([[1, 2]]);
  expect(defects).toEqual([]);
});
