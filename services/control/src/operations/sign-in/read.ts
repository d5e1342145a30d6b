import { peopleOperations as operations } from '../../contract/people.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { hasUsers } from '../../members/index.ts';
import type { OperationDeps } from '../deps.ts';

export function readSignIn({ database, hasProvider }: Pick<OperationDeps, 'database' | 'hasProvider'>): Implementation {
  return implement(operations.readSignIn, async () => ({
    ok: true,
    value: { isSetUp: await hasUsers(database), hasProvider },
  }));
}
