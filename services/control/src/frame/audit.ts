/** The audit log: an entry for every change, in the transaction of the change. */
import type { Database } from '@starling/database';
import type { Clock } from '@starling/ports';

export interface AuditEntry {
  /** Undefined: of no organisation. */
  readonly organisationId: string | undefined;
  readonly actor: {
    readonly kind: 'user' | 'token' | 'stranger' | 'system';
    readonly userId?: string;
    readonly address?: string;
  };
  /** The id of the operation. */
  readonly action: string;
  readonly target: string;
  readonly details: Readonly<Record<string, unknown>>;
}

export async function recordAudit(
  { database, clock }: { readonly database: Database; readonly clock: Clock },
  { organisationId, actor, action, target, details }: AuditEntry,
): Promise<void> {
  const { sql } = database;
  await sql`
    insert into audit_entries (organisation_id, at, actor, action, target, details)
    values (${organisationId ?? null}, ${new Date(clock.now())}, ${sql.json(actor)}, ${action}, ${target},
      ${sql.json(details as never)})`;
}

/** By field, the former and the new value, for readers of the audit log. */
export function differences(from: object, to: object, path = ''): Record<string, unknown> {
  const was = from as Readonly<Record<string, unknown>>;
  return Object.fromEntries(
    Object.entries(to).flatMap(([name, value]): [string, unknown][] => {
      if (isRecord(value) && isRecord(was[name])) {
        return Object.entries(differences(was[name], value, `${path}${name}.`));
      }
      const isSame = JSON.stringify(value) === JSON.stringify(was[name]);
      return isSame ? [] : [[`${path}${name}`, { from: was[name] ?? null, to: value ?? null }]];
    }),
  );
}

function isRecord(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
