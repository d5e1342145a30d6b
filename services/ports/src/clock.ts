export type Cancel = () => void;

/** Time, so that tests own it. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Once, no sooner than `delayMs` from now. Does not keep the process alive. */
  after(delayMs: number, run: () => void): Cancel;
  /** Once, when what the process is reading at this moment has been handled: the end of the event-loop turn. */
  soon(run: () => void): void;
}
