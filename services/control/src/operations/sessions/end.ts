import { refuse } from '@starling/protocol';
import { peopleOperations as operations } from '../../contract/people.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { clearCookie, closeSession, type SessionDeps } from '../../sessions/index.ts';
import { asUser } from '../me/person.ts';

export function endSession(deps: SessionDeps): Implementation {
  return implement(operations.endSession, async ({ principal, params, request, reply }) => {
    const user = asUser(principal);
    if (!user.ok) return user;
    if (!(await closeSession(deps, user.value.userId, params.sessionId))) return refuse('resource_unknown');
    if (params.sessionId === user.value.sessionId) clearCookie(request, reply, 'session');
    return { ok: true, value: null, auditRecord: { target: `session:${params.sessionId}` } };
  });
}
