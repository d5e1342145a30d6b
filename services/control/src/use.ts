/** Keeps what nodes report of their use: minutes as they come, and hours and days made of those. */
import type { Database } from '@starling/database';
import { type Clock, every, type NodeReport, type Observer } from '@starling/ports';

export interface UseDeps {
  readonly database: Database;
  readonly nodes: { nodes(): Promise<readonly NodeReport[]> };
  readonly clock: Clock;
  readonly observer: Observer;
}

/** Nodes report a minute for as long as two of them last: each is seen several times. */
const everyMs = 10_000;
const [minutesKept, hoursKept] = ['2 days', '100 days'];

/** Returns the function that ends it, which resolves when nothing is under way. What nodes reported is lost after two minutes. */
export function keepUse(deps: UseDeps): () => Promise<void> {
  return every(
    deps.clock,
    everyMs,
    () => recordUse(deps),
    (err) => deps.observer.problem('the use of apps was not recorded', { err }),
  );
}

/** Once. It may be done by several programs, and as often as one likes: nothing is counted twice. */
export async function recordUse({ database, nodes, clock }: Omit<UseDeps, 'observer'>): Promise<void> {
  const reports = await nodes.nodes();
  const rows = reports.flatMap(({ nodeId, apps }) =>
    apps.flatMap(({ appId, minutes }) =>
      minutes.map((minute) => ({
        app_id: appId,
        node_id: nodeId,
        at: new Date(minute.at).toISOString(),
        connections_peak: minute.peakConnections,
        messages_in: minute.messagesIn,
        messages_out: minute.messagesOut,
        bytes_in: minute.bytesIn,
        bytes_out: minute.bytesOut,
        refused: minute.refused,
      })),
    ),
  );
  const keyUses = reports.flatMap(({ apps }) =>
    apps.flatMap(({ appId, keyUses = {} }) =>
      Object.entries(keyUses).map(([key, at]) => ({ app_id: appId, key, at: new Date(at).toISOString() })),
    ),
  );
  const now = new Date(clock.now());
  await database.tx(async () => {
    const { sql } = database;
    // Apps that were deleted meanwhile, and those that the environment of a program gave it, have no row.
    await sql`
      insert into usage_minutes
        (app_id, node_id, at, connections_peak, messages_in, messages_out, bytes_in, bytes_out, refused)
      select r.* from jsonb_to_recordset(${sql.json(rows)}) as r
        (app_id text, node_id text, at timestamptz, connections_peak bigint, messages_in bigint, messages_out bigint,
         bytes_in bigint, bytes_out bigint, refused bigint)
      join apps on apps.id = r.app_id
      on conflict (app_id, at, node_id) do update set
        connections_peak = excluded.connections_peak, messages_in = excluded.messages_in,
        messages_out = excluded.messages_out, bytes_in = excluded.bytes_in, bytes_out = excluded.bytes_out,
        refused = excluded.refused`;
    await sql`
      insert into usage_hours (app_id, at, connections_peak, messages_in, messages_out, bytes_in, bytes_out, refused)
      select app_id, date_trunc('hour', at, 'UTC'), max(peak), sum(messages_in), sum(messages_out), sum(bytes_in),
        sum(bytes_out), sum(refused)
      from (
        select app_id, at, sum(connections_peak) as peak, sum(messages_in) as messages_in,
          sum(messages_out) as messages_out, sum(bytes_in) as bytes_in, sum(bytes_out) as bytes_out, sum(refused) as refused
        from usage_minutes where at >= date_trunc('hour', ${now}::timestamptz - interval '1 hour', 'UTC')
        group by app_id, at
      ) as minutes
      group by 1, 2
      on conflict (app_id, at) do update set
        connections_peak = excluded.connections_peak, messages_in = excluded.messages_in,
        messages_out = excluded.messages_out, bytes_in = excluded.bytes_in, bytes_out = excluded.bytes_out,
        refused = excluded.refused`;
    await sql`
      insert into usage_days (app_id, at, connections_peak, messages_in, messages_out, bytes_in, bytes_out, refused)
      select app_id, date_trunc('day', at, 'UTC'), max(connections_peak), sum(messages_in), sum(messages_out),
        sum(bytes_in), sum(bytes_out), sum(refused)
      from usage_hours where at >= date_trunc('day', ${now}::timestamptz - interval '1 hour', 'UTC')
      group by 1, 2
      on conflict (app_id, at) do update set
        connections_peak = excluded.connections_peak, messages_in = excluded.messages_in,
        messages_out = excluded.messages_out, bytes_in = excluded.bytes_in, bytes_out = excluded.bytes_out,
        refused = excluded.refused`;
    await sql`
      update app_keys set last_used_at = used.at
      from (
        select app_id, key, max(at) as at from jsonb_to_recordset(${sql.json(keyUses)}) as r
          (app_id text, key text, at timestamptz) group by 1, 2
      ) as used
      where app_keys.key = used.key and app_keys.app_id = used.app_id
        and (app_keys.last_used_at is null or app_keys.last_used_at < used.at)`;
    await sql`delete from usage_minutes where at < ${now}::timestamptz - ${minutesKept}::interval`;
    await sql`delete from usage_hours where at < ${now}::timestamptz - ${hoursKept}::interval`;
  });
}
