import { peopleOperations as operations } from '../../contract/people.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { readAccessTokens, type SessionDeps } from '../../sessions/index.ts';
import { asUser } from '../me/person.ts';
import { toAccessToken } from './access-token.ts';

export function listAccessTokens(deps: SessionDeps): Implementation {
  return implement(operations.listAccessTokens, async ({ principal }) => {
    const user = asUser(principal);
    if (!user.ok) return user;
    const items = await readAccessTokens(deps, principal.userId);
    return { ok: true, value: { items: items.map(toAccessToken) } };
  });
}
