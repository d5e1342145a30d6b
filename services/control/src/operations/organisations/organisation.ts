import { type Database, isDangling } from '@starling/database';
import type { Clock } from '@starling/ports';
import type { z } from 'zod';
import { type organisation as contract, operations } from '../../contract/index.ts';
import type { Principal, Role } from '../../contract/principal.ts';
import { fail, outdated } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { parseCursor, toPage } from '../../frame/page.ts';
import { createId } from '../../id.ts';

interface OrganisationRow {
  readonly id: string;
  readonly name: string;
  readonly version: number;
  readonly created_at: Date;
}

/** Of one person; beyond it somebody fills the database. */
const ownedMax = 100;

export function organisationRoutes(deps: { readonly database: Database; readonly clock: Clock }): Implementation[] {
  const { database, clock } = deps;
  return [
    implement(operations.listOrganisations, async ({ principal, query }) => {
      const place = parseCursor('organisations', ['string', 'string'], query.cursor);
      if (!place.ok) return place;
      const [name, id] = place.value ?? [];
      const { sql } = database;
      const rows = await sql<OrganisationRow[]>`
        select id, name, version, created_at from organisations
        where id = any(${await idsOf(database, principal)})
          ${name === undefined || id === undefined ? sql`` : sql`and (name, id) > (${name}, ${id})`}
        order by name, id limit ${query.limit + 1}`;
      const page = toPage(
        'organisations',
        query.limit,
        rows,
        (row) => [row.name, row.id],
        (row) => toOrganisation(row, roleOf(principal, row.id)),
      );
      return { ok: true, value: page };
    }),

    implement(operations.getOrganisation, async ({ principal, organisationId }) => {
      const row = await find(database, organisationId);
      if (row === undefined) return fail('resource_unknown');
      return { ok: true, value: toOrganisation(row, roleOf(principal, organisationId)) };
    }),

    implement(operations.createOrganisation, async ({ principal, body }) => {
      const owned = (await idsOf(database, principal)).filter((id) => principal.roleIn(id) === 'owner');
      if (principal.kind !== 'user' || owned.length === 0) {
        return fail('role_too_low', {
          message: 'Organisations are made by people who own one, when they are signed in themselves',
          hint: 'Ask the owner of an organisation of this installation to make it and to invite you.',
        });
      }
      if (owned.length >= ownedMax) return fail('state_conflict', { message: `You own ${ownedMax} already` });
      const row = { id: createId('org'), name: body.name, version: 1, created_at: new Date(clock.now()) };
      const { sql } = database;
      await sql`insert into organisations ${sql(row)}`;
      await sql`
        insert into memberships (organisation_id, user_id, role, created_at)
        values (${row.id}, ${principal.userId}, 'owner', ${row.created_at})`;
      return {
        ok: true,
        value: toOrganisation(row, 'owner'),
        deed: { organisationId: row.id, target: `organisation:${row.id}`, details: { name: row.name } },
      };
    }),

    implement(operations.changeOrganisation, async ({ principal, organisationId, body, ifVersion }) => {
      const found = await find(database, organisationId, 'for update');
      if (found === undefined) return fail('resource_unknown');
      const refused = outdated(found.version, ifVersion);
      if (refused !== undefined) return refused;
      const role = roleOf(principal, organisationId);
      if (found.name === body.name) return { ok: true, value: toOrganisation(found, role), deed: { target: null } };
      const row = { ...found, name: body.name, version: found.version + 1 };
      await database.sql`
        update organisations set name = ${row.name}, version = ${row.version} where id = ${organisationId}`;
      return {
        ok: true,
        value: toOrganisation(row, role),
        deed: { target: `organisation:${organisationId}`, details: { name: { from: found.name, to: row.name } } },
      };
    }),

    implement(operations.deleteOrganisation, async ({ organisationId, ifVersion }) => {
      const found = await find(database, organisationId, 'for update');
      if (found === undefined) return fail('resource_unknown');
      const refused = outdated(found.version, ifVersion);
      if (refused !== undefined) return refused;
      try {
        await database.tx((sql) => sql`delete from organisations where id = ${organisationId}`);
      } catch (err) {
        if (!isDangling(err)) throw err;
        return fail('state_conflict', { message: 'It still has apps', hint: 'Delete its apps first.' });
      }
      return {
        ok: true,
        value: null,
        deed: { target: `organisation:${organisationId}`, details: { name: found.name } },
      };
    }),
  ];
}

async function find(
  { sql }: Database,
  id: string,
  lock: 'for update' | 'none' = 'none',
): Promise<OrganisationRow | undefined> {
  const [row] = await sql<OrganisationRow[]>`
    select id, name, version, created_at from organisations where id = ${id} ${lock === 'none' ? sql`` : sql`for update`}`;
  return row;
}

/** Those that a principal may see: a token may be for one of its user's only. */
async function idsOf({ sql }: Database, principal: Principal): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    select organisation_id as id from memberships where user_id = ${principal.userId}`;
  return rows.map(({ id }) => id).filter((id) => principal.roleIn(id) !== undefined);
}

function roleOf(principal: Principal, organisationId: string): Role {
  // Lost between being admitted and being answered: the least of all.
  return principal.roleIn(organisationId) ?? 'viewer';
}

function toOrganisation(row: OrganisationRow, role: Role): z.input<typeof contract> {
  const { id, name, version } = row;
  return { id, name, version, createdAt: row.created_at.toISOString(), role };
}
