import { refuse } from '@starling/protocol';
import { memberOperations as operations } from '../../contract/members.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { changeRole, findMember, type MemberDeps } from '../../members/index.ts';
import { roleOf, toMember } from './member.ts';

export function changeMember(deps: MemberDeps): Implementation {
  return implement(
    operations.changeMember,
    async ({ organisationId, params: { userId }, body: { role }, principal }) => {
      const by = roleOf(principal, organisationId);
      const changed = await changeRole(deps, { organisationId, userId, role, by });
      if (!changed.ok) return changed;
      const member = await findMember(deps, organisationId, userId);
      if (member === undefined) return refuse('resource_unknown');
      const details = { from: changed.value.from, to: role };
      return { ok: true, value: toMember(member), auditRecord: { target: `user:${userId}`, details } };
    },
  );
}
