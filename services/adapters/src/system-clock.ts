/** The time of the machine. */
import { type Cancel, type Clock, type ElapsedMs, fence, type Observer, type WallMs } from '@starling/ports';

/** The longest delay a timer of Node takes; it runs a longer one at once. */
const longestDelayMs = 2 ** 31 - 1;

/** The real clock. Its `soon` keeps the process alive until it has run, its `after` does not. */
export class SystemClock implements Clock {
  readonly #observer: Pick<Observer, 'defect'>;

  /** Told what a callback throws, which ends that one run. Without an observer, Node's own warning says it. */
  constructor(observer: Pick<Observer, 'defect'> = warning) {
    this.#observer = observer;
  }

  now(): WallMs {
    return Date.now() as WallMs;
  }

  after(delayMs: number, run: () => void): Cancel {
    const fenced = fence(this.#observer, 'timer', run);
    let timer: NodeJS.Timeout;
    const arm = (leftMs: number): void => {
      const stepMs = Math.min(leftMs, longestDelayMs);
      timer = setTimeout(() => (leftMs > stepMs ? arm(leftMs - stepMs) : fenced()), stepMs);
      timer.unref();
    };
    // One more, because a timer may run up to a millisecond early by the reading of `elapsed`.
    arm(Math.max(0, Math.ceil(delayMs)) + 1);
    return () => clearTimeout(timer);
  }

  elapsed(): ElapsedMs {
    return performance.now() as ElapsedMs;
  }

  soon(run: () => void): void {
    setImmediate(fence(this.#observer, 'timer', run));
  }
}

const warning: Pick<Observer, 'defect'> = {
  defect: (kind, err) => process.emitWarning(err instanceof Error ? err : new Error(`A ${kind} threw ${String(err)}`)),
};
