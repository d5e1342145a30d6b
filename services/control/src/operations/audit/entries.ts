import type { Database } from '@starling/database';
import type { z } from 'zod';
import type { auditEntry, operations } from '../../contract/index.ts';
import { parseCursor, toPage } from '../../frame/page.ts';

interface AuditRow {
  readonly id: number;
  readonly at: Date;
  readonly actor: z.input<typeof auditEntry>['actor'];
  readonly action: string;
  readonly target: string;
  readonly details: Record<string, unknown>;
}

type AuditQuery = z.output<(typeof operations)['listAuditEntries']['query']>;

/** Of an organisation; null: of what belongs to none. */
export async function listEntries({ sql }: Database, organisationId: string | null, query: AuditQuery) {
  const position = parseCursor('audit-entries', ['number'], query.cursor);
  if (!position.ok) return position;
  const [before] = position.value ?? [];
  const { actor, action, target, from, to } = query;
  const rows = await sql<AuditRow[]>`
    select id, at, actor, action, target, details from audit_entries
    where ${organisationId === null ? sql`organisation_id is null` : sql`organisation_id = ${organisationId}`}
      ${before === undefined ? sql`` : sql`and id < ${before}`}
      ${actor === undefined ? sql`` : sql`and actor ->> 'userId' = ${actor}`}
      ${action === undefined ? sql`` : sql`and action = ${action}`}
      ${target === undefined ? sql`` : sql`and target = ${target}`}
      ${from === undefined ? sql`` : sql`and at >= ${new Date(from)}`}
      ${to === undefined ? sql`` : sql`and at < ${new Date(to)}`}
    order by id desc limit ${query.limit + 1}`;
  const positionOf = (row: AuditRow) => [row.id];
  const toItem = (row: AuditRow) => ({ ...row, at: row.at.toISOString() });
  return { ok: true as const, value: toPage('audit-entries', query.limit, rows, positionOf, toItem) };
}
