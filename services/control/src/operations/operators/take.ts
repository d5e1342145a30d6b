import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { lockOperatorsAs, readOperators } from './operator.ts';

export function takeOperator({ database }: Pick<OperationDeps, 'database'>): Implementation {
  return implement(operations.takeOperator, async ({ params: { userId }, principal }) => {
    const { sql } = database;
    const refused = await lockOperatorsAs(sql, principal.userId);
    if (refused !== undefined) return refused;
    const all = await readOperators(sql);
    if (!all.some((each) => each.userId === userId)) return fail('resource_unknown');
    if (all.length === 1) return fail('last_operator');
    await sql`delete from operators where user_id = ${userId}`;
    return { ok: true, value: null, auditRecord: { target: `user:${userId}` } };
  });
}
