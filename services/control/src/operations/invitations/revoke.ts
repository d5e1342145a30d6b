import { refuse } from '@starling/protocol';
import { memberOperations as operations } from '../../contract/members.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { deleteInvitation, type MemberDeps } from '../../members/index.ts';

export function revokeInvitation(deps: MemberDeps): Implementation {
  return implement(operations.revokeInvitation, async ({ organisationId, params: { invitationId } }) => {
    const email = await deleteInvitation(deps, organisationId, invitationId);
    if (email === undefined) return refuse('resource_unknown');
    return { ok: true, value: null, auditRecord: { target: `invitation:${invitationId}`, details: { email } } };
  });
}
