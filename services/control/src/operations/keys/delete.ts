import { appChanged, lockApps } from '@starling/database';
import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { findKey } from './key.ts';

export function deleteKey({ database, controlBus }: Pick<OperationDeps, 'database' | 'controlBus'>): Implementation {
  return implement(operations.deleteKey, async ({ params: { appId, key } }) => {
    const { sql } = database;
    await lockApps(sql);
    const found = await findKey(database, appId, key);
    if (found === undefined) return fail('resource_unknown');
    await sql`delete from app_keys where key = ${key}`;
    await appChanged(database, controlBus, appId);
    return { ok: true, value: null, auditRecord: { target: `key:${key}`, details: { appId, label: found.label } } };
  });
}
