import { appChanged, lockApps } from '@starling/database';
import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { findKey, insertKey, toKey } from './key.ts';

export function rotateKey({
  database,
  keyring,
  controlBus,
  clock,
}: Pick<OperationDeps, 'database' | 'keyring' | 'controlBus' | 'clock'>): Implementation {
  return implement(operations.rotateKey, async ({ params: { appId, key }, body: { overlapSeconds } }) => {
    const { sql } = database;
    await lockApps(sql);
    const old = await findKey(database, appId, key);
    if (old === undefined) return fail('resource_unknown');
    if (!old.is_enabled) {
      return fail('state_conflict', { message: 'The key is disabled', hint: 'Make a new key instead.' });
    }
    const made = await insertKey({ database, keyring, clock }, appId, old.label);
    if (!made.ok) return made;
    const now = clock.now();
    const expiresAt = new Date(now + overlapSeconds * 1_000);
    // A key that ends sooner already still ends then.
    const endsAt = old.expires_at !== null && old.expires_at < expiresAt ? old.expires_at : expiresAt;
    const replaced = { ...old, expires_at: endsAt, is_enabled: endsAt.getTime() > now };
    await sql`
      update app_keys set expires_at = ${replaced.expires_at}, is_enabled = ${replaced.is_enabled} where key = ${key}`;
    await appChanged(database, controlBus, appId);
    const { row, secret } = made.value;
    return {
      ok: true,
      value: { ...toKey(row), secret, replaces: toKey(replaced) },
      auditRecord: { target: `key:${key}`, details: { appId, newKey: row.key, expiresAt: endsAt.toISOString() } },
    };
  });
}
