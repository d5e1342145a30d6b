import { operations } from '../../contract/index.ts';
import { fail, outdated } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { findOrganisation, roleOf, toOrganisation } from './organisation.ts';

export function changeOrganisation({ database }: Pick<OperationDeps, 'database'>): Implementation {
  return implement(operations.changeOrganisation, async ({ principal, organisationId, body, ifVersion }) => {
    const found = await findOrganisation(database, organisationId, 'for update');
    if (found === undefined) return fail('resource_unknown');
    const refused = outdated(found.version, ifVersion);
    if (refused !== undefined) return refused;
    const role = roleOf(principal, organisationId);
    if (found.name === body.name)
      return { ok: true, value: toOrganisation(found, role), auditRecord: { target: null } };
    const row = { ...found, name: body.name, version: found.version + 1 };
    await database.sql`
      update organisations set name = ${row.name}, version = ${row.version} where id = ${organisationId}`;
    return {
      ok: true,
      value: toOrganisation(row, role),
      auditRecord: { target: `organisation:${organisationId}`, details: { name: { from: found.name, to: row.name } } },
    };
  });
}
