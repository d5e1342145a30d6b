import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { createId } from '../../id.ts';
import type { OperationDeps } from '../deps.ts';
import { idsOf, toOrganisation } from './organisation.ts';

/** Of one person; beyond it somebody fills the database. */
const ownedMax = 100;

export function createOrganisation({ database, clock }: Pick<OperationDeps, 'database' | 'clock'>): Implementation {
  return implement(operations.createOrganisation, async ({ principal, body }) => {
    const owned = (await idsOf(database, principal)).filter((id) => principal.roleIn(id) === 'owner');
    if (principal.kind !== 'user' || owned.length === 0) {
      return fail('role_too_low', {
        message: 'Organisations are made by people who own one, when they are signed in themselves',
        hint: 'Ask the owner of an organisation of this installation to make it and to invite you.',
      });
    }
    if (owned.length >= ownedMax) return fail('state_conflict', { message: `You own ${ownedMax} already` });
    const row = { id: createId('org'), name: body.name, version: 1, created_at: new Date(clock.now()) };
    const { sql } = database;
    await sql`insert into organisations ${sql(row)}`;
    await sql`
      insert into memberships (organisation_id, user_id, role, created_at)
      values (${row.id}, ${principal.userId}, 'owner', ${row.created_at})`;
    return {
      ok: true,
      value: toOrganisation(row, 'owner'),
      auditRecord: { organisationId: row.id, target: `organisation:${row.id}`, details: { name: row.name } },
    };
  });
}
