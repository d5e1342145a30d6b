import { refuse } from '@starling/protocol';
import { peopleOperations as operations } from '../../contract/people.ts';
import { type Implementation, implementPrepared } from '../../frame/implement.ts';
import { replaceRecoveryCodes } from '../../second-factor/index.ts';
import type { SignInDeps } from '../../sign-in/index.ts';
import { again } from '../me/person.ts';

export function renewRecoveryCodes(deps: SignInDeps): Implementation {
  return implementPrepared(
    operations.renewRecoveryCodes,
    ({ principal, body }) => again(deps, principal, body.password),
    async (_call, { user }) => {
      if (user.totpSecretSealed === null) return refuse('state_conflict', 'There is no second factor');
      const recoveryCodes = [...(await replaceRecoveryCodes(deps, user.id))];
      return { ok: true, value: { recoveryCodes }, auditRecord: { target: `user:${user.id}` } };
    },
  );
}
