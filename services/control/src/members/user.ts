/** Users as they are kept: found, made, read by themselves. */
import { type Database, isDuplicate } from '@starling/database';
import type { Clock } from '@starling/ports';
import { type Checked, refuse } from '@starling/protocol';
import type { Role } from '../contract/principal.ts';
import { createId } from '../id.ts';

export interface MemberDeps {
  readonly database: Database;
  readonly clock: Clock;
}

export interface UserRow {
  readonly id: string;
  readonly email: string;
  readonly name: string;
  readonly hasProvenEmail: boolean;
  readonly passwordHash: string | null;
  readonly totpSecretSealed: string | null;
  readonly totpOfferedSealed: string | null;
  readonly createdAt: Date;
}

export async function findUser({ sql }: Database, id: string): Promise<UserRow | undefined> {
  const [row] = await sql<UserRow[]>`select ${columns(sql)} from users where id = ${id}`;
  return row;
}

/** The user that has proven the address: one at most. */
export async function findOwnerOf({ sql }: Database, email: string): Promise<UserRow | undefined> {
  const [row] = await sql<UserRow[]>`select ${columns(sql)} from users where email = ${email} and has_proven_email`;
  return row;
}

/** Each is a password hash to be compared with at a sign-in. */
const accountsMax = 4;

/**
 * The accounts with this address, proven or not: the one of `firstId`, then the one that has proven it, then the oldest.
 * No more than a few. A stranger can fill these with accounts for the same address: `organisationId` still finds each member.
 */
export async function findUsersAt(
  { sql }: Database,
  email: string,
  {
    organisationId,
    firstId,
  }: { readonly organisationId?: string | undefined; readonly firstId?: string | undefined } = {},
): Promise<readonly UserRow[]> {
  const isMember = sql`id in (select user_id from memberships where organisation_id = ${organisationId ?? ''})`;
  return sql<UserRow[]>`
    select ${columns(sql)} from users
    where email = ${email} ${organisationId === undefined ? sql`` : sql`and ${isMember}`}
    order by id = ${firstId ?? ''} desc, has_proven_email desc, created_at, id limit ${accountsMax}`;
}

function columns(sql: Database['sql']) {
  return sql`id, email, name, has_proven_email as "hasProvenEmail", password_hash as "passwordHash",
    totp_secret_sealed as "totpSecretSealed", totp_offered_sealed as "totpOfferedSealed", created_at as "createdAt"`;
}

interface NewUser {
  readonly email: string;
  readonly name: string;
  readonly passwordHash: string | null;
  readonly hasProvenEmail: boolean;
}

/** In a transaction of the caller's. One user has proven an address; others may have it, too. */
export async function createUser(
  deps: MemberDeps,
  { email, name, passwordHash, hasProvenEmail }: NewUser,
): Promise<Checked<string>> {
  const id = createId('usr');
  try {
    await deps.database.tx(
      (sql) => sql`
        insert into users (id, email, name, password_hash, has_proven_email, created_at)
        values (${id}, ${email}, ${name}, ${passwordHash}, ${hasProvenEmail}, ${new Date(deps.clock.now())})`,
    );
    return { ok: true, value: id };
  } catch (err) {
    if (isDuplicate(err)) return refuse('email_taken');
    throw err;
  }
}

export async function changeName({ sql }: Database, userId: string, name: string): Promise<void> {
  await sql`update users set name = ${name} where id = ${userId}`;
}

/** False when there is another hash by now. */
export async function changePasswordHash(
  { sql }: Database,
  userId: string,
  { from, to }: { readonly from: string | null; readonly to: string },
): Promise<boolean> {
  const { count } = await sql`
    update users set password_hash = ${to} where id = ${userId} and password_hash is not distinct from ${from}`;
  return count > 0;
}

export async function hasUsers({ sql }: Database): Promise<boolean> {
  const rows = await sql`select 1 from users limit 1`;
  return rows.length > 0;
}

interface Membership {
  readonly organisationId: string;
  readonly organisationName: string;
  readonly role: Role;
}

export async function membershipsOf({ sql }: Database, userId: string): Promise<readonly Membership[]> {
  return sql<Membership[]>`
    select m.organisation_id as "organisationId", o.name as "organisationName", m.role
    from memberships m join organisations o on o.id = m.organisation_id
    where m.user_id = ${userId} order by o.name, o.id`;
}

export async function join(
  deps: MemberDeps,
  { organisationId, userId, role }: { organisationId: string; userId: string; role: Role },
): Promise<boolean> {
  const { count } = await deps.database.sql`
    insert into memberships (organisation_id, user_id, role, created_at)
    values (${organisationId}, ${userId}, ${role}, ${new Date(deps.clock.now())}) on conflict do nothing`;
  return count > 0;
}
