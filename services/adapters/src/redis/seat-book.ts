/** The seats of this node: what it must put back when Redis has forgotten them, and what it still has to give back. */
import type { Announcements, Left, Seat } from '@starling/ports';
import type { Member } from '@starling/protocol';
import type { Place } from './keys.ts';

export interface BookedSeat {
  readonly seat: Seat;
  readonly announce: Announcements | undefined;
  /** `leaving`: given up here, and not yet confirmed by Redis. */
  state: 'joining' | 'seated' | 'leaving';
  /** A leave is with Redis, and its answer decides what becomes of the seat. */
  isAsking: boolean;
  /** As Redis knows the user: with the info of the first connection, and when that came. */
  member: Member | undefined;
  arrival: string;
  /** Given back by another node, which took this one for dead: those present were told that it is gone. */
  isAway: boolean;
  /** What came of the leave, when the mending carried it out. */
  left: Left | undefined;
}

export class SeatBook {
  /** By partition, then by the name under which Redis holds the seat. */
  readonly #byTag = new Map<string, Map<string, BookedSeat>>();

  get(place: Place, socketId: string): BookedSeat | undefined {
    return this.#byTag.get(place.partition.tag)?.get(fieldOf(place, socketId));
  }

  add(place: Place, booked: BookedSeat): void {
    const { tag } = place.partition;
    const seats = this.#byTag.get(tag) ?? new Map<string, BookedSeat>();
    this.#byTag.set(tag, seats.set(fieldOf(place, booked.seat.socketId), booked));
  }

  delete(place: Place, { seat }: BookedSeat): void {
    const { tag } = place.partition;
    const seats = this.#byTag.get(tag);
    seats?.delete(fieldOf(place, seat.socketId));
    if (seats?.size === 0) this.#byTag.delete(tag);
  }

  /** By the name under which Redis holds them. */
  in(tag: string): ReadonlyMap<string, BookedSeat> {
    return this.#byTag.get(tag) ?? noSeats;
  }

  get tags(): Iterable<string> {
    return this.#byTag.keys();
  }

  *all(): Iterable<BookedSeat> {
    for (const seats of this.#byTag.values()) yield* seats.values();
  }
}

const noSeats: ReadonlyMap<string, BookedSeat> = new Map();

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
