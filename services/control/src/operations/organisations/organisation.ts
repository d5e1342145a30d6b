import type { Database } from '@starling/database';
import type { z } from 'zod';
import type { organisation as contract } from '../../contract/index.ts';
import type { Principal, Role } from '../../contract/principal.ts';

export interface OrganisationRow {
  readonly id: string;
  readonly name: string;
  readonly version: number;
  readonly created_at: Date;
}

export async function findOrganisation(
  { sql }: Database,
  id: string,
  lock: 'for update' | 'none' = 'none',
): Promise<OrganisationRow | undefined> {
  const [row] = await sql<OrganisationRow[]>`
    select id, name, version, created_at from organisations where id = ${id} ${lock === 'none' ? sql`` : sql`for update`}`;
  return row;
}

/** Those that a principal may see: a token may be for one of its user's only. */
export async function idsOf({ sql }: Database, principal: Principal): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    select organisation_id as id from memberships where user_id = ${principal.userId}`;
  return rows.map(({ id }) => id).filter((id) => principal.roleIn(id) !== undefined);
}

export function roleOf(principal: Principal, organisationId: string): Role {
  // Lost between being admitted and being answered: the least of all.
  return principal.roleIn(organisationId) ?? 'viewer';
}

export function toOrganisation(row: OrganisationRow, role: Role): z.input<typeof contract> {
  const { id, name, version } = row;
  return { id, name, version, createdAt: row.created_at.toISOString(), role };
}
