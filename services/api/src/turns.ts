/** Signed requests take turns, so that many costly ones at once do not hold the event loop until all are answered. */
import type { Clock } from '@starling/ports';

/** Milliseconds of a turn of the event loop. A trigger takes 0.2; a batch of 2 MiB takes 10 by itself. */
const turnMs = 10;

/**
 * In one turn of the event loop requests run for `turnMs`. Those that come later wait for the next turn, and then the apps
 * go round, one request each: an app that sent a thousand waits for its own. Not bounded here: each that waits has
 * its body counted by `Bodies` and its connection by the server.
 */
export class Turns {
  readonly #clock: Pick<Clock, 'elapsed'>;
  readonly #soon: (run: () => void) => void;
  readonly #waiting = new Map<string, (() => void)[]>();
  #beganMs = 0;
  #isScheduled = false;

  constructor(clock: Pick<Clock, 'elapsed'>, soon: (run: () => void) => void = setImmediate) {
    this.#clock = clock;
    this.#soon = soon;
  }

  /** At once while the turn has time and nobody waits, as a rule. Settles as `work` does. */
  run<T>(appId: string, work: () => Promise<T>): Promise<T> {
    const now = this.#clock.elapsed();
    if (!this.#isScheduled) {
      this.#beganMs = now;
      this.#schedule();
    }
    if (this.#waiting.size === 0 && now - this.#beganMs < turnMs) return work();
    return new Promise((resolve) => {
      const begin = () => resolve(work());
      const queue = this.#waiting.get(appId);
      if (queue === undefined) this.#waiting.set(appId, [begin]);
      else queue.push(begin);
    });
  }

  #schedule(): void {
    this.#isScheduled = true;
    this.#soon(() => void this.#turn());
  }

  async #turn(): Promise<void> {
    this.#beganMs = this.#clock.elapsed();
    while (this.#waiting.size > 0 && this.#clock.elapsed() - this.#beganMs < turnMs) {
      this.#beginNext();
      await allPromises();
    }
    this.#isScheduled = false;
    if (this.#waiting.size > 0) this.#schedule();
  }

  #beginNext(): void {
    for (const [appId, queue] of this.#waiting) {
      const begin = queue.shift();
      this.#waiting.delete(appId);
      if (queue.length > 0) this.#waiting.set(appId, queue);
      begin?.();
      return;
    }
  }
}

/** Resolves when a request has done all that it does before it waits for something outside the process. */
function allPromises(): Promise<void> {
  // Node runs what is due at the next tick when no promise has anything to do.
  return new Promise((resolve) => queueMicrotask(() => process.nextTick(resolve)));
}
