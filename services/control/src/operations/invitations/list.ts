import { memberOperations as operations } from '../../contract/members.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { type MemberDeps, readInvitations } from '../../members/index.ts';
import { toInvitation } from './invitation.ts';

export function listInvitations(deps: MemberDeps): Implementation {
  return implement(operations.listInvitations, async ({ organisationId }) => {
    const items = await readInvitations(deps, organisationId);
    return { ok: true, value: { items: items.map(toInvitation) } };
  });
}
