import { peopleOperations as operations } from '../../contract/people.ts';
import { type Implementation, implementPrepared } from '../../frame/implement.ts';
import { removeTotp } from '../../second-factor/index.ts';
import type { SignInDeps } from '../../sign-in/index.ts';
import { again } from '../me/person.ts';

export function removeSecondFactor(deps: SignInDeps): Implementation {
  return implementPrepared(
    operations.removeSecondFactor,
    ({ principal, body }) => again(deps, principal, body.password),
    async (_call, { user }) => {
      await removeTotp(deps, user.id);
      return { ok: true, value: null, auditRecord: { target: `user:${user.id}` } };
    },
  );
}
