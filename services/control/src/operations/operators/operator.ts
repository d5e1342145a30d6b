/** Who runs the installation. Always somebody does. */
import type { Database, Sql } from '@starling/database';
import type { Clock } from '@starling/ports';
import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Failed, type Implementation, implement } from '../../frame/implement.ts';
import { lockOperators } from '../../members/operator.ts';

interface Deps {
  readonly database: Database;
  readonly clock: Clock;
}

interface OperatorRow {
  readonly userId: string;
  readonly name: string;
  readonly email: string;
  readonly createdAt: Date;
}

export function operatorRoutes({ database, clock }: Deps): Implementation[] {
  return [
    implement(operations.listOperators, async () => ({
      ok: true,
      value: { items: (await read(database.sql)).map(toOperator) },
    })),

    implement(operations.giveOperator, async ({ params: { userId }, principal }) => {
      const { sql } = database;
      const refused = await lockedFor(sql, principal.userId);
      if (refused !== undefined) return refused;
      const [user] = await sql`select 1 from users where id = ${userId}`;
      if (user === undefined) return fail('resource_unknown');
      const { count } = await sql`
        insert into operators (user_id, created_at) values (${userId}, ${new Date(clock.now())}) on conflict do nothing`;
      const [row] = await read(sql, userId);
      if (row === undefined) return fail('resource_unknown');
      return { ok: true, value: toOperator(row), deed: { target: count === 0 ? null : `user:${userId}` } };
    }),

    implement(operations.takeOperator, async ({ params: { userId }, principal }) => {
      const { sql } = database;
      const refused = await lockedFor(sql, principal.userId);
      if (refused !== undefined) return refused;
      const all = await read(sql);
      if (!all.some((each) => each.userId === userId)) return fail('resource_unknown');
      if (all.length === 1) return fail('last_operator');
      await sql`delete from operators where user_id = ${userId}`;
      return { ok: true, value: null, deed: { target: `user:${userId}` } };
    }),
  ];
}

/**
 * Where there is no operator, who has owned the first organisation for longest becomes one; where nobody owns that, the first
 * that has an owner. Returns their id.
 */
export async function settleOperator({ database, clock }: Deps): Promise<string | undefined> {
  return database.tx(async (sql) => {
    await lockOperators(sql);
    const [made] = await sql<{ userId: string }[]>`
      insert into operators (user_id, created_at)
      select m.user_id, ${new Date(clock.now())} from memberships m join organisations o on o.id = m.organisation_id
      where not exists (select 1 from operators) and m.role = 'owner'
      order by o.created_at, o.id, m.created_at, m.user_id limit 1
      returning user_id as "userId"`;
    return made?.userId;
  });
}

/** The right may have been taken since the request was admitted: who lost it gives it to nobody, and takes nobody's. */
async function lockedFor(sql: Sql, userId: string): Promise<Failed | undefined> {
  await lockOperators(sql);
  const rows = await sql`select 1 from operators where user_id = ${userId}`;
  return rows.length === 0 ? fail('operator_needed') : undefined;
}

async function read(sql: Sql, userId?: string): Promise<readonly OperatorRow[]> {
  return sql<OperatorRow[]>`
    select u.id as "userId", u.name, u.email, o.created_at as "createdAt"
    from operators o join users u on u.id = o.user_id
    ${userId === undefined ? sql`` : sql`where u.id = ${userId}`}
    order by o.created_at, u.id`;
}

function toOperator({ createdAt, ...rest }: OperatorRow) {
  return { ...rest, createdAt: createdAt.toISOString() };
}
