/** Who is where, on a single node. */
import {
  appIdOfTopic,
  channelOfTopic,
  encodeTransition,
  type Joined,
  type JoinOptions,
  type Left,
  type Membership,
  type Occupancy,
  type PositionedMembers,
  type PositionedOccupancy,
  type PresenceStore,
  type Topic,
  type Transition,
} from '@starling/ports';
import type { Member } from '@starling/protocol';
import type { MemoryBroker } from './broker.ts';

interface User {
  /** As the user's first connection gave it. */
  readonly member: Member;
  connectionCount: number;
}

interface Present {
  /** Null without a member. */
  readonly user: User | null;
  readonly announceTo: Topic | undefined;
}

interface Place {
  /** By socket id. */
  readonly memberships: Map<string, Present>;
  /** By user id, in the order in which they came. */
  readonly users: Map<string, User>;
}

/**
 * Everything is decided and announced at the call, before its promise is returned. It wants the memory broker and no
 * other, because only that one publishes at the call too.
 */
export class MemoryPresenceStore implements PresenceStore {
  readonly #broker: MemoryBroker;
  /** One counter for all topics: a topic's positions go on increasing after it was vacated. */
  #position = 0;
  readonly #places = new Map<Topic, Place>();
  /** The same places, those that a listing shows, by app and channel. */
  readonly #listed = new Map<string, Map<string, Place>>();

  constructor(broker: MemoryBroker) {
    this.#broker = broker;
  }

  async join(membership: Membership, options: JoinOptions = {}): Promise<Joined | { readonly isFull: true }> {
    const { topic, socketId, member } = membership;
    const place = this.#places.get(topic);
    const seated = place?.memberships.get(socketId);
    if (place !== undefined && seated !== undefined) {
      return this.#joined(place, { wasOccupied: true, memberAdded: false, hasMember: seated.user !== null });
    }
    const user = member === undefined ? undefined : place?.users.get(member.userId);
    const memberAdded = member !== undefined && user === undefined;
    if (memberAdded && options.memberLimit !== undefined && (place?.users.size ?? 0) >= options.memberLimit) {
      return { isFull: true };
    }
    const joinedPlace = place ?? this.#open(topic);
    joinedPlace.memberships.set(socketId, {
      user: member === undefined ? null : sit(joinedPlace, member),
      announceTo: options.announceTo,
    });
    if (memberAdded) this.#position++;
    // Taken before the announcement: who hears it may act on it at once.
    const answer = this.#joined(joinedPlace, {
      wasOccupied: place !== undefined,
      memberAdded,
      hasMember: member !== undefined,
    });
    if (memberAdded) await this.#announce(socketId, options.announceTo, { type: 'member-added', member });
    return answer;
  }

  async leave(membership: Membership): Promise<Left> {
    const { topic, socketId } = membership;
    const place = this.#places.get(topic);
    const seated = place?.memberships.get(socketId);
    if (place === undefined || seated === undefined) {
      return { wasThere: false, isVacated: false, memberRemoved: false, connectionCount: place?.memberships.size ?? 0 };
    }
    const { user, announceTo } = seated;
    place.memberships.delete(socketId);
    const memberRemoved = user !== null && --user.connectionCount === 0;
    if (memberRemoved) {
      place.users.delete(user.member.userId);
      this.#position++;
    }
    const connectionCount = place.memberships.size;
    const isVacated = connectionCount === 0;
    if (isVacated) this.#close(topic);
    if (memberRemoved)
      await this.#announce(socketId, announceTo, { type: 'member-removed', userId: user.member.userId });
    return { wasThere: true, isVacated, memberRemoved, connectionCount };
  }

  async members(topic: Topic): Promise<PositionedMembers> {
    const place = this.#places.get(topic);
    return { members: place === undefined ? [] : membersOf(place), position: this.#position };
  }

  async occupancies(topics: readonly Topic[]): Promise<readonly PositionedOccupancy[]> {
    return topics.map((topic) => ({ ...occupancyOf(this.#places.get(topic)), position: this.#position }));
  }

  async channels(appId: string, prefix: string): Promise<ReadonlyMap<string, Occupancy>> {
    const found = new Map<string, Occupancy>();
    for (const [channel, place] of this.#listed.get(appId) ?? []) {
      if (channel.startsWith(prefix)) found.set(channel, occupancyOf(place));
    }
    return found;
  }

  /** Never: a single process has no other that could die, and a world that does not fail. */
  onRepair(): () => void {
    return () => undefined;
  }

  #open(topic: Topic): Place {
    const place: Place = { memberships: new Map(), users: new Map() };
    this.#places.set(topic, place);
    const channel = listedChannel(topic);
    if (channel !== undefined) {
      const appId = appIdOfTopic(topic);
      const channels = this.#listed.get(appId) ?? new Map<string, Place>();
      this.#listed.set(appId, channels.set(channel, place));
    }
    return place;
  }

  #close(topic: Topic): void {
    this.#places.delete(topic);
    const channel = listedChannel(topic);
    if (channel === undefined) return;
    const appId = appIdOfTopic(topic);
    const channels = this.#listed.get(appId);
    channels?.delete(channel);
    if (channels?.size === 0) this.#listed.delete(appId);
  }

  #joined(
    place: Place,
    { wasOccupied, memberAdded, hasMember }: { wasOccupied: boolean; memberAdded: boolean; hasMember: boolean },
  ): Joined {
    const members = hasMember ? membersOf(place) : [];
    const connectionCount = place.memberships.size;
    return { isFull: false, wasOccupied, memberAdded, connectionCount, members, position: this.#position };
  }

  async #announce(socketId: string, topic: Topic | undefined, transition: Transition): Promise<void> {
    if (topic === undefined) return;
    // Called right after the change, before anything else can move the position on.
    await this.#broker.publish(topic, {
      kind: 'transition',
      payload: encodeTransition(transition),
      except: socketId,
      position: this.#position,
    });
  }
}

/** Counts one more connection of this user, who may be new here. */
function sit(place: Place, member: Member): User {
  const user = place.users.get(member.userId) ?? { member, connectionCount: 0 };
  user.connectionCount++;
  place.users.set(member.userId, user);
  return user;
}

function membersOf(place: Place): Member[] {
  return Array.from(place.users.values(), (user) => user.member);
}

function occupancyOf(place: Place | undefined): Occupancy {
  return { connectionCount: place?.memberships.size ?? 0, userCount: place?.users.size ?? 0 };
}

/** User channels are nobody's to see: their names say who is signed in. */
function listedChannel(topic: Topic): string | undefined {
  const channel = channelOfTopic(topic);
  return channel?.startsWith('#') ? undefined : channel;
}
