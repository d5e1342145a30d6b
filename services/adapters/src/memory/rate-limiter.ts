/** Budgets of a single node. */
import { type Clock, type ElapsedMs, longAgo, type RateAnswer, type RateLimiter } from '@starling/ports';

interface Bucket {
  /** Thousandths of a unit taken and not yet refilled: whole numbers, so that no rounding gives or takes a turn. */
  debt: number;
  /** Whole milliseconds. */
  readAt: ElapsedMs;
}

/** How long an empty bucket takes to be full, whatever its size. */
const fullAfterMs = 1_000;
/** Buckets of one second, about 15 MB: whoever can make up names, such as addresses, must not fill the process with them. */
const mostBuckets = 100_000;

/**
 * Keeps the buckets touched in the last one to two seconds and no others: one that was left alone for a second is full,
 * and a full bucket is what a name without one has.
 */
export class MemoryRateLimiter implements RateLimiter {
  readonly #clock: Clock;
  #recent = new Map<string, Bucket>();
  #older = new Map<string, Bucket>();
  #recentSince = longAgo;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Buckets kept. */
  get size(): number {
    return this.#recent.size + this.#older.size;
  }

  async take(name: string, cost: number, perSecond: number): Promise<RateAnswer> {
    const bucket = this.#bucket(name, perSecond);
    const left = perSecond * 1_000 - bucket.debt;
    // It fits in no bucket; the answer is when this one is full.
    if (cost > perSecond) {
      return { isAllowed: false, remaining: whole(left), retryAfterMs: fullAfterMs };
    }
    const missing = cost * 1_000 - left;
    if (missing > 0) {
      return { isAllowed: false, remaining: whole(left), retryAfterMs: Math.ceil(missing / perSecond) };
    }
    bucket.debt += cost * 1_000;
    return { isAllowed: true, remaining: whole(left - cost * 1_000), retryAfterMs: 0 };
  }

  forget(name: string): void {
    this.#recent.delete(name);
    this.#older.delete(name);
  }

  #bucket(name: string, perSecond: number): Bucket {
    const now = Math.floor(this.#clock.elapsed()) as ElapsedMs;
    this.#forget(now);
    const bucket = this.#recent.get(name) ?? this.#older.get(name) ?? { debt: 0, readAt: now };
    this.#older.delete(name);
    this.#recent.set(name, bucket);
    // The one touched first goes, and has a whole budget again: the least harm that can be done to anybody.
    if (this.#recent.size > mostBuckets) {
      const [first = name] = this.#recent.keys();
      this.#recent.delete(first);
    }
    bucket.debt = Math.max(0, bucket.debt - (now - bucket.readAt) * perSecond);
    bucket.readAt = now;
    return bucket;
  }

  #forget(now: ElapsedMs): void {
    const ageMs = now - this.#recentSince;
    if (ageMs < fullAfterMs) return;
    this.#older = ageMs >= 2 * fullAfterMs ? new Map() : this.#recent;
    this.#recent = new Map();
    this.#recentSince = now;
  }
}

function whole(thousandths: number): number {
  return Math.max(0, Math.floor(thousandths / 1_000));
}
