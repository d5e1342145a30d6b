import { appChanged } from '@starling/database';
import { operations } from '../../contract/index.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { lockApp } from './app.ts';

export function deleteApp({ database, controlBus }: Pick<OperationDeps, 'database' | 'controlBus'>): Implementation {
  return implement(operations.deleteApp, async ({ params: { appId }, ifVersion }) => {
    const { sql } = database;
    const locked = await lockApp(database, appId, ifVersion);
    if (!locked.ok) return locked;
    const found = locked.value;
    await sql`delete from apps where id = ${appId}`;
    await appChanged(database, controlBus, appId);
    return { ok: true, value: null, auditRecord: { target: `app:${appId}`, details: { name: found.name } } };
  });
}
