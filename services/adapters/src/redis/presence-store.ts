/**
 * Who is where, over all nodes.
 *
 * Each join and leave is one script. Around them stands what makes them right in a world that fails: this node holds its
 * memberships under a lease and keeps a book of them, and whenever it has a reason to doubt that Redis has the same ones (a
 * connection came back, a script found its partition closed, its lease was gone), they are reconciled first.
 */
import {
  type Clock,
  fence,
  type Joined,
  type JoinOptions,
  type Left,
  type Membership,
  type Observer,
  type Occupancy,
  type PositionedMembers,
  type PositionedOccupancy,
  type PresenceStore,
  type Topic,
} from '@starling/ports';
import { type GiveBackEvents, giveBackLease } from './give-back.ts';
import type { Place } from './keys.ts';
import type { RedisLink } from './link.ts';
import { type BookedMembership, MembershipBook } from './membership-book.ts';
import { parseUsers, releaseMembership, takeMembership, toMember } from './membership-scripts.ts';
import { defaultLeaseTiming, type LeaseTiming, NodeLease } from './node-lease.ts';
import { isUnavailable, Reconciler, unavailable } from './reconciler.ts';
import { scripts } from './scripts.ts';

export interface RedisPresenceStoreDeps {
  readonly link: RedisLink;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Only so that an operator recognises it in Redis; the lease has a random part. */
  readonly nodeId: string;
}

/** A membership is tried again when Redis had forgotten the lease: once that is reconciled it should know it. */
const attemptCount = 3;
const closedHere = { kind: 'closed' } as const;

