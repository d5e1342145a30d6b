import { randomInt } from 'node:crypto';
import {
  type AppRow,
  type AppSettings,
  appChanged,
  type Database,
  defaultAppSettings,
  type InstallationLimits,
  lockApps,
  parseAppSettings,
  readInstallationLimits,
  withinInstallation,
} from '@starling/database';
import type { AppLimits, Bulletin, Clock } from '@starling/ports';
import type { z } from 'zod';
import { type app as contract, operations } from '../../contract/index.ts';
import { fail, outdated } from '../../frame/answer.ts';
import { type Failed, type Implementation, implement } from '../../frame/implement.ts';
import { parseCursor, toPage } from '../../frame/page.ts';
import type { Rollout } from '../../rollout.ts';

interface Deps {
  readonly database: Database;
  readonly bulletin: Bulletin;
  readonly clock: Clock;
  readonly rollout: Rollout;
}

const limitNames = Object.keys(defaultAppSettings.limits) as Array<keyof AppLimits>;

export function appRoutes(deps: Deps): Implementation[] {
  const { database, bulletin, clock, rollout } = deps;
  return [
    implement(operations.listApps, async ({ organisationId, query }) => {
      const place = parseCursor('apps', ['string', 'string'], query.cursor);
      if (!place.ok) return place;
      const [name, id] = place.value ?? [];
      const { sql } = database;
      const rows = await sql<AppRow[]>`
        select * from apps where organisation_id = ${organisationId}
          ${name === undefined || id === undefined ? sql`` : sql`and (name, id) > (${name}, ${id})`}
        order by name, id limit ${query.limit + 1}`;
      const { limits: maxima } = await readInstallationLimits(sql);
      const placeOf = (row: AppRow) => [row.name, row.id];
      return { ok: true, value: toPage('apps', query.limit, rows, placeOf, (row) => toApp(row, maxima)) };
    }),

    implement(operations.getApp, async ({ params }) => {
      const row = await findApp(database, params.appId);
      if (row === undefined) return fail('resource_unknown');
      const { limits: maxima } = await readInstallationLimits(database.sql);
      return { ok: true, value: toApp(row, maxima) };
    }),

    implement(operations.createApp, async ({ organisationId, body }) => {
      const { sql } = database;
      await lockApps(sql);
      const [count] = await sql<{ apps: number }[]>`
        select count(*)::int as apps from apps where organisation_id = ${organisationId}`;
      const { limits: maxima } = await readInstallationLimits(sql);
      const { appsPerOrganisation } = maxima;
      if (appsPerOrganisation !== null && (count?.apps ?? 0) >= appsPerOrganisation) {
        return fail('state_conflict', {
          message: `The organisation has ${count?.apps} apps, and the operators of this installation allow ${appsPerOrganisation}`,
          hint: 'Delete an app that is not used, or ask an operator of this installation.',
        });
      }
      const fields = aboveInstallation(body.limits, maxima);
      if (Object.keys(fields).length > 0) return fail('fields_invalid', { fields });
      const settings = merged(defaultAppSettings, body);
      const id = await insertApp(database, {
        organisation_id: organisationId,
        name: body.name,
        settings: sql.json(settings as never),
        created_at: new Date(clock.now()),
      });
      await appChanged(database, bulletin, id);
      const row = await findApp(database, id);
      // Gone only with its organisation, which waits for this transaction.
      if (row === undefined) return fail('resource_unknown');
      return { ok: true, value: toApp(row, maxima), deed: { target: `app:${id}`, details: { name: row.name } } };
    }),

    implement(operations.changeApp, async ({ params: { appId }, body, ifVersion }) => {
      const { sql } = database;
      const locked = await lockApp(database, appId, ifVersion);
      if (!locked.ok) return locked;
      const found = locked.value;
      const { limits: maxima } = await readInstallationLimits(sql);
      const fields = aboveInstallation(body.limits, maxima);
      if (Object.keys(fields).length > 0) return fail('fields_invalid', { fields });
      const former = changeableOf(found);
      const next = {
        name: body.name ?? found.name,
        isEnabled: body.isEnabled ?? found.is_enabled,
        settings: merged(former.settings, {
          settings: body.settings,
          limits: othersThan(withinInstallation(former.settings.limits, maxima), body.limits),
        }),
      };
      const details = differences(former, next);
      if (Object.keys(details).length === 0) return { ok: true, value: toApp(found, maxima), deed: { target: null } };
      await sql`
        update apps
        set name = ${next.name}, is_enabled = ${next.isEnabled}, settings = ${sql.json(next.settings as never)}
        where id = ${appId}`;
      const version = await appChanged(database, bulletin, appId);
      const row = { ...found, name: next.name, is_enabled: next.isEnabled, settings: next.settings, version };
      return { ok: true, value: toApp(row, maxima), deed: { target: `app:${appId}`, details } };
    }),

    implement(operations.deleteApp, async ({ params: { appId }, ifVersion }) => {
      const { sql } = database;
      const locked = await lockApp(database, appId, ifVersion);
      if (!locked.ok) return locked;
      const found = locked.value;
      await sql`delete from apps where id = ${appId}`;
      await appChanged(database, bulletin, appId);
      return { ok: true, value: null, deed: { target: `app:${appId}`, details: { name: found.name } } };
    }),

    implement(operations.getRollout, async ({ params: { appId } }) => {
      const [row] = await database.sql<{ version: number; changed_at: Date | null }[]>`
        select version, (select max(at) from app_changes where seq = apps.version) as changed_at
        from apps where id = ${appId}`;
      if (row === undefined) return fail('resource_unknown');
      return { ok: true, value: await rollout.of(appId, row.version, row.changed_at?.getTime()) };
    }),
  ];
}

