import type { Member } from '@starling/protocol';
import type { Topic } from './topic.ts';

/** One connection's place in a topic. */
export interface Seat {
  readonly topic: Topic;
  readonly socketId: string;
  /** Presence channels and user topics only. */
  readonly member?: Member;
}

/**
 * Frames to publish when, and only when, a join or leave turns out to be a transition. The store publishes them in
 * the same atomic step as the change, so that every subscriber sees transitions in the order in which they happened;
 * published afterwards by the caller, those of two nodes could cross and leave a present member shown as gone.
 * The message is a `transition` with a position, and the seat's own socket id is its `except`.
 */
export interface Announcement {
  /** Where to; a watched user's transitions go to another topic than the one joined. */
  readonly topic: Topic;
  /** For a join: the user's first connection is here. For a leave: the user's last one is gone. */
  readonly payload: Uint8Array;
}

export interface JoinOptions {
  readonly announce?: Announcement;
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

/**
 * Who is where, over all nodes. "First in" and "last out" are decided here and nowhere else, atomically.
 *
 * Every method rejects with a StarlingError `unavailable` when the world fails; a join or leave whose answer was lost
 * may be repeated, since both are idempotent by socket id.
 */
export interface PresenceStore {
  /** `isFull`: nothing was changed. Joining again with the same socket id is no transition and keeps the first member. */
  join(seat: Seat, options?: JoinOptions): Promise<Joined | { readonly isFull: true }>;
  leave(seat: Seat, announce?: Announcement): Promise<Left>;
  /** Distinct members of one topic, in the order in which they came. */
  members(topic: Topic): Promise<readonly Member[]>;
  /** One answer per topic, in order. */
  occupancies(topics: readonly Topic[]): Promise<readonly PositionedOccupancy[]>;
  /** The app's occupied channels whose names begin with `prefix`, with their occupancy. Internal topics are not listed. */
  channels(appId: string, prefix: string): Promise<ReadonlyMap<string, Occupancy>>;
}
