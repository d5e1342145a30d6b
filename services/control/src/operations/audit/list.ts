import { operations } from '../../contract/index.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { listEntries } from './entries.ts';

export function listAuditEntries({ database }: Pick<OperationDeps, 'database'>): Implementation {
  return implement(operations.listAuditEntries, ({ organisationId, query }) =>
    listEntries(database, organisationId, query),
  );
}
