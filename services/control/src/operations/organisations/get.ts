import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { findOrganisation, roleOf, toOrganisation } from './organisation.ts';

export function getOrganisation({ database }: Pick<OperationDeps, 'database'>): Implementation {
  return implement(operations.getOrganisation, async ({ principal, organisationId }) => {
    const row = await findOrganisation(database, organisationId);
    if (row === undefined) return fail('resource_unknown');
    return { ok: true, value: toOrganisation(row, roleOf(principal, organisationId)) };
  });
}
