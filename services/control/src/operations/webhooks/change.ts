import { operations } from '../../contract/index.ts';
import { fail, outdated } from '../../frame/answer.ts';
import { differences } from '../../frame/audit.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { targetFault } from '../target.ts';
import { type EndpointRow, lockEndpoint, toEndpoint, withoutQuery } from './endpoint.ts';

export function changeWebhookEndpoint({
  database,
  mayTargetPrivate,
}: Pick<OperationDeps, 'database' | 'mayTargetPrivate'>): Implementation {
  return implement(operations.changeWebhookEndpoint, async ({ params: { appId, endpointId }, body, ifVersion }) => {
    const found = await lockEndpoint(database, appId, endpointId);
    if (found === undefined) return fail('resource_unknown');
    const refused = outdated(found.version, ifVersion);
    if (refused !== undefined) return refused;
    const fault = body.url === undefined ? undefined : targetFault(body.url, mayTargetPrivate);
    if (fault !== undefined) return fail('fields_invalid', { fields: { url: fault } });
    const { url = found.url, events = found.events, isEnabled = found.is_enabled } = body;
    const details = differences(changeableOf(found), changeableOf({ url, events, is_enabled: isEnabled }));
    if (url === found.url && Object.keys(details).length === 0) {
      return { ok: true, value: toEndpoint(found), auditRecord: { target: null } };
    }
    const row = { ...found, url, events, is_enabled: isEnabled, version: found.version + 1 };
    await database.sql`
      update webhook_endpoints
      set url = ${url}, events = ${events}, is_enabled = ${isEnabled}, version = ${row.version}
      where id = ${endpointId}`;
    return {
      ok: true,
      value: toEndpoint(row),
      auditRecord: { target: `webhook-endpoint:${endpointId}`, details: { appId, ...details } },
    };
  });
}

function changeableOf({ url, events, is_enabled: isEnabled }: Pick<EndpointRow, 'url' | 'events' | 'is_enabled'>) {
  return { url: withoutQuery(url), events, isEnabled };
}
