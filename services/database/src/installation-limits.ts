/** What the installation allows every app and every organisation at most, and what of an app's own limits counts below that. */
import type { AppLimits } from '@starling/ports';
import type { Sql } from './database.ts';

type Maximum = number | null;

/** Null: no maximum. */
export type InstallationLimits = { readonly [Name in keyof AppLimits]: Maximum } & {
  readonly appsPerOrganisation: Maximum;
};

/**
 * While operators have set nothing. One organisation alone must not be able to end a machine of a few gigabytes by a
 * setting, and no app that goes by its own defaults is narrowed. Large installations raise them.
 */
export const defaultInstallationLimits: InstallationLimits = {
  connections: 100_000,
  // Who may have so many at all may have them behind one address.
  connectionsPerAddress: 100_000,
  channelsPerConnection: 1_000,
  // An event waits once for each reader that is slow.
  eventDataBytes: 65_536,
  clientEventsPerSecond: 100,
  publishesPerSecond: 100_000,
  // All members are told of each that comes: a full channel costs the square of it.
  presenceMembers: 1_000,
  // Every node holds every app.
  appsPerOrganisation: 100,
};

export interface InstallationLimitsRow {
  readonly limits: InstallationLimits;
  /** 0 while nothing has been set. */
  readonly version: number;
}

export async function readInstallationLimits(sql: Sql): Promise<InstallationLimitsRow> {
  const [row] = await sql<Array<{ limits: unknown; version: number }>>`select limits, version from installation_limits`;
  return { limits: parseInstallationLimits(row?.limits), version: row?.version ?? 0 };
}

/** What is not there, or neither a number nor null, is as in the defaults: a program of another version may have written it. */
export function parseInstallationLimits(json: unknown): InstallationLimits {
  const given = typeof json === 'object' && json !== null ? (json as Readonly<Record<string, unknown>>) : {};
  const read = Object.entries(defaultInstallationLimits).map(([name, usual]) => {
    const found = Object.hasOwn(given, name) ? given[name] : undefined;
    return [name, found === null || typeof found === 'number' ? found : usual];
  });
  return Object.fromEntries(read) as InstallationLimits;
}

/** The limits that count. An app keeps its own, for the day on which the maximum is raised. */
export function withinInstallation(own: AppLimits, maxima: InstallationLimits): AppLimits {
  const names = Object.keys(own) as Array<keyof AppLimits>;
  return Object.fromEntries(
    names.map((name) => [name, Math.min(own[name], maxima[name] ?? Number.POSITIVE_INFINITY)]),
  ) as unknown as AppLimits;
}
