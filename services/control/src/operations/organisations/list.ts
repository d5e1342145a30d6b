import { operations } from '../../contract/index.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { parseCursor, toPage } from '../../frame/page.ts';
import type { OperationDeps } from '../deps.ts';
import { idsOf, type OrganisationRow, roleOf, toOrganisation } from './organisation.ts';

export function listOrganisations({ database }: Pick<OperationDeps, 'database'>): Implementation {
  return implement(operations.listOrganisations, async ({ principal, query }) => {
    const position = parseCursor('organisations', ['string', 'string'], query.cursor);
    if (!position.ok) return position;
    const [name, id] = position.value ?? [];
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
  });
}
