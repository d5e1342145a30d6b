import { randomBytes } from 'node:crypto';
import { type AppKeyRow, appSecretPurpose, type Database } from '@starling/database';
import type { z } from 'zod';
import type { appKey } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import type { Failed } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';

/** Of one app, since every node holds all of them. */
const keysMax = 100;

type Inserted = { readonly ok: true; readonly value: { readonly row: AppKeyRow; readonly secret: string } };

/** Refused where the app has as many as it may. */
export async function insertKey(
  { database, keyring, clock }: Pick<OperationDeps, 'database' | 'keyring' | 'clock'>,
  appId: string,
  label: string,
): Promise<Inserted | Failed> {
  const { sql } = database;
  const [count] = await sql<{ keys: number }[]>`select count(*)::int as keys from app_keys where app_id = ${appId}`;
  if ((count?.keys ?? 0) >= keysMax) {
    return fail('state_conflict', { message: `The app has ${keysMax} keys already`, hint: 'Delete some first.' });
  }
  // Pusher's own have 20 hex characters, and libraries were written against those.
  const [key, secret] = [randomBytes(10).toString('hex'), randomBytes(10).toString('hex')];
  const row: AppKeyRow = {
    key,
    app_id: appId,
    label,
    secret_sealed: keyring.seal(secret, appSecretPurpose(key)),
    is_enabled: true,
    created_at: new Date(clock.now()),
    expires_at: null,
    last_used_at: null,
  };
  await sql`insert into app_keys ${sql(row as never)}`;
  return { ok: true, value: { row, secret } };
}

export async function findKey({ sql }: Database, appId: string, key: string): Promise<AppKeyRow | undefined> {
  const [row] = await sql<AppKeyRow[]>`select * from app_keys where app_id = ${appId} and key = ${key}`;
  return row;
}

export function toKey(row: AppKeyRow): z.input<typeof appKey> {
  return {
    key: row.key,
    label: row.label,
    isEnabled: row.is_enabled,
    createdAt: row.created_at.toISOString(),
    expiresAt: row.expires_at?.toISOString() ?? null,
    lastUsedAt: row.last_used_at?.toISOString() ?? null,
  };
}
