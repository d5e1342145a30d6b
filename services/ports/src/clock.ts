export type Cancel = () => void;

/** Time, so that tests own it. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /**
   * Milliseconds, with a fraction, since some moment in the past; never set back. For how long something took: two of
   * these around a piece of work that does not wait are the time it kept the processor.
   */
  elapsed(): number;
  /**
   * Once, no sooner than `delayMs` from now. Does not keep the process alive. What `run` throws ends that run and nothing
   * else, here and in `soon`: whatever is to go on afterwards must not stand behind what may throw.
   */
  after(delayMs: number, run: () => void): Cancel;
  /** Once, when what the process is reading at this moment has been handled: the end of the event-loop turn. */
  soon(run: () => void): void;
}
