import { type AppRow, readInstallationLimits } from '@starling/database';
import { operations } from '../../contract/index.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { parseCursor, toPage } from '../../frame/page.ts';
import type { OperationDeps } from '../deps.ts';
import { toApp } from './app.ts';

export function listApps({ database }: Pick<OperationDeps, 'database'>): Implementation {
  return implement(operations.listApps, async ({ organisationId, query }) => {
    const position = parseCursor('apps', ['string', 'string'], query.cursor);
    if (!position.ok) return position;
    const [name, id] = position.value ?? [];
    const { sql } = database;
    const rows = await sql<AppRow[]>`
      select * from apps where organisation_id = ${organisationId}
        ${name === undefined || id === undefined ? sql`` : sql`and (name, id) > (${name}, ${id})`}
      order by name, id limit ${query.limit + 1}`;
    const { limits: maxima } = await readInstallationLimits(sql);
    const positionOf = (row: AppRow) => [row.name, row.id];
    return { ok: true, value: toPage('apps', query.limit, rows, positionOf, (row) => toApp(row, maxima)) };
  });
}
