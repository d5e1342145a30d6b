import type { Database } from '@starling/database';
import type { z } from 'zod';
import type { webhookEndpoint as contract, webhookEvents } from '../../contract/index.ts';

export interface EndpointRow {
  readonly id: string;
  readonly url: string;
  readonly events: (typeof webhookEvents)[number][];
  readonly is_enabled: boolean;
  readonly version: number;
  readonly created_at: Date;
}

export async function lockEndpoint({ sql }: Database, appId: string, id: string): Promise<EndpointRow | undefined> {
  const [row] = await sql<EndpointRow[]>`
    select id, url, events, is_enabled, version, created_at from webhook_endpoints
    where app_id = ${appId} and id = ${id} for update`;
  return row;
}

/** People put secrets there, and the audit log is read by more than the endpoint. */
export function withoutQuery(url: string): string {
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}

export function toEndpoint(row: EndpointRow): z.input<typeof contract> {
  const { id, url, events, version } = row;
  return { id, url, events, isEnabled: row.is_enabled, version, createdAt: row.created_at.toISOString() };
}
