import type { AppKeyRow } from '@starling/database';
import { operations } from '../../contract/index.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { parseCursor, toPage } from '../../frame/page.ts';
import type { OperationDeps } from '../deps.ts';
import { toKey } from './key.ts';

export function listKeys({ database }: Pick<OperationDeps, 'database'>): Implementation {
  return implement(operations.listKeys, async ({ params: { appId }, query }) => {
    const position = parseCursor('keys', ['number'], query.cursor);
    if (!position.ok) return position;
    const [after] = position.value ?? [];
    const { sql } = database;
    const rows = await sql<(AppKeyRow & { position: number })[]>`
      select * from app_keys where app_id = ${appId}
        ${after === undefined ? sql`` : sql`and position > ${after}`}
      order by position limit ${query.limit + 1}`;
    return { ok: true, value: toPage('keys', query.limit, rows, (row) => [row.position], toKey) };
  });
}
