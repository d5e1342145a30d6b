import { refuse } from '@starling/protocol';
import { peopleOperations as operations } from '../../contract/people.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { findUser } from '../../members/index.ts';
import { confirmTotp, type SecondFactorDeps } from '../../second-factor/index.ts';
import { closeSessions, type SessionDeps } from '../../sessions/index.ts';
import { asUser } from '../me/person.ts';

export function confirmSecondFactor(deps: SessionDeps & SecondFactorDeps): Implementation {
  return implement(operations.confirmSecondFactor, async ({ principal, body }) => {
    const session = asUser(principal);
    if (!session.ok) return session;
    const user = await findUser(deps.database, session.value.userId);
    if (user === undefined) return refuse('request_unauthenticated');
    const codes = await confirmTotp(deps, user, body.code);
    if (!codes.ok) return codes;
    const ended = await closeSessions(deps, user.id, session.value.sessionId);
    const auditRecord = { target: `user:${user.id}`, details: { endedSessions: ended } };
    return { ok: true, value: { recoveryCodes: [...codes.value] }, auditRecord };
  });
}
