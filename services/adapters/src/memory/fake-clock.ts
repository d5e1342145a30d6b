/** Time that stands still until a test moves it. */
import type { Cancel, Clock, ElapsedMs, WallMs } from '@starling/ports';

interface Timer {
  readonly dueAt: number;
  readonly run: () => void;
}

/** A chain of callbacks longer than this is one that feeds itself. */
const maxRuns = 1_000_000;

/** What no wall clock shows: whoever takes one kind of time for the other is decades off. */
const startedAtMs = 10_000;

export class FakeClock implements Clock {
  #elapsed = startedAtMs;
  /** What the wall clock shows more. */
  #offset: number;
  /** The next due first; of those due together, the one asked for first. */
  readonly #timers: Timer[] = [];
  #soon: Array<() => void> = [];

  constructor(nowMs: number = Date.UTC(2026, 0, 1)) {
    this.#offset = nowMs - startedAtMs;
  }

  now(): WallMs {
    return (this.#elapsed + this.#offset) as WallMs;
  }

  /** Stands still, too: work takes no time unless a test says so. */
  elapsed(): ElapsedMs {
    return this.#elapsed as ElapsedMs;
  }

  after(delayMs: number, run: () => void): Cancel {
    const timer: Timer = { dueAt: this.#elapsed + Math.max(0, delayMs), run };
    const later = this.#timers.findIndex((other) => other.dueAt > timer.dueAt);
    this.#timers.splice(later === -1 ? this.#timers.length : later, 0, timer);
    return () => {
      const index = this.#timers.indexOf(timer);
      if (index !== -1) this.#timers.splice(index, 1);
    };
  }

  soon(run: () => void): void {
    this.#soon.push(run);
  }

  /** Timers waiting: 0 when everything that was opened has been closed. */
  get timerCount(): number {
    return this.#timers.length;
  }

  /** Runs what was asked to run soon, and what that asks for in turn. */
  flush(): void {
    for (let runs = 0; this.#soon.length > 0; runs++) {
      if (runs > maxRuns) throw new Error('What runs soon keeps asking to run soon');
      const due = this.#soon;
      this.#soon = [];
      for (const run of due) run();
    }
  }

  /**
   * Moves time on and runs what falls due on the way, each at its own moment, with a flush before and after each. Code
   * that waits for a promise gets its turn only when the test awaits.
   */
  advance(durationMs: number): void {
    const end = this.#elapsed + durationMs;
    this.flush();
    for (let runs = 0; ; runs++) {
      const next = this.#timers[0];
      if (next === undefined || next.dueAt > end) break;
      if (runs > maxRuns) throw new Error('A timer without delay keeps setting itself');
      this.#timers.shift();
      this.#elapsed = next.dueAt;
      next.run();
      this.flush();
    }
    this.#elapsed = end;
  }

  /** Sets the wall clock on, or back, as whoever keeps a machine's clock does: no time passes, and no timer runs. */
  stepWall(byMs: number): void {
    this.#offset += byMs;
  }
}
