import type { z } from 'zod';
import type { invitation as contract } from '../../contract/members.ts';
import type { InvitationItem } from '../../members/index.ts';

export function toInvitation(item: InvitationItem): z.input<typeof contract> {
  const { id, email, role, createdAt, expiresAt } = item;
  return { id, email, role, createdAt: createdAt.toISOString(), expiresAt: expiresAt.toISOString() };
}
