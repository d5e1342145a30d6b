import type { Member } from '@starling/protocol';
import type { Topic } from './topic.ts';

/** One connection's place in a topic. */
export interface Membership {
  readonly topic: Topic;
  readonly socketId: string;
  /** Presence channels and user topics only. */
  readonly member?: Member;
}

export interface JoinOptions {
  /**
   * Where to announce when this join, or the leave that follows it, turns out to be a transition: the same topic, or, of a
   * user's own, that of the user's watchers. The store publishes the fact (see `encodeTransition`) in the same atomic step
   * as the change, as a `transition` with a position and the membership's own socket id as its `except`. So every subscriber
   * sees transitions in the order in which they happened; published afterwards by the caller, those of two nodes could cross
   * and leave a present member shown as gone.
   *
   * It stays with the membership: when this node dies, another releases the membership and announces it.
   */
  readonly announceTo?: Topic;
  /** Refuse a member who would be one distinct user too many. */
  readonly memberLimit?: number;
}

export interface Joined {
  readonly isFull: false;
  /** False: this connection is the topic's first. */
  readonly wasOccupied: boolean;
  /** This connection is its user's first; false without a member. */
  readonly memberAdded: boolean;
  /** Connections in the topic, this one among them. */
  readonly connectionCount: number;
  /** Who is present, this user among them, each with the `userInfo` of its first connection; empty without a member. */
  readonly members: readonly Member[];
  /** Transitions up to this position are included in `members`. */
  readonly position: number;
}

export interface Left {
  /** False: the connection had no place here, and nothing else in this answer has happened. */
  readonly wasThere: boolean;
  readonly isVacated: boolean;
  readonly memberRemoved: boolean;
  readonly connectionCount: number;
}

export interface Occupancy {
  readonly connectionCount: number;
  /** Distinct users; 0 for topics without members. */
  readonly userCount: number;
}

export interface PositionedOccupancy extends Occupancy {
  /** Transitions up to this position are included in the counts. */
  readonly position: number;
}

export interface PositionedMembers {
  readonly members: readonly Member[];
  /** Transitions up to this position are included in `members`. */
  readonly position: number;
}

/**
 * Who is where, over all nodes. "First in" and "last out" are decided here and nowhere else, atomically.
 *
 * Every method rejects with a StarlingError `unavailable` when the world fails; a join or leave whose answer was lost
 * may be repeated, since both are idempotent by socket id. A leave that rejected is carried out all the same once the
 * world is back. After a failure of the world, whatever asks waits until this node and others have had their time to put
 * back what was lost.
 */
export interface PresenceStore {
  /**
   * `isFull`: nothing was changed. Joining again with the same socket id is no transition and keeps the first member and
   * `announceTo`.
   */
  join(membership: Membership, options?: JoinOptions): Promise<Joined | { readonly isFull: true }>;
  /** Of the membership only `topic` and `socketId` count. */
  leave(membership: Membership): Promise<Left>;
  /** Distinct members of one topic, in the order in which they came. */
  members(topic: Topic): Promise<PositionedMembers>;
  /** One answer per topic, in order. */
  occupancies(topics: readonly Topic[]): Promise<readonly PositionedOccupancy[]>;
  /** The app's occupied channels whose names begin with `prefix`, with their occupancy. Internal topics are not listed. */
  channels(appId: string, prefix: string): Promise<ReadonlyMap<string, Occupancy>>;
  /**
   * Told of what nobody waits for: this node released memberships of one that died, or took or released its own after the
   * world had failed. `connectionCount` is what is left in the topic. Returns the function that ends the listening.
   */
  onRepair(listener: (topic: Topic, connectionCount: number) => void): () => void;
}
