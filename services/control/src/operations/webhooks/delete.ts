import { operations } from '../../contract/index.ts';
import { fail, outdated } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { lockEndpoint, withoutQuery } from './endpoint.ts';

export function deleteWebhookEndpoint({ database }: Pick<OperationDeps, 'database'>): Implementation {
  return implement(operations.deleteWebhookEndpoint, async ({ params: { appId, endpointId }, ifVersion }) => {
    const found = await lockEndpoint(database, appId, endpointId);
    if (found === undefined) return fail('resource_unknown');
    const refused = outdated(found.version, ifVersion);
    if (refused !== undefined) return refused;
    await database.sql`delete from webhook_endpoints where id = ${endpointId}`;
    return {
      ok: true,
      value: null,
      auditRecord: { target: `webhook-endpoint:${endpointId}`, details: { appId, url: withoutQuery(found.url) } },
    };
  });
}
