import { parseAppSettings } from '@starling/database';
import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { findApp } from '../apps/app.ts';
import type { OperationDeps } from '../deps.ts';
import { toSettings } from './token-settings.ts';

export function getTokenSettings({ database }: Pick<OperationDeps, 'database'>): Implementation {
  return implement(operations.getTokenSettings, async ({ params: { appId } }) => {
    const row = await findApp(database, appId);
    if (row === undefined) return fail('resource_unknown');
    return { ok: true, value: toSettings(parseAppSettings(row.settings).tokens, row.version) };
  });
}
