export type Cancel = () => void;

declare const kind: unique symbol;

/**
 * Milliseconds since 1970. Whoever keeps the machine's clock sets it back and on, by an hour too: for what is told, signed
 * or kept, and never for how long something takes.
 */
export type WallMs = number & { readonly [kind]: 'wall' };

/**
 * Milliseconds, with a fraction, since some moment in the past; never set back or on. For durations, rates, leases and
 * whatever ends after a while. It means nothing to another process or thread, nor after a restart: never kept, never sent.
 */
export type ElapsedMs = number & { readonly [kind]: 'elapsed' };

/** Time, so that tests own it. */
export interface Clock {
  now(): WallMs;
  /** Two of these around a piece of work that does not wait are the time it kept the processor. */
  elapsed(): ElapsedMs;
  /**
   * Once, no sooner than `delayMs` from now. Does not keep the process alive. What `run` throws ends that run and nothing
   * else, here and in `soon`: whatever is to go on afterwards must not stand behind what may throw.
   */
  after(delayMs: number, run: () => void): Cancel;
  /** Once, when what the process is reading at this moment has been handled: the end of the event-loop turn. */
  soon(run: () => void): void;
}

/** Before every other moment: of what has not happened yet. */
export const longAgo = Number.NEGATIVE_INFINITY as ElapsedMs;

export function later(at: ElapsedMs, ms: number): ElapsedMs {
  return (at + ms) as ElapsedMs;
}

/** Milliseconds that have gone by. */
export function msSince(at: ElapsedMs, clock: Pick<Clock, 'elapsed'>): number {
  return clock.elapsed() - at;
}
