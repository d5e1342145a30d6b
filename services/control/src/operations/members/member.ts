import type { z } from 'zod';
import type { member as contract } from '../../contract/members.ts';
import type { Principal, Role } from '../../contract/principal.ts';
import type { MemberItem } from '../../members/index.ts';

/** The frame has admitted only members. */
export function roleOf(principal: Principal, organisationId: string): Role {
  const role = principal.roleIn(organisationId);
  if (role === undefined) throw new Error('Somebody without a role was let in');
  return role;
}

export function toMember({ createdAt, ...rest }: MemberItem): z.input<typeof contract> {
  return { ...rest, createdAt: createdAt.toISOString() };
}
