import { randomBytes } from 'node:crypto';
import {
  type AppKeyRow,
  appChanged,
  appSecretPurpose,
  type Database,
  type Keyring,
  lockApps,
} from '@starling/database';
import type { Bulletin, Clock } from '@starling/ports';
import type { z } from 'zod';
import { type appKey, operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Failed, type Implementation, implement } from '../../frame/implement.ts';
import { parseCursor, toPage } from '../../frame/page.ts';

interface Deps {
  readonly database: Database;
  readonly keyring: Keyring;
  readonly bulletin: Bulletin;
  readonly clock: Clock;
}

/** Of one app, since every node holds all of them. */
const keysMax = 100;

export function keyRoutes(deps: Deps): Implementation[] {
  const { database, bulletin, clock } = deps;

  const inserted = async (appId: string, label: string): Promise<Inserted | Failed> => {
    const { sql } = database;
    const [count] = await sql<{ keys: number }[]>`select count(*)::int as keys from app_keys where app_id = ${appId}`;
    if ((count?.keys ?? 0) >= keysMax) {
      return fail('state_conflict', { message: `The app has ${keysMax} keys already`, hint: 'Delete some first.' });
    }
    return { ok: true, value: await insertKey(deps, appId, label) };
  };

  return [
    implement(operations.listKeys, async ({ params: { appId }, query }) => {
      const place = parseCursor('keys', ['number'], query.cursor);
      if (!place.ok) return place;
      const [position] = place.value ?? [];
      const { sql } = database;
      const rows = await sql<(AppKeyRow & { position: number })[]>`
        select * from app_keys where app_id = ${appId}
          ${position === undefined ? sql`` : sql`and position > ${position}`}
        order by position limit ${query.limit + 1}`;
      return { ok: true, value: toPage('keys', query.limit, rows, (row) => [row.position], toKey) };
    }),

    implement(operations.createKey, async ({ params: { appId }, body }) => {
      await lockApps(database.sql);
      const made = await inserted(appId, body.label);
      if (!made.ok) return made;
      await appChanged(database, bulletin, appId);
      const { row, secret } = made.value;
      const deed = { target: `key:${row.key}`, details: { appId, label: row.label } };
      return { ok: true, value: { ...toKey(row), secret }, deed };
    }),

    implement(operations.rotateKey, async ({ params: { appId, key }, body: { overlapSeconds } }) => {
      const { sql } = database;
      await lockApps(sql);
      const old = await findKey(database, appId, key);
      if (old === undefined) return fail('resource_unknown');
      if (!old.is_enabled) {
        return fail('state_conflict', { message: 'The key is disabled', hint: 'Make a new key instead.' });
      }
      const made = await inserted(appId, old.label);
      if (!made.ok) return made;
      const now = clock.now();
      const expiresAt = new Date(now + overlapSeconds * 1_000);
      // A key that ends sooner already still ends then.
      const endsAt = old.expires_at !== null && old.expires_at < expiresAt ? old.expires_at : expiresAt;
      const replaced = { ...old, expires_at: endsAt, is_enabled: endsAt.getTime() > now };
      await sql`
        update app_keys set expires_at = ${replaced.expires_at}, is_enabled = ${replaced.is_enabled} where key = ${key}`;
      await appChanged(database, bulletin, appId);
      const { row, secret } = made.value;
      return {
        ok: true,
        value: { ...toKey(row), secret, replaces: toKey(replaced) },
        deed: { target: `key:${key}`, details: { appId, newKey: row.key, expiresAt: endsAt.toISOString() } },
      };
    }),

    implement(operations.changeKey, async ({ params: { appId, key }, body }) => {
      const { sql } = database;
      await lockApps(sql);
      const found = await findKey(database, appId, key);
      if (found === undefined) return fail('resource_unknown');
      const isEnabled = body.isEnabled ?? found.is_enabled;
      const row: AppKeyRow = {
        ...found,
        label: body.label ?? found.label,
        is_enabled: isEnabled,
        expires_at: body.isEnabled === true ? null : found.expires_at,
      };
      const isSame =
        row.label === found.label && row.is_enabled === found.is_enabled && row.expires_at === found.expires_at;
      if (isSame) return { ok: true, value: toKey(row), deed: { target: null } };
      await sql`
        update app_keys set label = ${row.label}, is_enabled = ${row.is_enabled}, expires_at = ${row.expires_at}
        where key = ${key}`;
      await appChanged(database, bulletin, appId);
      return { ok: true, value: toKey(row), deed: { target: `key:${key}`, details: { appId, ...body } } };
    }),

    implement(operations.deleteKey, async ({ params: { appId, key } }) => {
      const { sql } = database;
      await lockApps(sql);
      const found = await findKey(database, appId, key);
      if (found === undefined) return fail('resource_unknown');
      await sql`delete from app_keys where key = ${key}`;
      await appChanged(database, bulletin, appId);
      return { ok: true, value: null, deed: { target: `key:${key}`, details: { appId, label: found.label } } };
    }),
  ];
}

type Inserted = { readonly ok: true; readonly value: { readonly row: AppKeyRow; readonly secret: string } };

async function insertKey({ database, keyring, clock }: Deps, appId: string, label: string): Promise<Inserted['value']> {
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
  await database.sql`insert into app_keys ${database.sql(row as never)}`;
  return { row, secret };
}

async function findKey({ sql }: Database, appId: string, key: string): Promise<AppKeyRow | undefined> {
  const [row] = await sql<AppKeyRow[]>`select * from app_keys where app_id = ${appId} and key = ${key}`;
  return row;
}

function toKey(row: AppKeyRow): z.input<typeof appKey> {
  return {
    key: row.key,
    label: row.label,
    isEnabled: row.is_enabled,
    createdAt: row.created_at.toISOString(),
    expiresAt: row.expires_at?.toISOString() ?? null,
    lastUsedAt: row.last_used_at?.toISOString() ?? null,
  };
}
