/**
 * Slows down who guesses, and nobody else: tries count against the place they come from, so that a stranger's do not
 * shut out the user. A browser that has signed in as the user before is a place of its own.
 */
import { createHash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { StarlingError } from '@starling/protocol';
import { now, type PeopleDeps } from './deps.ts';

type Deps = Pick<PeopleDeps, 'database' | 'clock' | 'rateLimiter'>;

/** Free tries; after them the wait doubles with each, from one second up to the longest. */
const [freeTries, longestWaitSeconds, forgottenAfterHours] = [5, 900, 24];

const addressesPerSecond = 5;
const strangersPerSecond = 1;

/** Throws StarlingError `rate_limited` for an address that asks too quickly. */
export async function admitAddress({ rateLimiter }: Deps, what: string, address: string): Promise<void> {
  await take(rateLimiter, `${what}:${placeOf(address)}`, addressesPerSecond);
}

/** Of all who keep trying the same account from places that nobody knows, together. */
export async function admitStrangers({ rateLimiter }: Deps, account: string): Promise<void> {
  await take(rateLimiter, `account:${hashOf([account])}`, strangersPerSecond);
}

async function take(rateLimiter: PeopleDeps['rateLimiter'], name: string, perSecond: number): Promise<void> {
  try {
    const { isAllowed, retryAfterMs } = await rateLimiter.take(`people:${name}`, 1, perSecond);
    if (!isAllowed) throw tooMany(retryAfterMs / 1_000);
  } catch (err) {
    // Without Redis the tries in the database still count, and an operator must be able to see what is wrong.
    if (!(err instanceof StarlingError && err.code === 'unavailable')) throw err;
  }
}

/**
 * Counts a try before it is known how it ends, so that tries side by side are counted too. Gives how many there were,
 * this one included; throws StarlingError `rate_limited` while the last is too recent.
 */
export async function takeTry(deps: Deps, ...place: string[]): Promise<number> {
  const at = now(deps);
  const placeHash = hashOf(place);
  const [taken] = await deps.database.sql<{ count: number }[]>`
    insert into sign_in_tries as tries (place_hash, count, last_at) values (${placeHash}, 1, ${at})
    on conflict (place_hash) do update set
      count = case when tries.last_at < ${at} - make_interval(hours => ${forgottenAfterHours}) then 1
        else tries.count + 1 end,
      last_at = ${at}
    where tries.count < ${freeTries}
      or tries.last_at + make_interval(secs =>
        least(power(2, least(tries.count - ${freeTries}, 20)), ${longestWaitSeconds})) <= ${at}
    returning count`;
  if (taken !== undefined) return taken.count;
  const [kept] = await deps.database.sql<{ count: number; lastAt: Date }[]>`
    select count, last_at as "lastAt" from sign_in_tries where place_hash = ${placeHash}`;
  const waitSeconds = Math.min(2 ** Math.min((kept?.count ?? freeTries) - freeTries, 20), longestWaitSeconds);
  throw tooMany(((kept?.lastAt ?? at).getTime() - at.getTime()) / 1_000 + waitSeconds);
}

/** After a success. */
export async function forgetTries({ database }: Deps, ...place: string[]): Promise<void> {
  await database.sql`delete from sign_in_tries where place_hash = ${hashOf(place)}`;
}

/** Those that no longer count. */
export async function pruneTries(deps: Deps): Promise<void> {
  await deps.database.sql`
    delete from sign_in_tries where last_at < ${now(deps)} - make_interval(hours => ${forgottenAfterHours})`;
}

/** Who has an IPv6 address has 2^64 of them. */
export function placeOf(address: string): string {
  if (!isIPv6(address)) return address;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  const [head = '', tail] = address.split('%', 1)[0]?.split('::') ?? [];
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length;
  const groups = [...before, ...Array.from({ length: Math.max(0, zeros) }, () => '0'), ...after];
  return groups
    .slice(0, 4)
    .map((group) => group.toLowerCase().replace(/^0+(?=.)/, ''))
    .join(':');
}

function tooMany(retryAfterSeconds: number): StarlingError {
  return new StarlingError('rate_limited', 'Too many tries to sign in', {
    retryAfterSeconds: Math.max(1, Math.ceil(retryAfterSeconds)),
  });
}

function hashOf(parts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url');
}
