import { refuse } from '@starling/protocol';
import { memberOperations as operations } from '../../contract/members.ts';
import { reaches } from '../../contract/principal.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { deleteMember, type MemberDeps } from '../../members/index.ts';
import { roleOf } from './member.ts';

export function removeMember(deps: MemberDeps): Implementation {
  return implement(operations.removeMember, async ({ organisationId, params: { userId }, principal }) => {
    const role = roleOf(principal, organisationId);
    const isOneself = principal.kind === 'user' && userId === principal.userId;
    if (!isOneself && !reaches(role, 'admin')) {
      return refuse('role_too_low', `Only admins and owners remove others, and your role is ${role}`);
    }
    const removed = await deleteMember(deps, { organisationId, userId, by: isOneself ? 'oneself' : role });
    if (!removed.ok) return removed;
    return { ok: true, value: null, auditRecord: { target: `user:${userId}`, details: { from: removed.value.from } } };
  });
}
