import { peopleOperations as operations } from '../../contract/people.ts';
import { type Implementation, implementPrepared } from '../../frame/implement.ts';
import { type SessionDeps, signInAs, visitorOf } from '../../sessions/index.ts';
import { checkCredentials, type SignInDeps } from '../../sign-in/index.ts';
import { meOf } from '../me/person.ts';

export function signIn(deps: SignInDeps & SessionDeps): Implementation {
  return implementPrepared(
    operations.signIn,
    async ({ body, request }) => checkCredentials(deps, body, await visitorOf(deps, request)),
    async ({ request, reply }, { id }) => {
      await signInAs(deps, request, reply, id);
      return { ok: true, value: await meOf(deps, id), auditRecord: { target: `user:${id}` } };
    },
  );
}
