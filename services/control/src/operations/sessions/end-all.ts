import { peopleOperations as operations } from '../../contract/people.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { clearCookie, closeSessions, type SessionDeps } from '../../sessions/index.ts';
import { asUser } from '../me/person.ts';

export function endSessions(deps: SessionDeps): Implementation {
  return implement(operations.endSessions, async ({ principal, request, reply }) => {
    const user = asUser(principal);
    if (!user.ok) return user;
    const ended = await closeSessions(deps, user.value.userId);
    clearCookie(request, reply, 'session');
    return {
      ok: true,
      value: null,
      auditRecord: { target: `user:${user.value.userId}`, details: { endedSessions: ended } },
    };
  });
}
