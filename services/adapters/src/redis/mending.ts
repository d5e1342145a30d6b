/**
 * That Redis has the seats which this node has. Whenever there is a reason to doubt it, the node's book is compared with
 * Redis, what is missing is put in, what is too much taken out, and leaves that could not be delivered are replayed.
 * Meanwhile joins and leaves wait a little.
 */
import { type Clock, later, longAgo, type Observer, type Topic } from '@starling/ports';
import { StarlingError } from '@starling/protocol';
import type { RedisLink } from './link.ts';
import type { LeaseTiming, NodeLease } from './node-lease.ts';
import { type BookedSeat, parseField, type SeatBook } from './seat-book.ts';
import { giveBackSeat, takeSeat } from './seat-scripts.ts';

export interface MendingDeps {
  readonly link: RedisLink;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly timing: LeaseTiming;
  readonly lease: NodeLease;
  readonly book: SeatBook;
  /** Renews the lease, and acts on what that tells. Called first in every mending. */
  renew(): Promise<void>;
  onRepair(topic: Topic, connectionCount: number): void;
}

/** How long beyond the time to settle a join or leave waits for the mending to be done. */
const patienceMs = 1_500;
/** Seats put back at once. */
const batchSize = 200;

export class Mending {
  readonly #deps: MendingDeps;
  /** Goes up with every reason to doubt. */
  #doubts = 1;
  /** Up to which doubt all was compared and mended. */
  #mended = 0;
  #underWay: Promise<void> | null = null;
  #waiting: Array<() => void> = [];
  /** Before it nobody comes or goes: other nodes may still be subscribing again and putting back their seats. */
  #settledAt = longAgo;
  #isStopped = false;

  constructor(deps: MendingDeps) {
    this.#deps = deps;
  }

  get isNeeded(): boolean {
    return this.#mended !== this.#doubts;
  }

  /** Other nodes may be subscribing again and putting back their seats for so long; never longer than the time for it. */
  settleIn(durationMs: number): void {
    const boundedMs = Math.min(durationMs, this.#deps.timing.settleMs);
    const settledAt = later(this.#deps.clock.elapsed(), boundedMs);
    if (settledAt > this.#settledAt) this.#settledAt = settledAt;
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** Resolves when Redis has what the book has, as far as is known; rejects when that takes too long. */
  async sure(): Promise<void> {
    if (!this.isNeeded) return;
    if (!this.#deps.link.isUp) throw unavailable('Redis is not there');
    this.mend().catch(() => undefined);
    await new Promise<void>((resolve, reject) => {
      const cancel = this.#deps.clock.after(this.#deps.timing.settleMs + patienceMs, () => {
        this.#waiting = this.#waiting.filter((other) => other !== resume);
        reject(unavailable('what Redis lost is still being put back'));
      });
      const resume = (): void => {
        cancel();
        resolve();
      };
      this.#waiting.push(resume);
    });
  }

  doubt(): void {
    this.#doubts++;
    if (this.#isStopped || !this.#deps.link.isUp) return;
    this.mend().catch((err: unknown) => {
      // Tried again with the next renewal, with the next join, or when the link is back.
      if (!isUnavailable(err)) this.#deps.observer.problem('mending the seats in redis failed', { err });
    });
  }

  /** One at a time: who asks during a mending gets that one. */
  mend(): Promise<void> {
    this.#underWay ??= this.#mendAll().finally(() => {
      this.#underWay = null;
    });
    return this.#underWay;
  }

  async #mendAll(): Promise<void> {
    do {
      await this.#deps.renew();
      const doubts = this.#doubts;
      await this.#mendOnce();
      this.#mended = doubts;
    } while (this.isNeeded);
    for (const resume of this.#waiting.splice(0)) resume();
  }

  async #mendOnce(): Promise<void> {
    for (const tag of new Set([...this.#deps.lease.tags, ...this.#deps.book.tags])) await this.#mendPartition(tag);
    const settleLeftMs = this.#settledAt - this.#deps.clock.elapsed();
    if (settleLeftMs > 0) await new Promise<void>((resolve) => this.#deps.clock.after(settleLeftMs, resolve));
    const leaving = [...this.#deps.book.all()].filter(({ state, isAsking }) => state === 'leaving' && !isAsking);
    await inBatches(leaving, async (booked) => {
      const { seat } = booked;
      const place = this.#deps.link.keys.place(seat.topic);
      const left = await giveBackSeat(this.#deps.link, place, seat.socketId, { openLease: this.#deps.lease.id });
      if (left.kind === 'closed') {
        this.#doubts++;
        return;
      }
      booked.left = left.answer;
      this.#deps.book.delete(place, booked);
      if (left.answer.wasThere) this.#deps.onRepair(seat.topic, left.answer.connectionCount);
    });
  }

  /** Puts in what is missing, and takes out what is too much. */
  async #mendPartition(tag: string): Promise<void> {
    const partition = this.#deps.link.keys.partition(tag);
    const state = await this.#deps.lease.open(partition);
    if (state === 'ended') {
      this.#doubts++;
      return;
    }
    const held = partition.heldPrefix + this.#deps.lease.id;
    const fields = new Set(await this.#deps.link.command('hkeys', (client) => client.hkeys(held)));
    const booked = this.#deps.book.in(tag);
    // What a call under way will decide is left to that call.
    const missing = [...booked].filter(
      ([field, { state, isAsking }]) => !fields.has(field) && state !== 'joining' && !isAsking,
    );
    const surplus = [...fields].filter((field) => field !== '' && !booked.has(field));
    if (state === 'opened' && missing.some(([, { isAway }]) => !isAway)) {
      // Others may have lost the same, and are putting it back just now.
      this.settleIn(this.#deps.timing.settleMs);
    }
    await inBatches(missing, async ([field, seat]) => {
      // Left while others were put back: nothing more to do for it.
      if (this.#deps.book.in(tag).get(field) === seat && !seat.isAsking) await this.#putBack(seat);
    });
    await inBatches(surplus, async (field) => {
      const parsed = parseField(field);
      const topic = parsed && this.#deps.link.keys.topicOf(tag, parsed.name);
      if (parsed === undefined || topic === undefined) {
        this.#deps.observer.problem('a seat in redis cannot be read', { tag });
        await this.#deps.link.command('hdel', (client) => client.hdel(held, field));
        return;
      }
      const { socketId } = parsed;
      const options = { onlyLease: this.#deps.lease.id };
      const left = await giveBackSeat(this.#deps.link, this.#deps.link.keys.place(topic), socketId, options);
      if (left.kind === 'left' && left.answer.wasThere) this.#deps.onRepair(topic, left.answer.connectionCount);
    });
  }

  async #putBack(booked: BookedSeat): Promise<void> {
    const { isAway, seat } = booked;
    const taken = await takeSeat(this.#deps.link, this.#deps.lease.id, booked, {
      memberLimit: undefined,
      isPutBack: !isAway,
    });
    if (taken.kind !== 'taken') {
      this.#doubts++;
      return;
    }
    booked.isAway = false;
    if (isAway) this.#deps.onRepair(seat.topic, taken.connectionCount);
  }
}

export function unavailable(text: string): StarlingError {
  return new StarlingError('unavailable', text, { retryAfterSeconds: 1 });
}

export function isUnavailable(err: unknown): boolean {
  return err instanceof StarlingError && err.code === 'unavailable';
}

async function inBatches<T>(items: readonly T[], each: (item: T) => Promise<void>): Promise<void> {
  for (let start = 0; start < items.length; start += batchSize) {
    await Promise.all(items.slice(start, start + batchSize).map(each));
  }
}
