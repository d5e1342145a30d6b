import { type AppKeyRow, appChanged, lockApps } from '@starling/database';
import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { findKey, toKey } from './key.ts';

export function changeKey({ database, controlBus }: Pick<OperationDeps, 'database' | 'controlBus'>): Implementation {
  return implement(operations.changeKey, async ({ params: { appId, key }, body }) => {
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
    if (isSame) return { ok: true, value: toKey(row), auditRecord: { target: null } };
    await sql`
      update app_keys set label = ${row.label}, is_enabled = ${row.is_enabled}, expires_at = ${row.expires_at}
      where key = ${key}`;
    await appChanged(database, controlBus, appId);
    return { ok: true, value: toKey(row), auditRecord: { target: `key:${key}`, details: { appId, ...body } } };
  });
}
