/** One timer for all sessions: those due in the same second share a bucket. */
import type { Clock, ElapsedMs } from '@starling/ports';

const tickMs = 1_000;

export class TimingWheel<T extends object> {
  readonly #clock: Clock;
  readonly #onDue: (item: T) => void;
  readonly #onDefect: (item: T, err: unknown) => void;
  readonly #buckets = new Map<number, Set<T>>();
  readonly #tickOf = new Map<T, number>();
  #cancel: (() => void) | null = null;
  #lastTick = 0;

  /**
   * `onDue` is called up to one second late, once per `schedule`, and may schedule the item again. What it throws is for
   * `onDefect`, which must not: the items behind that one, and the wheel itself, go on.
   */
  constructor(clock: Clock, onDue: (item: T) => void, onDefect: (item: T, err: unknown) => void) {
    this.#clock = clock;
    this.#onDue = onDue;
    this.#onDefect = onDefect;
  }

  /** Replaces the item's earlier time, if it had one. */
  schedule(item: T, dueAtMs: ElapsedMs): void {
    this.remove(item);
    if (this.#cancel === null) {
      this.#lastTick = Math.floor(this.#clock.elapsed() / tickMs);
      this.#cancel = this.#clock.after(tickMs, () => this.#turn());
    }
    const tick = Math.max(Math.ceil(dueAtMs / tickMs), this.#lastTick + 1);
    let bucket = this.#buckets.get(tick);
    if (bucket === undefined) {
      bucket = new Set();
      this.#buckets.set(tick, bucket);
    }
    bucket.add(item);
    this.#tickOf.set(item, tick);
  }

  remove(item: T): void {
    const tick = this.#tickOf.get(item);
    if (tick === undefined) return;
    this.#tickOf.delete(item);
    const bucket = this.#buckets.get(tick);
    bucket?.delete(item);
    if (bucket?.size === 0) this.#buckets.delete(tick);
  }

  #turn(): void {
    this.#cancel = null;
    const now = Math.floor(this.#clock.elapsed() / tickMs);
    this.#lastTick = Math.max(this.#lastTick, now);
    // After a pause of the process several ticks are due at once.
    const due = [...this.#buckets.keys()].filter((tick) => tick <= now).sort((a, b) => a - b);
    for (const tick of due) {
      const bucket = this.#buckets.get(tick) ?? new Set();
      for (const item of bucket) {
        this.#tickOf.delete(item);
        try {
          this.#onDue(item);
        } catch (err) {
          this.#onDefect(item, err);
        }
      }
      this.#buckets.delete(tick);
    }
    if (this.#buckets.size > 0 && this.#cancel === null) {
      this.#cancel = this.#clock.after(tickMs, () => this.#turn());
    }
  }
}
