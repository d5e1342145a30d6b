/** That this node lives: a lease in Redis, renewed every two seconds, under which it holds its memberships. */
import { randomBytes } from 'node:crypto';
import type { Partition } from './keys.ts';
import type { RedisLink } from './link.ts';
import { scripts } from './scripts.ts';

export interface LeaseTiming {
  /** After so long without a renewal a node is dead. */
  readonly leaseMs: number;
  readonly renewEveryMs: number;
  /** How long the nodes have, after Redis was away, to subscribe again and to put back the memberships that it forgot. */
  readonly settleMs: number;
}

/** A dead node's memberships are released within eight seconds, and what that takes. */
export const defaultLeaseTiming: LeaseTiming = { leaseMs: 6_000, renewEveryMs: 2_000, settleMs: 2_000 };

export interface Renewal {
  /**
   * `lost`: Redis has forgotten everything. `swept`: it was taken for dead, and its memberships were released or soon are;
   * it has a new lease now.
   */
  readonly status: 'held' | 'lost' | 'swept';
  /** For so long, nodes that lived through a loss may still be putting back their memberships. */
  readonly settleLeftMs: number;
  /** Leases of others that have ended. */
  readonly ended: readonly string[];
}

export class NodeLease {
  readonly #link: RedisLink;
  readonly #nodeId: string;
  readonly #timing: LeaseTiming;
  #id: string;
  #isNew = true;
  #epoch = '';
  /** Tags of the partitions that Redis has confirmed to be open under this lease. */
  readonly #open = new Set<string>();
  /** Of all partitions ever opened by this node. */
  readonly tags = new Set<string>();
  #renewing: Promise<Renewal> | null = null;

  constructor(link: RedisLink, nodeId: string, timing: LeaseTiming) {
    this.#link = link;
    this.#nodeId = nodeId;
    this.#timing = timing;
    this.#id = this.#freshId();
  }

  /** Never one that was used before: what is still on its way under an old one finds that closed. */
  get id(): string {
    return this.#id;
  }

  /** One at a time: who asks during a renewal gets the answer of that one. */
  renew(): Promise<Renewal> {
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = null;
    });
    return this.#renewing;
  }

  /**
   * Makes the partition ready to hold memberships under this lease. First the partition is marked, then the mark is written
   * down beside the lease: whoever releases the memberships of a dead lease finds every partition in which one may be.
   * `reopened`: Redis knew it to be open already. `ended`: the lease is not renewable any more.
   */
  async open(partition: Partition): Promise<'opened' | 'reopened' | 'ended'> {
    const id = this.#id;
    const { tag, heldPrefix } = partition;
    const isNew = await this.#link.command('hsetnx', (client) => client.hsetnx(heldPrefix + id, '', '1'));
    const { leases } = this.#link.keys;
    const isWritten = await this.#link.run(scripts.open, [leases, this.#link.keys.tagsOf(id)], [id, tag]);
    if (isWritten !== 1) return 'ended';
    this.tags.add(tag);
    if (id === this.#id) this.#open.add(tag);
    return isNew === 1 ? 'opened' : 'reopened';
  }

  isOpen({ tag }: Partition): boolean {
    return this.#open.has(tag);
  }

  async #renew(): Promise<Renewal> {
    const renewal = await this.#ask();
    if (renewal.status === 'held') return renewal;
    this.#open.clear();
    if (renewal.status === 'lost') return renewal;
    this.#id = this.#freshId();
    this.#isNew = true;
    return { ...(await this.#ask()), status: 'swept' };
  }

  async #ask(): Promise<Renewal> {
    const { leases, dying, cluster } = this.#link.keys;
    const { leaseMs, renewEveryMs, settleMs } = this.#timing;
    const answer = await this.#link.run(
      scripts.renew,
      [leases, dying, cluster],
      [this.#id, leaseMs, this.#epoch, random(), this.#isNew ? 1 : 0, 2 * renewEveryMs, settleMs],
    );
    const [status, epoch, settleLeft, ended] = answer as [Renewal['status'], string, unknown, string[]];
    // Computed from what lies in Redis, which may be anything.
    const settleLeftMs = Math.min(Number(settleLeft) || 0, settleMs);
    this.#epoch = epoch;
    if (status !== 'swept') this.#isNew = false;
    return { status, settleLeftMs, ended };
  }

  #freshId(): string {
    return `${this.#nodeId}.${random()}`;
  }
}

function random(): string {
  return randomBytes(9).toString('base64url');
}
