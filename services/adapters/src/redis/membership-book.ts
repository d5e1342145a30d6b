/** The memberships of this node: what it must put back when Redis has forgotten them, and what it still has to release. */
import type { Left, Membership, Topic } from '@starling/ports';
import type { Member } from '@starling/protocol';
import type { Place } from './keys.ts';

export interface BookedMembership {
  readonly membership: Membership;
  readonly announceTo: Topic | undefined;
  /** `leaving`: given up here, and not yet confirmed by Redis. */
  state: 'joining' | 'seated' | 'leaving';
  /** A leave is with Redis, and its answer decides what becomes of the membership. */
  isAsking: boolean;
  /** As Redis knows the user: with the info of the first connection, and when that came. */
  member: Member | undefined;
  arrival: string;
  /** Released by another node, which took this one for dead: those present were told that it is gone. */
  isAway: boolean;
  /** What came of the leave, when the reconciling carried it out. */
  left: Left | undefined;
}

export class MembershipBook {
  /** By partition, then by the name under which Redis holds the membership. */
  readonly #byTag = new Map<string, Map<string, BookedMembership>>();

  get(place: Place, socketId: string): BookedMembership | undefined {
    return this.#byTag.get(place.partition.tag)?.get(fieldOf(place, socketId));
  }

  add(place: Place, booked: BookedMembership): void {
    const { tag } = place.partition;
    const memberships = this.#byTag.get(tag) ?? new Map<string, BookedMembership>();
    this.#byTag.set(tag, memberships.set(fieldOf(place, booked.membership.socketId), booked));
  }

  delete(place: Place, { membership }: BookedMembership): void {
    const { tag } = place.partition;
    const memberships = this.#byTag.get(tag);
    memberships?.delete(fieldOf(place, membership.socketId));
    if (memberships?.size === 0) this.#byTag.delete(tag);
  }

  /** By the name under which Redis holds them. */
  in(tag: string): ReadonlyMap<string, BookedMembership> {
    return this.#byTag.get(tag) ?? noMemberships;
  }

  get tags(): Iterable<string> {
    return this.#byTag.keys();
  }

  *all(): Iterable<BookedMembership> {
    for (const memberships of this.#byTag.values()) yield* memberships.values();
  }
}

const noMemberships: ReadonlyMap<string, BookedMembership> = new Map();

/** As `join.lua` makes it. */
function fieldOf(place: Place, socketId: string): string {
  return `${socketId} ${place.name}`;
}

/** Undefined for what `join.lua` did not make. */
export function parseField(field: string): { readonly socketId: string; readonly name: string } | undefined {
  const space = field.indexOf(' ');
  if (space <= 0 || space === field.length - 1) return undefined;
  return { socketId: field.slice(0, space), name: field.slice(space + 1) };
}
