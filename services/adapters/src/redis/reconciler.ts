/**
 * That Redis has the memberships which this node has. Whenever there is a reason to doubt it, the node's book is compared with
 * Redis, what is missing is put in, what is too much taken out, and leaves that could not be delivered are replayed.
 * Meanwhile joins and leaves wait a little.
 */
import { type Clock, later, longAgo, type Observer, type Topic } from '@starling/ports';
import { StarlingError } from '@starling/protocol';
import type { RedisLink } from './link.ts';
import { type BookedMembership, type MembershipBook, parseField } from './membership-book.ts';
import { releaseMembership, takeMembership } from './membership-scripts.ts';
import type { LeaseTiming, NodeLease } from './node-lease.ts';

export interface ReconcilerDeps {
  readonly link: RedisLink;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly timing: LeaseTiming;
  readonly lease: NodeLease;
  readonly book: MembershipBook;
  /** Renews the lease, and acts on what that tells. Called first in every reconciling. */
  renew(): Promise<void>;
  onRepair(topic: Topic, connectionCount: number): void;
}

/** How long beyond the time to settle a join or leave waits for the reconciling to be done. */
const patienceMs = 1_500;
/** Memberships put back at once. */
const batchSize = 200;

export class Reconciler {
  readonly #deps: ReconcilerDeps;
  /** Goes up with every reason to doubt. */
  #dirtyCount = 1;
  /** Up to which doubt all was compared and reconciled. */
  #reconciled = 0;
  #underWay: Promise<void> | null = null;
  #waiting: Array<() => void> = [];
  /** Before it nobody comes or goes: other nodes may still be subscribing again and putting back their memberships. */
  #settledAt = longAgo;
  #isStopped = false;

  constructor(deps: ReconcilerDeps) {
    this.#deps = deps;
  }

  get isNeeded(): boolean {
    return this.#reconciled !== this.#dirtyCount;
  }

  /** Other nodes may be subscribing again and putting back their memberships for so long; never longer than the time for it. */
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
    this.reconcile().catch(() => undefined);
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

  markDirty(): void {
    this.#dirtyCount++;
    if (this.#isStopped || !this.#deps.link.isUp) return;
    this.reconcile().catch((err: unknown) => {
      // Tried again with the next renewal, with the next join, or when the link is back.
      if (!isUnavailable(err)) this.#deps.observer.problem('reconciling the memberships in redis failed', { err });
    });
  }

  /** One at a time: who asks during a reconciling gets that one. */
  reconcile(): Promise<void> {
    this.#underWay ??= this.#reconcileAll().finally(() => {
      this.#underWay = null;
    });
    return this.#underWay;
  }

  async #reconcileAll(): Promise<void> {
    do {
      await this.#deps.renew();
      const dirtyCount = this.#dirtyCount;
      await this.#reconcileOnce();
      this.#reconciled = dirtyCount;
    } while (this.isNeeded);
    for (const resume of this.#waiting.splice(0)) resume();
  }

  async #reconcileOnce(): Promise<void> {
    for (const tag of new Set([...this.#deps.lease.tags, ...this.#deps.book.tags])) await this.#reconcilePartition(tag);
    const settleLeftMs = this.#settledAt - this.#deps.clock.elapsed();
    if (settleLeftMs > 0) await new Promise<void>((resolve) => this.#deps.clock.after(settleLeftMs, resolve));
    const leaving = [...this.#deps.book.all()].filter(({ state, isAsking }) => state === 'leaving' && !isAsking);
    await inBatches(leaving, async (booked) => {
      const { membership } = booked;
      const place = this.#deps.link.keys.place(membership.topic);
      const left = await releaseMembership(this.#deps.link, place, membership.socketId, {
        openLease: this.#deps.lease.id,
      });
      if (left.kind === 'closed') {
        this.#dirtyCount++;
        return;
      }
      booked.left = left.answer;
      this.#deps.book.delete(place, booked);
      if (left.answer.wasThere) this.#deps.onRepair(membership.topic, left.answer.connectionCount);
    });
  }

  /** Puts in what is missing, and takes out what is too much. */
  async #reconcilePartition(tag: string): Promise<void> {
    const partition = this.#deps.link.keys.partition(tag);
    const state = await this.#deps.lease.open(partition);
    if (state === 'ended') {
      this.#dirtyCount++;
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
    await inBatches(missing, async ([field, membership]) => {
      // Left while others were put back: nothing more to do for it.
      if (this.#deps.book.in(tag).get(field) === membership && !membership.isAsking) await this.#putBack(membership);
    });
    await inBatches(surplus, async (field) => {
      const parsed = parseField(field);
      const topic = parsed && this.#deps.link.keys.topicOf(tag, parsed.name);
      if (parsed === undefined || topic === undefined) {
        this.#deps.observer.problem('a membership in redis cannot be read', { tag });
        await this.#deps.link.command('hdel', (client) => client.hdel(held, field));
        return;
      }
      const { socketId } = parsed;
      const options = { onlyLease: this.#deps.lease.id };
      const left = await releaseMembership(this.#deps.link, this.#deps.link.keys.place(topic), socketId, options);
      if (left.kind === 'left' && left.answer.wasThere) this.#deps.onRepair(topic, left.answer.connectionCount);
    });
  }

  async #putBack(booked: BookedMembership): Promise<void> {
    const { isAway, membership } = booked;
    const taken = await takeMembership(this.#deps.link, this.#deps.lease.id, booked, {
      memberLimit: undefined,
      isPutBack: !isAway,
    });
    if (taken.kind !== 'taken') {
      this.#dirtyCount++;
      return;
    }
    booked.isAway = false;
    if (isAway) this.#deps.onRepair(membership.topic, taken.connectionCount);
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