export class RedisPresenceStore implements PresenceStore {
  readonly #link: RedisLink;
  readonly #clock: Clock;
  readonly #observer: Observer;
  readonly #timing: LeaseTiming;
  readonly #lease: NodeLease;
  readonly #book = new MembershipBook();
  readonly #repairListeners = new Set<(topic: Topic, connectionCount: number) => void>();
  readonly #reconciler: Reconciler;
  readonly #givingBack = new Set<string>();
  readonly #giveBackEvents: GiveBackEvents = {
    onRepair: (topic, connectionCount) => this.#tellRepair(topic, connectionCount),
  };
  #isStopped = false;

  constructor(deps: RedisPresenceStoreDeps, timing: LeaseTiming = defaultLeaseTiming) {
    this.#link = deps.link;
    this.#clock = deps.clock;
    this.#observer = deps.observer;
    this.#timing = timing;
    this.#lease = new NodeLease(deps.link, deps.nodeId, timing);
    this.#reconciler = new Reconciler({
      ...deps,
      timing,
      lease: this.#lease,
      book: this.#book,
      renew: () => this.#renew(),
      onRepair: (topic, connectionCount) => this.#tellRepair(topic, connectionCount),
    });
  }

  /**
   * Call when the link is up. Returns the function that releases all memberships that are left, forgets the lease, and
   * resolves then; call it before the link ends.
   */
  async start(): Promise<() => Promise<void>> {
    const endReturns = this.#link.onReturn(() => {
      // Where Redis was away, the others must have subscribed again before they are told of anyone.
      this.#reconciler.settleIn(this.#timing.settleMs);
      this.#reconciler.markDirty();
    });
    // A node that was still for long may have been taken for dead, and find out only with its next renewal; clients that
    // are told anew after the gap would not find themselves among those present.
    const endGaps = this.#link.onGap(() => this.#reconciler.markDirty());
    await this.#reconciler.reconcile();
    this.#renewLater();
    return async () => {
      this.#isStopped = true;
      this.#reconciler.stop();
      endReturns();
      endGaps();
      // A renewal under way would bring the lease back.
      await this.#lease.renew().catch(() => undefined);
      try {
        await giveBackLease(this.#link, this.#lease.id, true, this.#giveBackEvents);
      } catch (err) {
        // The others will when the lease has ended.
        this.#observer.problem('the memberships of this node were not released', { err });
      }
    };
  }

  async join(membership: Membership, options: JoinOptions = {}): Promise<Joined | { readonly isFull: true }> {
    const place = this.#link.keys.place(membership.topic);
    // First the leave that could not be delivered, then this join.
    if (this.#book.get(place, membership.socketId)?.state === 'leaving') await this.#reconciler.sure();
    const earlier = this.#book.get(place, membership.socketId);
    const booked: BookedMembership = earlier ?? {
      membership,
      announceTo: options.announceTo,
      state: 'joining',
      isAsking: false,
      member: undefined,
      arrival: '',
      isAway: false,
      left: undefined,
    };
    if (earlier === undefined) this.#book.add(place, booked);
    try {
      const joined = await this.#take(place, booked, options.memberLimit);
      if (joined.isFull) this.#book.delete(place, booked);
      return joined;
    } catch (err) {
      // Whoever asked gives the membership back, in case Redis took it: see the port.
      if (booked.state === 'joining') this.#book.delete(place, booked);
      throw err;
    }
  }

  async leave(membership: Membership): Promise<Left> {
    const place = this.#link.keys.place(membership.topic);
    const booked = this.#book.get(place, membership.socketId);
    if (booked !== undefined) booked.state = 'leaving';
    try {
      for (let attempt = 0; attempt < attemptCount; attempt++) {
        await this.#reconciler.sure();
        // Carried out by the reconciling while this waited, or by the node that took this one for dead.
        if (booked !== undefined && this.#book.get(place, membership.socketId) !== booked)
          return booked.left ?? nothingLeft;
        const left = await this.#giveBackOwn(place, membership.socketId, booked);
        if (left.kind === 'closed') {
          this.#reconciler.markDirty();
          continue;
        }
        if (booked !== undefined) this.#book.delete(place, booked);
        return left.answer;
      }
      throw unavailable('Redis keeps forgetting the lease of this node');
    } catch (err) {
      // The book has it as leaving: it is replayed by the next reconciling. One that was never booked may have been taken
      // by a join whose answer was lost; the reconciling finds it because the book does not have it.
      this.#reconciler.markDirty();
      throw err;
    }
  }

  async members(topic: Topic): Promise<PositionedMembers> {
    await this.#reconciler.sure();
    const { users, partition } = this.#link.keys.place(topic);
    const answer = await this.#link.run(scripts.members, [users, partition.position], []);
    const [fields, position] = answer as [string[], string];
    return { members: parseUsers(fields).map(toMember), position: Number(position) };
  }

  async occupancies(topics: readonly Topic[]): Promise<readonly PositionedOccupancy[]> {
    await this.#reconciler.sure();
    const places = topics.map((topic) => this.#link.keys.place(topic));
    const byTag = new Map<string, Place[]>();
    for (const place of places) {
      const { tag } = place.partition;
      byTag.set(tag, [...(byTag.get(tag) ?? []), place]);
    }
    const answers = new Map<string, PositionedOccupancy>();
    const reads = Array.from(byTag.values(), async (partners) => {
      const [first] = partners;
      if (first === undefined) return;
      const keys = [first.partition.position, ...partners.flatMap(({ memberships, users }) => [memberships, users])];
      const [position, ...counts] = (await this.#link.run(scripts.occupancies, keys, [])) as [string, ...number[]];
      for (const [index, { memberships }] of partners.entries()) {
        const [connectionCount = 0, userCount = 0] = counts.slice(2 * index);
        answers.set(memberships, { connectionCount, userCount, position: Number(position) });
      }
    });
    await Promise.all(reads);
    return places.map(
      ({ memberships }) => answers.get(memberships) ?? { connectionCount: 0, userCount: 0, position: 0 },
    );
  }

  async channels(appId: string, prefix: string): Promise<ReadonlyMap<string, Occupancy>> {
    await this.#reconciler.sure();
    const reads = this.#link.keys
      .partitionsOf(appId)
      .map(({ occupied }) => this.#link.run(scripts.channels, [occupied], [prefix]));
    const found = new Map<string, Occupancy>();
    for (const listed of (await Promise.all(reads)) as string[][]) {
      for (let index = 0; index < listed.length; index += 2) {
        const [channel = '', counts = ''] = [listed[index], listed[index + 1]];
        const [connectionCount = 0, userCount = 0] = counts.split(' ').map((count) => Number(count) || 0);
        found.set(channel, { connectionCount, userCount });
      }
    }
    return found;
  }

  onRepair(listener: (topic: Topic, connectionCount: number) => void): () => void {
    const entry = (topic: Topic, connectionCount: number) => listener(topic, connectionCount);
    this.#repairListeners.add(entry);
    return () => this.#repairListeners.delete(entry);
  }

  async #giveBackOwn(place: Place, socketId: string, booked: BookedMembership | undefined) {
    if (booked === undefined) return releaseMembership(this.#link, place, socketId);
    booked.isAsking = true;
    try {
      return await releaseMembership(this.#link, place, socketId, { openLease: this.#lease.id });
    } finally {
      booked.isAsking = false;
    }
  }

  async #take(place: Place, booked: BookedMembership, memberLimit: number | undefined) {
    for (let attempt = 0; attempt < attemptCount; attempt++) {
      await this.#reconciler.sure();
      const lease = this.#lease.id;
      const isOpen = this.#lease.isOpen(place.partition) || (await this.#lease.open(place.partition)) !== 'ended';
      const taken = isOpen
        ? await takeMembership(this.#link, lease, booked, { memberLimit, isPutBack: false })
        : closedHere;
      if (taken.kind === 'full') return { isFull: true } as const;
      if (taken.kind === 'closed') {
        this.#reconciler.markDirty();
        continue;
      }
      booked.state = 'seated';
      if (lease !== this.#lease.id) {
        // Taken under a lease that has ended meanwhile: it is released with the others of that lease.
        booked.isAway = true;
        this.#reconciler.markDirty();
      }
      const { wasOccupied, memberAdded, connectionCount, position, users } = taken;
      const own = users.find(({ userId }) => userId === booked.membership.member?.userId);
      if (own !== undefined) {
        booked.member = toMember(own);
        booked.arrival = own.arrival;
      }
      const members = users.map(toMember);
      return { isFull: false, wasOccupied, memberAdded, connectionCount, members, position } as const;
    }
    throw unavailable('Redis keeps forgetting the lease of this node');
  }

  // ── The lease ──────────────────────────────────────────────────────────────────────────────────────────────────

  #renewLater(): void {
    this.#clock.after(this.#timing.renewEveryMs, () => {
      if (this.#isStopped) return;
      this.#renewLater();
      void this.#renewAndReconcile();
    });
  }

  /** Never rejects. */
  async #renewAndReconcile(): Promise<void> {
    try {
      await this.#renew();
      if (this.#reconciler.isNeeded) await this.#reconciler.reconcile();
    } catch (err) {
      // The link itself tells what is wrong with Redis, and the next round tries again.
      if (!isUnavailable(err)) this.#observer.problem('renewing the lease in redis failed', { err });
    }
  }

  async #renew(): Promise<void> {
    const { status, settleLeftMs, ended } = await this.#lease.renew();
    this.#reconciler.settleIn(settleLeftMs);
    // After a loss of data that the others have got over, they have told their clients who is left: not these.
    const isAway = status === 'swept' || (status === 'lost' && settleLeftMs === 0);
    if (isAway) this.#markAway();
    if (status !== 'held') {
      this.#observer.problem(
        status === 'lost' ? 'redis has lost its data' : 'this node was taken for dead: it takes its memberships again',
        {},
      );
      this.#reconciler.markDirty();
    }
    // A connection is spared the announcement of its own membership. Of a user's several connections, the one spared when the
    // last was released need not be the one spared when the first is taken again: one hears only that its user is gone.
    if (isAway) this.#link.tellGap();
    for (const lease of ended) void this.#giveBack(lease);
  }

  /** Everyone was told that these members are gone; those who were leaving now really are. */
  #markAway(): void {
    for (const booked of [...this.#book.all()]) {
      if (booked.state === 'leaving') this.#book.delete(this.#link.keys.place(booked.membership.topic), booked);
      else booked.isAway = booked.state === 'seated';
    }
  }

  /** Never rejects. */
  async #giveBack(lease: string): Promise<void> {
    if (this.#givingBack.has(lease) || this.#isStopped) return;
    this.#givingBack.add(lease);
    try {
      const membershipCount = await giveBackLease(this.#link, lease, false, this.#giveBackEvents);
      if (membershipCount !== null)
        this.#observer.note('released the memberships of a dead node', { lease, membershipCount });
    } catch (err) {
      // The claim ends soon, and whoever renews then goes on where this stopped.
      this.#observer.problem('the memberships of a dead node were not all released', { err, lease });
    } finally {
      this.#givingBack.delete(lease);
    }
  }

  #tellRepair(topic: Topic, connectionCount: number): void {
    for (const listener of [...this.#repairListeners]) {
      fence(this.#observer, 'listener', listener)(topic, connectionCount);
    }
  }
}

const nothingLeft: Left = { wasThere: false, isVacated: false, memberRemoved: false, connectionCount: 0 };
