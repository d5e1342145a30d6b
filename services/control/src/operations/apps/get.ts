import { readInstallationLimits } from '@starling/database';
import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { findApp, toApp } from './app.ts';

export function getApp({ database }: Pick<OperationDeps, 'database'>): Implementation {
  return implement(operations.getApp, async ({ params }) => {
    const row = await findApp(database, params.appId);
    if (row === undefined) return fail('resource_unknown');
    const { limits: maxima } = await readInstallationLimits(database.sql);
    return { ok: true, value: toApp(row, maxima) };
  });
}
