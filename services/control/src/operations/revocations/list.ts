import { maxTokenLifetimeMs } from '@starling/ports';
import { operations } from '../../contract/index.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { parseCursor, toPage } from '../../frame/page.ts';
import type { OperationDeps } from '../deps.ts';

interface RevocationRow {
  readonly by: 'user' | 'token';
  readonly id: string;
  readonly at: Date;
}

export function listRevocations({ database, clock }: Pick<OperationDeps, 'database' | 'clock'>): Implementation {
  return implement(operations.listRevocations, async ({ params: { appId }, query }) => {
    const position = parseCursor('revocations', ['time', 'string', 'string'], query.cursor);
    if (!position.ok) return position;
    const { sql } = database;
    const [at, by, id] = position.value ?? [];
    const rows = await sql<RevocationRow[]>`
      select by, id, at from app_revocations
      where app_id = ${appId} and at > ${new Date(clock.now() - maxTokenLifetimeMs)}
        ${
          at === undefined || by === undefined || id === undefined
            ? sql``
            : sql`and (date_trunc('milliseconds', at), by, id) < (${new Date(at)}, ${by}, ${id})`
        }
      order by date_trunc('milliseconds', at) desc, by desc, id desc limit ${query.limit + 1}`;
    const page = toPage(
      'revocations',
      query.limit,
      rows,
      (row) => [row.at.getTime(), row.by, row.id],
      (row) => ({ by: row.by, id: row.id, at: row.at.toISOString() }),
    );
    return { ok: true, value: page };
  });
}
