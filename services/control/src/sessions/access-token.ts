/** Personal access tokens: what programs of a user sign in with, for less than the user may do. */
import { type Checked, refuse } from '@starling/protocol';
import { createBearerSecret, digestOf } from '../bearer-secret.ts';
import type { Role } from '../contract/principal.ts';
import { createId } from '../id.ts';
import type { SessionDeps } from './session.ts';

type Deps = Pick<SessionDeps, 'database' | 'clock'>;

const prefix = 'sta_';
const tokensMax = 100;
/** `last_used_at` is no more exact than this, so that reading does not mean writing. */
const usedEveryMs = 60_000;

export interface AccessTokenItem {
  readonly id: string;
  readonly label: string;
  readonly role: Role;
  readonly organisationId: string | null;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  readonly lastUsedAt: Date | null;
}

interface NewAccessToken {
  readonly label: string;
  readonly role: Role;
  /** Null: all of the user's. */
  readonly organisationId: string | null;
  readonly expiresAt: Date | null;
}

/** Gives the token itself, for the only time. */
export async function issueAccessToken(
  deps: Deps,
  userId: string,
  { label, role, organisationId, expiresAt }: NewAccessToken,
): Promise<Checked<AccessTokenItem & { readonly token: string }>> {
  const at = new Date(deps.clock.now());
  if (expiresAt !== null && expiresAt <= at) return refuse('fields_invalid', '"expiresAt" is in the past');
  const { text, digest } = createBearerSecret(prefix);
  const id = createId('tok');
  return deps.database.tx(async (sql) => {
    // One after the other for one user, so that the count holds.
    await sql`select 1 from users where id = ${userId} for update`;
    const [has] = await sql<{ count: number }[]>`
      select count(*)::int as count from access_tokens where user_id = ${userId}`;
    if ((has?.count ?? 0) >= tokensMax) {
      return refuse('state_conflict', `You have ${tokensMax} access tokens: revoke one that is not used`);
    }
    await sql`
      insert into access_tokens (id, user_id, label, token_hash, role, organisation_id, created_at, expires_at)
      values (${id}, ${userId}, ${label}, ${digest}, ${role}, ${organisationId}, ${at}, ${expiresAt})`;
    return {
      ok: true,
      value: { id, label, role, organisationId, createdAt: at, expiresAt, lastUsedAt: null, token: text },
    };
  });
}

export async function readAccessTokens({ database }: Deps, userId: string): Promise<readonly AccessTokenItem[]> {
  return database.sql<AccessTokenItem[]>`
    select id, label, role, organisation_id as "organisationId", created_at as "createdAt",
      expires_at as "expiresAt", last_used_at as "lastUsedAt"
    from access_tokens where user_id = ${userId} order by created_at desc, id`;
}

/** Whether there was one of this user. */
export async function deleteAccessToken({ database }: Deps, userId: string, id: string): Promise<boolean> {
  const { count } = await database.sql`delete from access_tokens where id = ${id} and user_id = ${userId}`;
  return count > 0;
}

export interface UsedToken {
  readonly id: string;
  readonly userId: string;
  readonly role: Role;
  readonly organisationId: string | null;
}

/** Whose it is and what it is for; undefined when it is none, or no more. */
export async function useAccessToken(deps: Deps, text: string): Promise<UsedToken | undefined> {
  if (!text.startsWith(prefix) || text.length > 100) return undefined;
  const at = new Date(deps.clock.now());
  const [row] = await deps.database.sql<(UsedToken & { readonly lastUsedAt: Date | null })[]>`
    select id, user_id as "userId", role, organisation_id as "organisationId", last_used_at as "lastUsedAt"
    from access_tokens where token_hash = ${digestOf(text)} and (expires_at is null or expires_at > ${at})`;
  if (row === undefined) return undefined;
  if (row.lastUsedAt === null || at.getTime() - row.lastUsedAt.getTime() >= usedEveryMs) {
    await deps.database.sql`update access_tokens set last_used_at = ${at} where id = ${row.id}`;
  }
  return row;
}
