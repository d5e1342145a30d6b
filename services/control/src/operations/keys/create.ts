import { appChanged, lockApps } from '@starling/database';
import { operations } from '../../contract/index.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { insertKey, toKey } from './key.ts';

export function createKey({
  database,
  keyring,
  controlBus,
  clock,
}: Pick<OperationDeps, 'database' | 'keyring' | 'controlBus' | 'clock'>): Implementation {
  return implement(operations.createKey, async ({ params: { appId }, body }) => {
    await lockApps(database.sql);
    const made = await insertKey({ database, keyring, clock }, appId, body.label);
    if (!made.ok) return made;
    await appChanged(database, controlBus, appId);
    const { row, secret } = made.value;
    const auditRecord = { target: `key:${row.key}`, details: { appId, label: row.label } };
    return { ok: true, value: { ...toKey(row), secret }, auditRecord };
  });
}
