/** Who runs the installation, as rows. A user who has one is not removed: the database refuses it. */
import type { Sql } from '@starling/database';
import type { PeopleDeps } from '../deps.ts';
import { recordAudit } from '../frame/audit.ts';

/**
 * Until the transaction ends nobody else gives, takes or moves the right: two who each take the other's would leave nobody.
 * To be called before rows of users are locked, so that no two wait for each other.
 */
export async function lockOperators(sql: Sql): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtext('starling operators'))`;
}

/** Where two accounts become one: the right of the one that goes is of the one that stays. After `lockOperators`. */
export async function moveOperator(
  deps: Pick<PeopleDeps, 'database' | 'clock'>,
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
