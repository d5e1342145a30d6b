import type { Database } from '@starling/database';
import type { Clock } from '@starling/ports';
import type { z } from 'zod';
import { type webhookEndpoint as contract, operations, type webhookEvents } from '../../contract/index.ts';
import { fail, outdated } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { parseCursor, toPage } from '../../frame/page.ts';
import { createId } from '../../id.ts';
import { differences } from '../apps/app.ts';
import { targetFault } from '../target.ts';

interface EndpointRow {
  readonly id: string;
  readonly url: string;
  readonly events: (typeof webhookEvents)[number][];
  readonly is_enabled: boolean;
  readonly version: number;
  readonly created_at: Date;
}

/** Of one app: each is asked for every event. */
const endpointsMax = 50;

interface Deps {
  readonly database: Database;
  readonly clock: Clock;
  /** Whether URLs may lead into the operator's own network. */
  readonly mayTargetPrivate: boolean;
}

export function webhookRoutes({ database, clock, mayTargetPrivate }: Deps): Implementation[] {
  const find = async (appId: string, id: string): Promise<EndpointRow | undefined> => {
    const [row] = await database.sql<EndpointRow[]>`
      select id, url, events, is_enabled, version, created_at from webhook_endpoints
      where app_id = ${appId} and id = ${id} for update`;
    return row;
  };

  return [
    implement(operations.listWebhookEndpoints, async ({ params: { appId }, query }) => {
      const place = parseCursor('webhook-endpoints', ['time', 'string'], query.cursor);
      if (!place.ok) return place;
      const [at, id] = place.value ?? [];
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
    }),

    implement(operations.createWebhookEndpoint, async ({ params: { appId }, body }) => {
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
        deed: { target: `webhook-endpoint:${row.id}`, details: { appId, url: withoutQuery(row.url) } },
      };
    }),

    implement(operations.changeWebhookEndpoint, async ({ params: { appId, endpointId }, body, ifVersion }) => {
      const found = await find(appId, endpointId);
      if (found === undefined) return fail('resource_unknown');
      const refused = outdated(found.version, ifVersion);
      if (refused !== undefined) return refused;
      const fault = body.url === undefined ? undefined : targetFault(body.url, mayTargetPrivate);
      if (fault !== undefined) return fail('fields_invalid', { fields: { url: fault } });
      const { url = found.url, events = found.events, isEnabled = found.is_enabled } = body;
      const details = differences(changeableOf(found), changeableOf({ url, events, is_enabled: isEnabled }));
      if (url === found.url && Object.keys(details).length === 0) {
        return { ok: true, value: toEndpoint(found), deed: { target: null } };
      }
      const row = { ...found, url, events, is_enabled: isEnabled, version: found.version + 1 };
      await database.sql`
        update webhook_endpoints
        set url = ${url}, events = ${events}, is_enabled = ${isEnabled}, version = ${row.version}
        where id = ${endpointId}`;
      return {
        ok: true,
        value: toEndpoint(row),
        deed: { target: `webhook-endpoint:${endpointId}`, details: { appId, ...details } },
      };
    }),

    implement(operations.deleteWebhookEndpoint, async ({ params: { appId, endpointId }, ifVersion }) => {
      const found = await find(appId, endpointId);
      if (found === undefined) return fail('resource_unknown');
      const refused = outdated(found.version, ifVersion);
      if (refused !== undefined) return refused;
      await database.sql`delete from webhook_endpoints where id = ${endpointId}`;
      return {
        ok: true,
        value: null,
        deed: { target: `webhook-endpoint:${endpointId}`, details: { appId, url: withoutQuery(found.url) } },
      };
    }),
  ];
}

function changeableOf({ url, events, is_enabled: isEnabled }: Pick<EndpointRow, 'url' | 'events' | 'is_enabled'>) {
  return { url: withoutQuery(url), events, isEnabled };
}

/** People put secrets there, and the audit log is read by more than the endpoint. */
function withoutQuery(url: string): string {
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}

function toEndpoint(row: EndpointRow): z.input<typeof contract> {
  const { id, url, events, version } = row;
  return { id, url, events, isEnabled: row.is_enabled, version, createdAt: row.created_at.toISOString() };
}
