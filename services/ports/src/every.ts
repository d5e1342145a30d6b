import type { Cancel, Clock } from './clock.ts';

/**
 * Calls `run` over and over: `ms` after this call, and then `ms` after the end of each run. So no two runs are ever under way
 * together, however long one takes. `ms` may be a function, which is asked before each pause.
 *
 * A run that throws, or rejects, does not end the loop. `failed` is told of the first failure after a run that went well, and
 * not of those that follow: what is away for an hour is one problem, not 3,600.
 *
 * Returns the function that ends the loop. Its promise resolves when the run that is under way is over, and never rejects; a
 * run that awaits it waits for itself.
 */
export function every(
  clock: Pick<Clock, 'after'>,
  ms: number | (() => number),
  run: () => unknown,
  failed: (err: unknown) => void,
): () => Promise<void> {
  let isOver = false;
  let isFailing = false;
  let underWay: Promise<void> = Promise.resolve();
  let cancel: Cancel = () => {};

  const wait = (): void => {
    if (!isOver) cancel = clock.after(typeof ms === 'number' ? ms : ms(), tick);
  };
  const succeeded = (): void => {
    isFailing = false;
  };
  const fail = (err: unknown): void => {
    if (!isFailing) failed(err);
    isFailing = true;
  };
  const tick = (): void => {
    try {
      const outcome = run();
      if (outcome instanceof Promise) underWay = outcome.then(succeeded, fail).then(wait);
      else {
        succeeded();
        wait();
      }
    } catch (err) {
      fail(err);
      wait();
    }
  };
  wait();
  return async () => {
    isOver = true;
    cancel();
    await underWay;
  };
}
