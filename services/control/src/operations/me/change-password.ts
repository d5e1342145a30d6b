import { refuse } from '@starling/protocol';
import { peopleOperations as operations } from '../../contract/people.ts';
import { type Implementation, implementPrepared } from '../../frame/implement.ts';
import { changePasswordHash } from '../../members/index.ts';
import { closeSessions, type SessionDeps } from '../../sessions/index.ts';
import { checkPassword, checkPasswordAgain, laneOf, type SignInDeps } from '../../sign-in/index.ts';
import { asUser } from './person.ts';

export function changePassword(deps: SignInDeps & SessionDeps): Implementation {
  return implementPrepared(
    operations.changePassword,
    async ({ principal, body }) => {
      const session = asUser(principal);
      if (!session.ok) return session;
      const user = await checkPasswordAgain(deps, session.value, body.current);
      if (!user.ok) return user;
      const password = checkPassword(body.password, user.value.email);
      if (!password.ok) return password;
      const hash = await deps.passwords.hash(password.value, laneOf(user.value));
      return { ok: true, value: { ...session.value, from: user.value.passwordHash, hash } } as const;
    },
    async (_call, { userId, sessionId, from, hash }) => {
      // Changed meanwhile, it is no longer the one that was asked for.
      if (!(await changePasswordHash(deps.database, userId, { from, to: hash }))) return refuse('password_wrong');
      const ended = await closeSessions(deps, userId, sessionId);
      return { ok: true, value: null, auditRecord: { target: `user:${userId}`, details: { endedSessions: ended } } };
    },
  );
}
