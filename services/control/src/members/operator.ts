/** The rows of operators, who run the installation. The database refuses to remove the user of one. */
import type { Sql } from '@starling/database';
import { recordAudit } from '../frame/audit.ts';
import type { MemberDeps } from './user.ts';

/**
 * Until the transaction ends no other one gives, takes or moves the right: two operators that each take the other's would
 * leave none.
 * To be called before rows of users are locked, so that no two wait for each other.
 */
export async function lockOperators(sql: Sql): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtext('starling operators'))`;
}

/** Where two accounts become one: the right of the one that goes is of the one that stays. After `lockOperators`. */
export async function moveOperator(
  deps: MemberDeps,
  { from, to }: { readonly from: string; readonly to: string },
): Promise<void> {
  const { sql } = deps.database;
  const { count } = await sql`
    insert into operators (user_id, created_at)
    select ${to}, created_at from operators where user_id = ${from} on conflict do nothing`;
  await sql`delete from operators where user_id = ${from}`;
  if (count === 0) return;
  await recordAudit(deps, {
    organisationId: undefined,
    actor: { kind: 'system' },
    action: 'moveOperator',
    target: `user:${to}`,
    details: { from },
  });
}

/**
 * Where there is no operator, the longest owner of the first organisation becomes one; where that has no owner, the first
 * organisation that has. Returns their id.
 */
export async function settleOperator({ database, clock }: MemberDeps): Promise<string | undefined> {
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
