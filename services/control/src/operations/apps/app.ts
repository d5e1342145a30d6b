import {
  type AppRow,
  type AppSettings,
  type Database,
  defaultAppSettings,
  type InstallationLimits,
  lockApps,
  parseAppSettings,
  withinInstallation,
} from '@starling/database';
import type { AppLimits } from '@starling/ports';
import type { z } from 'zod';
import type { app as contract } from '../../contract/index.ts';
import { fail, outdated } from '../../frame/answer.ts';
import type { Failed } from '../../frame/implement.ts';

const limitNames = Object.keys(defaultAppSettings.limits) as Array<keyof AppLimits>;

export async function findApp({ sql }: Database, appId: string): Promise<AppRow | undefined> {
  const [row] = await sql<AppRow[]>`select * from apps where id = ${appId}`;
  return row;
}

/** Locks the app for a change, and checks that it has the version that is meant, if one is. */
export async function lockApp(
  database: Database,
  appId: string,
  ifVersion: number | undefined,
): Promise<{ readonly ok: true; readonly value: AppRow } | Failed> {
  await lockApps(database.sql);
  const found = await findApp(database, appId);
  if (found === undefined) return fail('resource_unknown');
  return outdated(found.version, ifVersion) ?? { ok: true, value: found };
}

type GivenSettings = {
  readonly [Part in 'settings' | 'limits']?: Readonly<Record<string, unknown>> | undefined;
};

/** The former settings with the given ones in their place. */
export function merged(former: AppSettings, { settings, limits }: GivenSettings): AppSettings {
  return parseAppSettings({ ...former, ...settings, limits: { ...former.limits, ...limits } });
}

/** By field, what an app may not set so high. */
export function aboveInstallation(
  said: Readonly<Partial<Record<keyof AppLimits, number | undefined>>> | undefined,
  maxima: InstallationLimits,
): Record<string, string> {
  return Object.fromEntries(
    limitNames.flatMap((name): [string, string][] => {
      const [value, maximum] = [said?.[name], maxima[name]];
      if (value === undefined || maximum === null || value <= maximum) return [];
      return [[`limits.${name}`, `must be at most ${maximum}, as the operators of this installation have set`]];
    }),
  );
}

export function toApp(row: AppRow, maxima: InstallationLimits): z.input<typeof contract> {
  const { limits, tokens: _, ...settings } = parseAppSettings(row.settings);
  return {
    id: row.id,
    organisationId: row.organisation_id,
    name: row.name,
    isEnabled: row.is_enabled,
    version: row.version,
    createdAt: row.created_at.toISOString(),
    settings: { ...settings, allowedOrigins: [...settings.allowedOrigins] },
    limits: withinInstallation(limits, maxima),
  };
}
