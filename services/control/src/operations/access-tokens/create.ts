import { refuse } from '@starling/protocol';
import { peopleOperations as operations } from '../../contract/people.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { issueAccessToken, type SessionDeps } from '../../sessions/index.ts';
import { asUser } from '../me/person.ts';
import { toAccessToken } from './access-token.ts';

export function createAccessToken(deps: SessionDeps): Implementation {
  return implement(operations.createAccessToken, async ({ principal, body }) => {
    // Otherwise a token that is stolen could make one that outlives it.
    const user = asUser(principal);
    if (!user.ok) return user;
    const { organisationId, expiresAt, label, role } = body;
    if (organisationId !== null && principal.roleIn(organisationId) === undefined) return refuse('resource_unknown');
    const wanted = { label, role, organisationId, expiresAt: expiresAt === null ? null : new Date(expiresAt) };
    const made = await issueAccessToken(deps, user.value.userId, wanted);
    if (!made.ok) return made;
    const auditRecord = {
      target: `access-token:${made.value.id}`,
      details: { label, role, organisationId, expiresAt },
    };
    return { ok: true, value: { accessToken: toAccessToken(made.value), token: made.value.token }, auditRecord };
  });
}
