import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { lockOperatorsAs, readOperators, toOperator } from './operator.ts';

export function giveOperator({ database, clock }: Pick<OperationDeps, 'database' | 'clock'>): Implementation {
  return implement(operations.giveOperator, async ({ params: { userId }, principal }) => {
    const { sql } = database;
    const refused = await lockOperatorsAs(sql, principal.userId);
    if (refused !== undefined) return refused;
    const [user] = await sql`select 1 from users where id = ${userId}`;
    if (user === undefined) return fail('resource_unknown');
    const { count } = await sql`
      insert into operators (user_id, created_at) values (${userId}, ${new Date(clock.now())}) on conflict do nothing`;
    const [row] = await readOperators(sql, userId);
    if (row === undefined) return fail('resource_unknown');
    return { ok: true, value: toOperator(row), auditRecord: { target: count === 0 ? null : `user:${userId}` } };
  });
}
