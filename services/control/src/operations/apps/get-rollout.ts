import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';

export function getRollout({ database, rollout }: Pick<OperationDeps, 'database' | 'rollout'>): Implementation {
  return implement(operations.getRollout, async ({ params: { appId } }) => {
    const [row] = await database.sql<{ version: number; changed_at: Date | null }[]>`
      select version, (select max(at) from app_changes where seq = apps.version) as changed_at
      from apps where id = ${appId}`;
    if (row === undefined) return fail('resource_unknown');
    return { ok: true, value: await rollout.of(appId, row.version, row.changed_at?.getTime()) };
  });
}
