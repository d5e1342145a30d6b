import type { ElapsedMs } from '@starling/ports';

/** A rate limit of one session, kept in one number (the generic cell rate algorithm). */
export class Rate {
  /** When the budget would be whole again, were nothing more taken. */
  #wholeAtMs = 0;

  /**
   * Takes `count` of `perSecond`, of which up to `burst` may come at once; false, and nothing taken, when not so many are
   * left.
   */
  take(nowMs: ElapsedMs, perSecond: number, burst: number, count = 1): boolean {
    if (perSecond <= 0) return false;
    const stepMs = 1_000 / perSecond;
    const wholeAtMs = Math.max(this.#wholeAtMs, nowMs) + count * stepMs;
    if (wholeAtMs - nowMs > burst * stepMs + 1e-6) return false;
    this.#wholeAtMs = wholeAtMs;
    return true;
  }

  /** Milliseconds until `take` of the same would give so many. */
  waitMs(nowMs: ElapsedMs, perSecond: number, burst: number, count = 1): number {
    return Math.max(0, this.#wholeAtMs - nowMs - ((burst - count) * 1_000) / perSecond);
  }
}
