/** The time of the machine. */
import type { Cancel, Clock } from '@starling/ports';

/** The longest delay a timer of Node takes; it runs a longer one at once. */
const longestDelayMs = 2 ** 31 - 1;

/** The real clock. Its `soon` keeps the process alive until it has run, its `after` does not. */
export class SystemClock implements Clock {
  now(): number {
    return Date.now();
  }

  after(delayMs: number, run: () => void): Cancel {
    let timer: NodeJS.Timeout;
    const arm = (leftMs: number): void => {
      const stepMs = Math.min(leftMs, longestDelayMs);
      timer = setTimeout(() => (leftMs > stepMs ? arm(leftMs - stepMs) : run()), stepMs);
      timer.unref();
    };
    // One more, because a timer may run up to a millisecond early by the reading of Date.now().
    arm(Math.max(0, Math.ceil(delayMs)) + 1);
    return () => clearTimeout(timer);
  }

  soon(run: () => void): void {
    setImmediate(run);
  }
}