export async function findApp({ sql }: Database, appId: string): Promise<AppRow | undefined> {
  const [row] = await sql<AppRow[]>`select * from apps where id = ${appId}`;
  return row;
}

/** For a change: nobody else changes it meanwhile, and it is of the version that is meant, if one is. */
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

interface NewApp {
  readonly organisation_id: string;
  readonly name: string;
  readonly settings: ReturnType<Database['sql']['json']>;
  readonly created_at: Date;
}

/** Under a number that no app has: seven to nine digits, so that none looks like a count. */
async function insertApp({ sql }: Database, app: NewApp): Promise<string> {
  for (;;) {
    const id = String(randomInt(1_000_000, 1_000_000_000));
    const made = await sql`insert into apps ${sql({ id, ...app })} on conflict (id) do nothing returning 1`;
    if (made.length > 0) return id;
  }
}

type Said = {
  readonly [Part in 'settings' | 'limits']?: Readonly<Record<string, unknown>> | undefined;
};

/** What was said in place of what was there. */
function merged(former: AppSettings, { settings, limits }: Said): AppSettings {
  return parseAppSettings({ ...former, ...settings, limits: { ...former.limits, ...limits } });
}

/** Of what was said what is no limit that counts already: who sends back what they have read does not lower the app's own. */
function othersThan(
  counting: AppLimits,
  said: Readonly<Partial<Record<keyof AppLimits, number | undefined>>> | undefined,
): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(said ?? {}).filter(([name, value]) => value !== counting[name as keyof AppLimits]),
  );
}

/** By field, what an app may not set so high. */
function aboveInstallation(
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

interface Changeable {
  readonly name: string;
  readonly isEnabled: boolean;
  readonly settings: AppSettings;
}

function changeableOf(row: AppRow): Changeable {
  return { name: row.name, isEnabled: row.is_enabled, settings: parseAppSettings(row.settings) };
}

/** By field, from what to what: for who reads the audit log. */
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

function toApp(row: AppRow, maxima: InstallationLimits): z.input<typeof contract> {
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
