import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { createId } from '../../id.ts';
import type { OperationDeps } from '../deps.ts';
import { targetFault } from '../target.ts';
import { type EndpointRow, toEndpoint, withoutQuery } from './endpoint.ts';

/** Of one app: each is asked for every event. */
const endpointsMax = 50;

export function createWebhookEndpoint({
  database,
  clock,
  mayTargetPrivate,
}: Pick<OperationDeps, 'database' | 'clock' | 'mayTargetPrivate'>): Implementation {
  return implement(operations.createWebhookEndpoint, async ({ params: { appId }, body }) => {
    const fault = targetFault(body.url, mayTargetPrivate);
    if (fault !== undefined) return fail('fields_invalid', { fields: { url: fault } });
    const { sql } = database;
    // Held against another of the same app, so that both cannot be the last.
    const [app] = await sql<{ endpoints: number }[]>`select 0 as endpoints from apps where id = ${appId} for update`;
    if (app === undefined) return fail('resource_unknown');
    const [count] = await sql<{ endpoints: number }[]>`
      select count(*)::int as endpoints from webhook_endpoints where app_id = ${appId}`;
    if ((count?.endpoints ?? 0) >= endpointsMax) {
      return fail('state_conflict', { message: `The app has ${endpointsMax} webhook endpoints already` });
    }
    const row: EndpointRow = {
      id: createId('wh'),
      url: body.url,
      events: body.events,
      is_enabled: body.isEnabled,
      version: 1,
      created_at: new Date(clock.now()),
    };
    await sql`insert into webhook_endpoints ${sql({ ...row, app_id: appId })}`;
    return {
      ok: true,
      value: toEndpoint(row),
      auditRecord: { target: `webhook-endpoint:${row.id}`, details: { appId, url: withoutQuery(row.url) } },
    };
  });
}
