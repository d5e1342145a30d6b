/** Taking a membership and giving it back, each one script; what surrounds them is `presence-store.ts`. */
import { encodeTransition, type Left, type Topic, type Transition } from '@starling/ports';
import { type Member, StarlingError } from '@starling/protocol';
import { encodeUnplaced } from './envelope.ts';
import type { Place } from './keys.ts';
import type { RedisLink } from './link.ts';
import type { BookedMembership } from './membership-book.ts';
import { scripts } from './scripts.ts';

/** Redis does not know the lease here: it has ended, or was forgotten. Nothing was done. */
export const isClosed = { kind: 'closed' } as const;

export type Taken =
  | typeof isClosed
  | { readonly kind: 'full' }
  | {
      readonly kind: 'taken';
      readonly wasOccupied: boolean;
      readonly memberAdded: boolean;
      readonly connectionCount: number;
      readonly position: number;
      readonly users: readonly Arrived[];
    };

/** A member and when it came; in Redis, `CONNECTIONS ARRIVAL INFO` by user id. */
export interface Arrived extends Member {
  readonly arrival: string;
}

export interface TakeOptions {
  readonly memberLimit: number | undefined;
  /** Silently, because everyone has it on his list: Redis alone forgot it. */
  readonly isPutBack: boolean;
}

export async function takeMembership(
  link: RedisLink,
  lease: string,
  booked: BookedMembership,
  { memberLimit, isPutBack }: TakeOptions,
): Promise<Taken> {
  const { membership, announceTo } = booked;
  const place = link.keys.place(membership.topic);
  const { heldPrefix, occupied, position } = place.partition;
  const channel = link.keys.channel(announceTo ?? membership.topic);
  if (announceTo !== undefined) demandOnePartition(link, place, announceTo);
  const member = booked.member ?? membership.member;
  const announced = announceTo === undefined ? undefined : member;
  const answer = await link.run(
    scripts.join,
    [place.memberships, place.users, occupied, position, heldPrefix + lease, channel],
    [
      heldPrefix,
      lease,
      membership.socketId,
      place.name,
      place.listedAs,
      member === undefined ? 0 : 1,
      member?.userId ?? '',
      member?.userInfo ?? '',
      memberLimit ?? '',
      link.publishVerb,
      announced === undefined ? '' : announcement({ type: 'member-added', member: announced }, membership.socketId),
      announced === undefined ? '' : onLeave(channel, announced.userId, membership.socketId),
      isPutBack ? 1 : 0,
      booked.arrival,
    ],
  );
  const [status, ...rest] = answer as [number, ...unknown[]];
  if (status === -1) return isClosed;
  if (status === 0) return { kind: 'full' };
  const [wasOccupied, memberAdded, connectionCount, at, users] = rest as [number, number, number, string, string[]];
  return {
    kind: 'taken',
    wasOccupied: wasOccupied === 1,
    memberAdded: memberAdded === 1,
    connectionCount,
    position: Number(at),
    users: parseUsers(users),
  };
}

export interface GiveBackOptions {
  /** Only a membership held under this lease; a dead node's may have been taken over. */
  readonly onlyLease?: string;
  /** The lease under which the caller holds the membership: Redis must know it. */
  readonly openLease?: string;
}

export async function releaseMembership(
  link: RedisLink,
  place: Place,
  socketId: string,
  { onlyLease = '', openLease = '' }: GiveBackOptions = {},
): Promise<typeof isClosed | { readonly kind: 'left'; readonly answer: Left }> {
  const { heldPrefix, occupied, position } = place.partition;
  const answer = await link.run(
    scripts.leave,
    [place.memberships, place.users, occupied, position],
    [heldPrefix, socketId, place.name, place.listedAs, link.publishVerb, onlyLease, openLease],
  );
  const [status, wasThere, isVacated, memberRemoved, connectionCount] = answer as number[];
  if (status === -1) return isClosed;
  return {
    kind: 'left',
    answer: {
      wasThere: wasThere === 1,
      isVacated: isVacated === 1,
      memberRemoved: memberRemoved === 1,
      connectionCount: connectionCount ?? 0,
    },
  };
}

/** What stands before the info: CONNECTIONS ARRIVAL. */
const userHead = /^\d+ \d+ /;

/**
 * Users as HGETALL gives them, those who came first before the others. The info goes into frames as it is, so what does
 * not begin and end like one is left out with its user: only something else than the scripts can have written it.
 */
export function parseUsers(fields: readonly string[]): Arrived[] {
  const users: Arrived[] = [];
  for (let index = 0; index < fields.length; index += 2) {
    const [userId = '', user = ''] = [fields[index], fields[index + 1]];
    const arrivalAt = user.indexOf(' ') + 1;
    const infoAt = user.indexOf(' ', arrivalAt) + 1;
    const userInfo = user.slice(infoAt);
    if (!userHead.test(user) || !/^(null|\{.*\})$/s.test(userInfo)) continue;
    users.push({ userId, userInfo, arrival: user.slice(arrivalAt, infoAt - 1) });
  }
  return users.sort((a, b) => Number(a.arrival) - Number(b.arrival));
}

export function toMember({ userId, userInfo }: Arrived): Member {
  return { userId, userInfo };
}

function announcement(transition: Transition, except: string): Buffer {
  return encodeUnplaced({ kind: 'transition', payload: encodeTransition(transition), except });
}

/** `LENGTH:CHANNEL ENVELOPE`, for `leave.lua`. */
function onLeave(channel: string, userId: string, socketId: string): Buffer {
  const name = Buffer.from(channel);
  return Buffer.concat([
    Buffer.from(`${name.byteLength}:`),
    name,
    announcement({ type: 'member-removed', userId }, socketId),
  ]);
}

/** A script may publish only in the slot of its keys. */
function demandOnePartition(link: RedisLink, place: Place, topic: Topic): void {
  if (link.keys.place(topic).partition.tag === place.partition.tag) return;
  throw new StarlingError('internal', `The transitions of ${place.name} cannot be announced on ${topic}`);
}
