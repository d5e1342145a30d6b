/** A rate limit of one session, kept in one number (the generic cell rate algorithm). */
export class Rate {
  /** When the budget would be whole again, were nothing more taken. */
  #wholeAtMs = 0;

  /** Takes one of `perSecond`, of which up to `burst` may come at once; false, and nothing taken, when none is left. */
  take(nowMs: number, perSecond: number, burst: number): boolean {
    const stepMs = 1_000 / perSecond;
    const wholeAtMs = Math.max(this.#wholeAtMs, nowMs) + stepMs;
    if (wholeAtMs - nowMs > burst * stepMs + 1e-6) return false;
    this.#wholeAtMs = wholeAtMs;
    return true;
  }
}
