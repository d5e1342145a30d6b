import { peopleOperations as operations } from '../../contract/people.ts';
import { type Implementation, implementPrepared } from '../../frame/implement.ts';
import { offerTotp } from '../../second-factor/index.ts';
import type { SignInDeps } from '../../sign-in/index.ts';
import { again } from '../me/person.ts';

export function offerSecondFactor(deps: SignInDeps): Implementation {
  return implementPrepared(
    operations.offerSecondFactor,
    ({ principal, body }) => again(deps, principal, body.password),
    async (_call, { user }) => {
      const offered = await offerTotp(deps, user);
      return offered.ok ? { ...offered, auditRecord: { target: `user:${user.id}` } } : offered;
    },
  );
}
