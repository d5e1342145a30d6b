import { memberOperations as operations } from '../../contract/members.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { invite, type MemberDeps } from '../../members/index.ts';
import { roleOf } from '../members/member.ts';
import { toInvitation } from './invitation.ts';

export function createInvitation(deps: MemberDeps): Implementation {
  return implement(operations.createInvitation, async ({ organisationId, body: { email, role }, principal }) => {
    const by = { userId: principal.userId, role: roleOf(principal, organisationId) };
    const made = await invite(deps, { organisationId, email, role, by });
    if (!made.ok) return made;
    const auditRecord = { target: `invitation:${made.value.id}`, details: { email: made.value.email, role } };
    return { ok: true, value: { invitation: toInvitation(made.value), token: made.value.token }, auditRecord };
  });
}
