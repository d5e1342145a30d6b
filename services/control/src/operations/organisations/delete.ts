import { isDangling } from '@starling/database';
import { operations } from '../../contract/index.ts';
import { fail, outdated } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { findOrganisation } from './organisation.ts';

export function deleteOrganisation({ database }: Pick<OperationDeps, 'database'>): Implementation {
  return implement(operations.deleteOrganisation, async ({ organisationId, ifVersion }) => {
    const found = await findOrganisation(database, organisationId, 'for update');
    if (found === undefined) return fail('resource_unknown');
    const refused = outdated(found.version, ifVersion);
    if (refused !== undefined) return refused;
    try {
      await database.tx((sql) => sql`delete from organisations where id = ${organisationId}`);
    } catch (err) {
      if (!isDangling(err)) throw err;
      return fail('state_conflict', { message: 'It still has apps', hint: 'Delete its apps first.' });
    }
    return {
      ok: true,
      value: null,
      auditRecord: { target: `organisation:${organisationId}`, details: { name: found.name } },
    };
  });
}
