import { refuse } from '@starling/protocol';
import { peopleOperations as operations } from '../../contract/people.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { deleteAccessToken, type SessionDeps } from '../../sessions/index.ts';
import { asUser } from '../me/person.ts';

export function revokeAccessToken(deps: SessionDeps): Implementation {
  return implement(operations.revokeAccessToken, async ({ principal, params }) => {
    const user = asUser(principal);
    if (!user.ok) return user;
    if (!(await deleteAccessToken(deps, user.value.userId, params.tokenId))) return refuse('resource_unknown');
    return { ok: true, value: null, auditRecord: { target: `access-token:${params.tokenId}` } };
  });
}
