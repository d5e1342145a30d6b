import type { z } from 'zod';
import type { accessToken as tokenSchema } from '../../contract/people.ts';
import type { AccessTokenItem } from '../../sessions/index.ts';

export function toAccessToken(item: AccessTokenItem): z.input<typeof tokenSchema> {
  const { id, label, role, organisationId, createdAt, expiresAt, lastUsedAt } = item;
  return {
    id,
    label,
    role,
    organisationId,
    createdAt: createdAt.toISOString(),
    expiresAt: expiresAt?.toISOString() ?? null,
    lastUsedAt: lastUsedAt?.toISOString() ?? null,
  };
}
