/** The roles of users in an organisation, which always has an owner. */
import { type Checked, refuse } from '@starling/protocol';
import { type Role, reaches } from '../contract/principal.ts';
import type { MemberDeps } from './user.ts';

type Deps = Pick<MemberDeps, 'database'>;

export interface MemberItem {
  readonly userId: string;
  readonly name: string;
  readonly email: string;
  /** Otherwise it is only what the organisation said when it invited them. */
  readonly hasProvenEmail: boolean;
  readonly role: Role;
  readonly hasSecondFactor: boolean;
  readonly createdAt: Date;
}

/** In the order in which they came; `after` the one of this time and id. */
export async function readMembers(
  { database }: Deps,
  organisationId: string,
  { limit, after }: { readonly limit: number; readonly after?: readonly [createdAt: Date, userId: string] | undefined },
): Promise<readonly MemberItem[]> {
  const { sql } = database;
  return sql<MemberItem[]>`
    select u.id as "userId", u.name, u.email, u.has_proven_email as "hasProvenEmail", m.role, u.totp_secret_sealed is not null as "hasSecondFactor",
      m.created_at as "createdAt"
    from memberships m join users u on u.id = m.user_id
    where m.organisation_id = ${organisationId}
      ${after === undefined ? sql`` : sql`and (m.created_at, u.id) > (${after[0]}, ${after[1]})`}
    order by m.created_at, u.id limit ${limit}`;
}

export async function findMember(
  { database }: Deps,
  organisationId: string,
  userId: string,
): Promise<MemberItem | undefined> {
  const [row] = await database.sql<MemberItem[]>`
    select u.id as "userId", u.name, u.email, u.has_proven_email as "hasProvenEmail", m.role, u.totp_secret_sealed is not null as "hasSecondFactor",
      m.created_at as "createdAt"
    from memberships m join users u on u.id = m.user_id
    where m.organisation_id = ${organisationId} and m.user_id = ${userId}`;
  return row;
}

/** A member gives and takes no role above their own. */
export async function changeRole(
  { database }: Deps,
  { organisationId, userId, role, by }: { organisationId: string; userId: string; role: Role; by: Role },
): Promise<Checked<{ readonly from: Role }>> {
  return database.tx(async (sql) => {
    const from = await lockedRole({ database }, organisationId, userId);
    if (from === undefined) return refuse('resource_unknown');
    const allowed = mayChange({ by, from, to: role });
    if (!allowed.ok) return allowed;
    if (from === 'owner' && role !== 'owner' && (await isLastOwner({ database }, organisationId)))
      return refuse('last_owner');
    await sql`
      update memberships set role = ${role} where organisation_id = ${organisationId} and user_id = ${userId}`;
    return { ok: true, value: { from } };
  });
}

/** A member removes themselves, and others of no higher role. */
export async function deleteMember(
  { database }: Deps,
  { organisationId, userId, by }: { organisationId: string; userId: string; by: Role | 'oneself' },
): Promise<Checked<{ readonly from: Role }>> {
  return database.tx(async (sql) => {
    const from = await lockedRole({ database }, organisationId, userId);
    if (from === undefined) return refuse('resource_unknown');
    if (by !== 'oneself') {
      const allowed = mayChange({ by, from, to: from });
      if (!allowed.ok) return allowed;
    }
    if (from === 'owner' && (await isLastOwner({ database }, organisationId))) return refuse('last_owner');
    await sql`delete from memberships where organisation_id = ${organisationId} and user_id = ${userId}`;
    return { ok: true, value: { from } };
  });
}

function mayChange({ by, from, to }: { by: Role; from: Role; to: Role }): Checked<true> {
  if (reaches(by, from) && reaches(by, to)) return { ok: true, value: true };
  return refuse('role_too_low', `Nobody gives or takes a role above their own, and yours is ${by}`);
}

/** Changes of the owners of one organisation run one after the other. */
async function lockedRole({ database }: Deps, organisationId: string, userId: string): Promise<Role | undefined> {
  await database.sql`select 1 from organisations where id = ${organisationId} for update`;
  const [row] = await database.sql<{ role: Role }[]>`
    select role from memberships where organisation_id = ${organisationId} and user_id = ${userId}`;
  return row?.role;
}

async function isLastOwner({ database }: Deps, organisationId: string): Promise<boolean> {
  const [row] = await database.sql<{ owners: number }[]>`
    select count(*)::int as owners from memberships where organisation_id = ${organisationId} and role = 'owner'`;
  return (row?.owners ?? 0) < 2;
}
