/**
 * Bounds on guessing, counted in the database before a try is looked at: so they hold for tries side by side, and over all
 * programs. A browser that has signed in as the user before is a place of its own, which the tries of others do not touch.
 */
import { createHash } from 'node:crypto';
import { addressGroup } from '@starling/core';
import type { Database } from '@starling/database';
import type { Clock, RateLimiter } from '@starling/ports';
import { StarlingError } from '@starling/protocol';

export interface ThrottleDeps {
  readonly database: Database;
  readonly clock: Clock;
  readonly rateLimiter: RateLimiter;
}

/** Free tries; after them the wait doubles with each, from one second up to the longest. */
const [freeTries, longestWaitSeconds, forgottenAfterHours] = [5, 900, 24];

const addressesPerSecond = 5;

/** So many tries at once, and one more each time that so many seconds have passed. */
interface Allowance {
  readonly most: number;
  readonly oneMoreEverySeconds: number;
}

/** For one e-mail address, from all places together from which it has not been signed in to before. */
export const accountAllowance: Allowance = { most: 100, oneMoreEverySeconds: 600 };
/** For one place, whichever accounts it tries. */
export const placeAllowance: Allowance = { most: 100, oneMoreEverySeconds: 60 };

/** Throws StarlingError `rate_limited` for an address that asks too quickly. */
export async function admitAddress({ rateLimiter }: ThrottleDeps, what: string, address: string): Promise<void> {
  try {
    const name = `people:${what}:${addressGroup(address)}`;
    const { isAllowed, retryAfterMs } = await rateLimiter.take(name, 1, addressesPerSecond);
    if (!isAllowed) throw tooMany(retryAfterMs / 1_000);
  } catch (err) {
    // Without Redis the tries in the database still count, and an operator must be able to see what is wrong.
    if (!(err instanceof StarlingError && err.code === 'unavailable')) throw err;
  }
}

/** Throws StarlingError `rate_limited` while the last try is too recent. */
export async function takeTry(deps: ThrottleDeps, ...place: string[]): Promise<void> {
  const at = new Date(deps.clock.now());
  const placeHash = hashOf(place);
  const { count } = await deps.database.sql`
    insert into sign_in_tries as tries (place_hash, count, last_at) values (${placeHash}, 1, ${at})
    on conflict (place_hash) do update set
      count = case when tries.last_at < ${at} - make_interval(hours => ${forgottenAfterHours}) then 1
        else tries.count + 1 end,
      last_at = ${at}
    where tries.count < ${freeTries}
      or tries.last_at + make_interval(secs =>
        least(power(2, least(tries.count - ${freeTries}, 20)), ${longestWaitSeconds})) <= ${at}`;
  if (count > 0) return;
  const kept = await read(deps, placeHash, at);
  const waitSeconds = Math.min(2 ** Math.min((kept?.count ?? freeTries) - freeTries, 20), longestWaitSeconds);
  throw tooMany(((kept?.lastAt ?? at).getTime() - at.getTime()) / 1_000 + waitSeconds);
}

/** Throws StarlingError `rate_limited` when the allowance is used up. */
export async function takeAllowance(deps: ThrottleDeps, { most, oneMoreEverySeconds }: Allowance, ...of: string[]) {
  const { sql } = deps.database;
  const at = new Date(deps.clock.now());
  const placeHash = hashOf(of);
  // How many came back since `last_at`, which moves on by whole steps so that no part of one is lost.
  const back = sql`
    least(greatest(floor(extract(epoch from ${at}::timestamptz - tries.last_at) / ${oneMoreEverySeconds}), 0), 1000000)::int`;
  const { count } = await sql`
    insert into sign_in_tries as tries (place_hash, count, last_at) values (${placeHash}, 1, ${at})
    on conflict (place_hash) do update set
      count = greatest(tries.count - ${back}, 0) + 1,
      last_at = case when tries.count <= ${back} then ${at}
        else tries.last_at + ${back} * make_interval(secs => ${oneMoreEverySeconds}) end
    where tries.count - ${back} < ${most}`;
  if (count > 0) return;
  const kept = await read(deps, placeHash, at);
  const sinceSeconds = (at.getTime() - (kept?.lastAt ?? at).getTime()) / 1_000;
  throw tooMany(oneMoreEverySeconds - (Math.max(0, sinceSeconds) % oneMoreEverySeconds));
}

/** A try that was no wrong guess. Only its own: otherwise a success in an account of one's own would forgive guesses. */
export async function giveTryBack({ database }: Pick<ThrottleDeps, 'database'>, ...place: string[]): Promise<void> {
  await database.sql`
    update sign_in_tries set count = greatest(count - 1, 0) where place_hash = ${hashOf(place)}`;
}

/** After a success in a place that only the user has. */
export async function forgetTries({ database }: Pick<ThrottleDeps, 'database'>, ...place: string[]): Promise<void> {
  await database.sql`delete from sign_in_tries where place_hash = ${hashOf(place)}`;
}

/** What `recordFailure` counts by: the same statement, whether there is such a user or not. */
export function failureHash(...of: string[]): string {
  return hashOf(['failures', ...of]);
}

/** Those that no longer count. */
export async function pruneTries(deps: ThrottleDeps): Promise<void> {
  await deps.database.sql`
    delete from sign_in_tries where last_at < ${new Date(deps.clock.now())} - make_interval(hours => ${forgottenAfterHours})`;
}

/** What a refusal goes by. A last try that is still to come is of before the clock was set back: it counts from now. */
async function read({ database }: Pick<ThrottleDeps, 'database'>, placeHash: string, at: Date) {
  await database.sql`
    update sign_in_tries set last_at = ${at} where place_hash = ${placeHash} and last_at > ${at}`;
  const [kept] = await database.sql<{ count: number; lastAt: Date }[]>`
    select count, last_at as "lastAt" from sign_in_tries where place_hash = ${placeHash}`;
  return kept;
}

function tooMany(retryAfterSeconds: number): StarlingError {
  return new StarlingError('rate_limited', 'Too many tries to sign in', {
    retryAfterSeconds: Math.max(1, Math.ceil(retryAfterSeconds)),
  });
}

function hashOf(parts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url');
}
