import type { Sql } from '@starling/database';
import { fail } from '../../frame/answer.ts';
import type { Failed } from '../../frame/implement.ts';
import { lockOperators } from '../../members/index.ts';

interface OperatorRow {
  readonly userId: string;
  readonly name: string;
  readonly email: string;
  readonly createdAt: Date;
}

/** Checks again under the lock: the right may have been taken since the request was admitted. */
export async function lockOperatorsAs(sql: Sql, userId: string): Promise<Failed | undefined> {
  await lockOperators(sql);
  const rows = await sql`select 1 from operators where user_id = ${userId}`;
  return rows.length === 0 ? fail('operator_needed') : undefined;
}

export async function readOperators(sql: Sql, userId?: string): Promise<readonly OperatorRow[]> {
  return sql<OperatorRow[]>`
    select u.id as "userId", u.name, u.email, o.created_at as "createdAt"
    from operators o join users u on u.id = o.user_id
    ${userId === undefined ? sql`` : sql`where u.id = ${userId}`}
    order by o.created_at, u.id`;
}

export function toOperator({ createdAt, ...rest }: OperatorRow) {
  return { ...rest, createdAt: createdAt.toISOString() };
}
