import { operations } from '../../contract/index.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { readOperators, toOperator } from './operator.ts';

export function listOperators({ database }: Pick<OperationDeps, 'database'>): Implementation {
  return implement(operations.listOperators, async () => ({
    ok: true,
    value: { items: (await readOperators(database.sql)).map(toOperator) },
  }));
}
