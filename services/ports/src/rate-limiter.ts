export interface RateAnswer {
  readonly isAllowed: boolean;
  /** What is left of the budget after this call. */
  readonly remaining: number;
  /** Milliseconds until the same call may succeed; 0 when it was allowed. */
  readonly retryAfterMs: number;
}

/** A budget shared by all nodes: a token bucket that holds one second's worth and refills steadily. */
export interface RateLimiter {
  /** Takes `cost` of the bucket `name`, or nothing at all. A cost above `perSecond` is never allowed. */
  take(name: string, cost: number, perSecond: number): Promise<RateAnswer>;
  /** Whose bucket it was is gone. Absent where this process keeps none: elsewhere it runs out by itself. */
  forget?(name: string): void;
}
