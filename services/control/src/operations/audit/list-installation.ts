import { operations } from '../../contract/index.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { listEntries } from './entries.ts';

export function listInstallationAuditEntries({ database }: Pick<OperationDeps, 'database'>): Implementation {
  return implement(operations.listInstallationAuditEntries, ({ query }) => listEntries(database, null, query));
}
