import { operations } from '../../contract/index.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { parseCursor, toPage } from '../../frame/page.ts';
import type { OperationDeps } from '../deps.ts';
import { type EndpointRow, toEndpoint } from './endpoint.ts';

export function listWebhookEndpoints({ database }: Pick<OperationDeps, 'database'>): Implementation {
  return implement(operations.listWebhookEndpoints, async ({ params: { appId }, query }) => {
    const position = parseCursor('webhook-endpoints', ['time', 'string'], query.cursor);
    if (!position.ok) return position;
    const [at, id] = position.value ?? [];
    const { sql } = database;
    const rows = await sql<EndpointRow[]>`
      select id, url, events, is_enabled, version, created_at from webhook_endpoints where app_id = ${appId}
        ${
          at === undefined || id === undefined
            ? sql``
            : sql`and (date_trunc('milliseconds', created_at), id) > (${new Date(at)}, ${id})`
        }
      order by date_trunc('milliseconds', created_at), id limit ${query.limit + 1}`;
    const page = toPage(
      'webhook-endpoints',
      query.limit,
      rows,
      (row) => [row.created_at.getTime(), row.id],
      toEndpoint,
    );
    return { ok: true, value: page };
  });
}
