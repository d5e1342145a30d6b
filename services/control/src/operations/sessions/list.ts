import { peopleOperations as operations } from '../../contract/people.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { readSessions, type SessionDeps } from '../../sessions/index.ts';
import { asUser } from '../me/person.ts';

export function listSessions(deps: SessionDeps): Implementation {
  return implement(operations.listSessions, async ({ principal }) => {
    const user = asUser(principal);
    if (!user.ok) return user;
    const items = await readSessions(deps, principal.userId);
    return {
      ok: true,
      value: {
        items: items.map(({ createdAt, seenAt, ...rest }) => ({
          ...rest,
          isThis: rest.id === principal.sessionId,
          createdAt: createdAt.toISOString(),
          seenAt: seenAt.toISOString(),
        })),
      },
    };
  });
}
