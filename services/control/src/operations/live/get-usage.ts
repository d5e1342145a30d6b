import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';

interface UsageRow {
  readonly at: Date;
  readonly connections_peak: number;
  readonly messages_in: number;
  readonly bytes_in: number;
  readonly messages_out: number;
  readonly bytes_out: number;
  readonly refused: number;
}

const [minuteMs, hourMs, dayMs] = [60_000, 3_600_000, 86_400_000] as const;

const usageBy = {
  minute: { table: 'usage_minutes', stepMs: minuteMs, usualMs: hourMs },
  hour: { table: 'usage_hours', stepMs: hourMs, usualMs: 2 * dayMs },
  day: { table: 'usage_days', stepMs: dayMs, usualMs: 30 * dayMs },
} as const;

const stepsMax = 1_500;

export function getUsage({ database, clock }: Pick<OperationDeps, 'database' | 'clock'>): Implementation {
  return implement(operations.getUsage, async ({ params: { appId }, query }) => {
    const { table, stepMs, usualMs } = usageBy[query.by];
    const toMs = query.to === undefined ? clock.now() : Date.parse(query.to);
    const fromMs = query.from === undefined ? Math.max(0, toMs - usualMs) : Date.parse(query.from);
    if (fromMs > toMs) return fail('fields_invalid', { fields: { from: 'must not be after `to`' } });
    if (toMs - fromMs > stepsMax * stepMs) {
      return fail('fields_invalid', { fields: { from: `must be at most ${stepsMax} ${query.by}s before \`to\`` } });
    }
    const { sql } = database;
    const rows = await sql<UsageRow[]>`
      select at, sum(connections_peak)::bigint as connections_peak, sum(messages_in)::bigint as messages_in,
        sum(bytes_in)::bigint as bytes_in, sum(messages_out)::bigint as messages_out,
        sum(bytes_out)::bigint as bytes_out, sum(refused)::bigint as refused
      from ${sql(table)}
      where app_id = ${appId} and at >= ${new Date(fromMs)} and at < ${new Date(toMs)} group by at order by at`;
    const items = rows.map((row) => ({
      at: row.at.toISOString(),
      connectionsPeak: row.connections_peak,
      messagesIn: row.messages_in,
      bytesIn: row.bytes_in,
      messagesOut: row.messages_out,
      bytesOut: row.bytes_out,
      refused: row.refused,
    }));
    return { ok: true, value: { items } };
  });
}
