/** Users as they are kept: found, made, read by themselves. */
import type { Database } from '@starling/database';
import { isDuplicate } from '@starling/database';
import { type Checked, refuse } from '@starling/protocol';
import { now, type PeopleDeps } from './deps.ts';
import { createId } from './id.ts';
import type { Role } from './principal.ts';

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

export async function findUser(database: Database, by: { readonly id: string } | { readonly email: string }) {
  const { sql } = database;
  const [row] = await sql<UserRow[]>`
    select id, email, name, has_proven_email as "hasProvenEmail", password_hash as "passwordHash",
      totp_secret_sealed as "totpSecretSealed", totp_offered_sealed as "totpOfferedSealed", created_at as "createdAt"
    from users where ${'id' in by ? sql`id = ${by.id}` : sql`email = ${by.email}`}`;
  return row;
}

export interface NewUser {
  readonly email: string;
  readonly name: string;
  readonly passwordHash: string | null;
  readonly hasProvenEmail: boolean;
}

/** In a transaction of the caller's. */
export async function createUser(
  deps: Pick<PeopleDeps, 'database' | 'clock'>,
  { email, name, passwordHash, hasProvenEmail }: NewUser,
): Promise<Checked<string>> {
  const id = createId('usr');
  try {
    await deps.database.tx(
      (sql) => sql`
        insert into users (id, email, name, password_hash, has_proven_email, created_at)
        values (${id}, ${email}, ${name}, ${passwordHash}, ${hasProvenEmail}, ${now(deps)})`,
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

export interface Membership {
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
  deps: Pick<PeopleDeps, 'database' | 'clock'>,
  { organisationId, userId, role }: { organisationId: string; userId: string; role: Role },
): Promise<boolean> {
  const { count } = await deps.database.sql`
    insert into memberships (organisation_id, user_id, role, created_at)
    values (${organisationId}, ${userId}, ${role}, ${now(deps)}) on conflict do nothing`;
  return count > 0;
}
