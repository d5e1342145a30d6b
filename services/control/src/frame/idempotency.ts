/** Requests that may be sent twice and are done once: the answer to an Idempotency-Key, kept for a day, without secrets. */
import type { Database, Keyring } from '@starling/database';
import type { Clock } from '@starling/ports';
import { StarlingError } from '@starling/protocol';
import type { Operation } from '../contract/operation.ts';
import type { Principal } from '../contract/principal.ts';

export const keptMs = 24 * 3_600 * 1_000;

interface Deps {
  readonly database: Database;
  readonly keyring: Keyring;
  readonly clock: Clock;
}

export interface IdempotentRequest {
  /** Whose key it is, by `keyOwner`: the same key of another principal is another key. */
  readonly principal: string;
  readonly key: string;
  readonly requestHash: string;
}

export interface KeptAnswer {
  readonly requestHash: string;
  readonly status: number;
  readonly body: unknown;
}

/**
 * A kept answer is given only to the session or the access token that was given the first one, and only while its role in
 * the organisation is the same: after a change of role the request is judged again, as if it had never been sent.
 */
export function keyOwner(
  { userId, sessionId, tokenId, roleIn }: Principal,
  organisationId: string | undefined,
): string {
  const credential = tokenId === undefined ? ['session', sessionId ?? ''] : ['token', tokenId];
  const place = organisationId === undefined ? [] : [organisationId, roleIn(organisationId) ?? ''];
  return JSON.stringify([userId, ...credential, ...place]);
}

/** What a repeated request is answered: the same, but for the secret that the first answer showed. */
export function withoutSecret({ shownOnce }: Operation, body: unknown): unknown {
  if (shownOnce === undefined || typeof body !== 'object' || body === null) return body;
  return { ...body, [shownOnce]: null, wasShown: true };
}

/**
 * In a transaction: what was answered to this key before; undefined when it was free, and is taken now. Who comes with the
 * same key meanwhile waits for the end of the transaction.
 */
export async function takeKey(
  { database, keyring, clock }: Deps,
  given: IdempotentRequest,
): Promise<KeptAnswer | undefined> {
  const { principal, key, requestHash } = given;
  const now = clock.now();
  const taken = await database.sql`
    insert into idempotency_keys (principal, key, request_hash, expires_at)
    values (${principal}, ${key}, ${requestHash}, ${new Date(now + keptMs)})
    on conflict (principal, key) do update
      set request_hash = excluded.request_hash, expires_at = excluded.expires_at,
        response_status = null, response_body = null
      where idempotency_keys.expires_at <= ${new Date(now)}
    returning 1`;
  if (taken.length > 0) return undefined;
  const [row] = await database.sql<{ hash: string; status: number; body: { sealed: string } }[]>`
    select request_hash as hash, response_status as status, response_body as body
    from idempotency_keys where principal = ${principal} and key = ${key}`;
  // Removed between the two statements, since its day is over.
  if (row === undefined) throw new StarlingError('unavailable', 'The kept answer was just removed');
  return {
    requestHash: row.hash,
    status: row.status,
    body: JSON.parse(keyring.open(row.body.sealed, purposeOf(given))),
  };
}

/** In the transaction that took the key. `body` is of `withoutSecret`. Sealed still: it holds names and addresses. */
export async function keepAnswer(
  { database, keyring }: Deps,
  given: IdempotentRequest,
  { status, body }: Pick<KeptAnswer, 'status' | 'body'>,
): Promise<void> {
  const { sql } = database;
  const sealed = keyring.seal(JSON.stringify(body), purposeOf(given));
  await sql`
    update idempotency_keys set response_status = ${status}, response_body = ${sql.json({ sealed })}
    where principal = ${given.principal} and key = ${given.key}`;
}

/** Those whose day is over. */
export async function pruneKeys({ database, clock }: Pick<Deps, 'database' | 'clock'>): Promise<void> {
  await database.sql`delete from idempotency_keys where expires_at <= ${new Date(clock.now())}`;
}

function purposeOf({ principal, key }: IdempotentRequest): string {
  return `idempotency:${principal}:${key}`;
}
