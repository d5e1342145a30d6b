/** Requests that may be sent twice and are done once: the answer to an Idempotency-Key, kept for a day. */
import type { Database, Keyring } from '@starling/database';
import type { Clock } from '@starling/ports';
import { StarlingError } from '@starling/protocol';

export const keptMs = 24 * 3_600 * 1_000;

interface Deps {
  readonly database: Database;
  readonly keyring: Keyring;
  readonly clock: Clock;
}

export interface Given {
  /** Whose key it is: the same key of somebody else is another. */
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
 * In a transaction: what was answered to this key before; undefined when it was free, and is taken now. Who comes with the
 * same key meanwhile waits for the end of the transaction.
 */
export async function takeKey({ database, keyring, clock }: Deps, given: Given): Promise<KeptAnswer | undefined> {
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

/** In the transaction that took the key. Sealed: an answer may hold a secret that is kept nowhere else. */
export async function keepAnswer(
  { database, keyring }: Deps,
  given: Given,
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

function purposeOf({ principal, key }: Given): string {
  return `idempotency:${principal}:${key}`;
}
