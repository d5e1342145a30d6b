import { peopleOperations as operations } from '../../contract/people.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { clearCookie, closeSession, type SessionDeps } from '../../sessions/index.ts';
import { asUser } from '../me/person.ts';

export function signOut(deps: SessionDeps): Implementation {
  return implement(operations.signOut, async ({ principal, request, reply }) => {
    const user = asUser(principal);
    if (!user.ok) return user;
    await closeSession(deps, user.value.userId, user.value.sessionId);
    clearCookie(request, reply, 'session');
    return { ok: true, value: null, auditRecord: { target: `session:${user.value.sessionId}` } };
  });
}
