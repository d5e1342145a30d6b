/** What the installation allows every app at most, and what of an app's own limits counts below that. */
import type { AppLimits } from '@starling/ports';
import type { Sql } from './database.ts';

/** What is not named has no maximum here. */
export type InstallationLimits = Partial<AppLimits>;

export interface InstallationLimitsRow {
  readonly limits: InstallationLimits;
  /** 0 while nothing has been set. */
  readonly version: number;
}

export async function readInstallationLimits(sql: Sql): Promise<InstallationLimitsRow> {
  const [row] = await sql<Array<{ limits: unknown; version: number }>>`select limits, version from installation_limits`;
  return row === undefined
    ? { limits: {}, version: 0 }
    : { limits: parseInstallationLimits(row.limits), version: row.version };
}

/** What is no number is left out, as a newer program may have written it. */
export function parseInstallationLimits(json: unknown): InstallationLimits {
  if (typeof json !== 'object' || json === null) return {};
  return Object.fromEntries(Object.entries(json).filter(([, value]) => typeof value === 'number'));
}

/** The limits that count. An app keeps its own, for the day on which the maximum is raised. */
export function withinInstallation(own: AppLimits, maxima: InstallationLimits): AppLimits {
  const names = Object.keys(own) as Array<keyof AppLimits>;
  return Object.fromEntries(
    names.map((name) => [name, Math.min(own[name], maxima[name] ?? Number.POSITIVE_INFINITY)]),
  ) as unknown as AppLimits;
}
