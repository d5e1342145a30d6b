import { readInstallationLimits } from '@starling/database';
import { operations } from '../../contract/index.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { toReply } from './limits.ts';

export function getInstallationLimits({ database }: Pick<OperationDeps, 'database'>): Implementation {
  return implement(operations.getInstallationLimits, async () => {
    const { limits, version } = await readInstallationLimits(database.sql);
    return { ok: true, value: toReply(limits, version) };
  });
}
