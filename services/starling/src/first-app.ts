/** The app that is there from the first start on: as the environment says, or made once. It is a row like any other. */
import { randomBytes, randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  type AppSettings,
  appChanged,
  appSecretPurpose,
  type Database,
  defaultAppSettings,
  defaultOrganisation,
  type Keyring,
  lockApps,
  parseAppSettings,
  readApps,
} from '@starling/database';
import type { App, ControlBus } from '@starling/ports';
import { StartError } from '@starling/runtime';
import { z } from 'zod';
import type { Settings } from './config.ts';

export interface Credentials {
  readonly id: string;
  readonly key: string;
  readonly secret: string;
}

/** What the environment says of the first app; undefined credentials: whatever they are. */
export interface WantedApp {
  readonly credentials: Credentials | undefined;
  readonly settings: AppSettings;
}

const credentialsShape = z.object({
  id: z.string().regex(/^[1-9]\d{0,14}$/),
  key: z.string().regex(/^[0-9a-f]{20}$/),
  secret: z.string().regex(/^[0-9a-f]{20}$/),
});

const firstName = 'First app';

export function wantedApp(settings: Settings): WantedApp {
  const { STARLING_APP_ID: id, STARLING_APP_KEY: key, STARLING_APP_SECRET: secret } = settings;
  return {
    credentials: id !== undefined && key !== undefined && secret !== undefined ? { id, key, secret } : undefined,
    settings: {
      ...defaultAppSettings,
      hasClientEvents: settings.STARLING_APP_CLIENT_EVENTS,
      hasSubscriptionCounts: settings.STARLING_APP_SUBSCRIPTION_COUNTS,
      hasWatchlists: settings.STARLING_APP_WATCHLISTS,
      admitsAuthorizedOnly: settings.STARLING_APP_AUTHORIZED_ONLY,
      allowedOrigins: settings.STARLING_APP_ALLOWED_ORIGINS,
    },
  };
}

/** The app of a program that has no database: it lives as long as the program. */
export function givenApp({ credentials, settings }: WantedApp): App {
  if (credentials === undefined)
    throw new StartError('STARLING_APP_ID, STARLING_APP_KEY and STARLING_APP_SECRET are not given');
  const { id, key, secret } = credentials;
  return {
    id,
    version: 1,
    name: firstName,
    isEnabled: true,
    keys: [{ key, secret, isEnabled: true }],
    revocations: [],
    ...settings,
  };
}

/** What an installation without a database had kept in its data folder. Throws when the file is not ours. */
export function keptCredentials(dataDir: string): Credentials | undefined {
  const path = resolve(dataDir, 'first-app.json');
  const text = readIfThere(path);
  if (text === undefined) return undefined;
  const read = credentialsShape.safeParse(parseJson(text));
  if (read.success) return read.data;
  // Never passed over: every backend and every page of the app carries these credentials.
  throw new StartError(
    `${path} is not the file of app credentials that Starling wrote: put it back as it was, ` +
      'or remove it to have a new app made, with another id, key and secret',
  );
}

/** Six digits of id at least, so that nobody takes it for a count. */
function makeCredentials(): Credentials {
  return {
    id: String(randomInt(100_000, 10_000_000)),
    key: randomBytes(10).toString('hex'),
    secret: randomBytes(10).toString('hex'),
  };
}

export interface FirstAppDeps {
  readonly database: Database;
  readonly keyring: Keyring;
  readonly controlBus: ControlBus;
}

/**
 * An app with credentials that are given is made, or changed to be as the environment says: its other keys and settings stay.
 * Otherwise one is made while there has never been any, from `kept` when that is given. Changes nothing that is so already.
 * Returns the app that can be shown as the first: undefined when all were removed.
 */
export async function settleFirstApp(
  deps: FirstAppDeps,
  wanted: WantedApp,
  kept: () => Credentials | undefined,
): Promise<Credentials | undefined> {
  const { database } = deps;
  return database.tx(async (sql) => {
    await lockApps(sql);
    if (wanted.credentials !== undefined) {
      await putApp(deps, wanted.credentials, wanted.settings);
      return wanted.credentials;
    }
    const [change] = await sql`select from app_changes limit 1`;
    if (change === undefined) {
      const credentials = kept() ?? makeCredentials();
      await putApp(deps, credentials, wanted.settings);
      return credentials;
    }
    return oldest(deps);
  });
}

/** Whether this is the one start that prints the secret of the first app where output is kept. */
export async function claimFirstSecret({ sql }: Database): Promise<boolean> {
  const { count } = await sql`
    update installation set first_secret_shown_at = now() where first_secret_shown_at is null`;
  return count > 0;
}

/** Of those that somebody could use. */
async function oldest({ database: { sql }, keyring }: FirstAppDeps): Promise<Credentials | undefined> {
  const [row] = await sql<Array<{ id: string }>>`
    select id from apps where is_enabled and exists (select from app_keys where app_id = apps.id and is_enabled)
    order by created_at, id limit 1`;
  const [read] = row === undefined ? [] : await readApps(sql, keyring, [row.id]);
  if (read === undefined || !('app' in read)) return undefined;
  const key = read.app.keys.find(({ isEnabled }) => isEnabled);
  return key === undefined ? undefined : { id: read.app.id, key: key.key, secret: key.secret };
}

async function putApp(deps: FirstAppDeps, { id, key, secret }: Credentials, wanted: AppSettings): Promise<void> {
  const { database, keyring, controlBus } = deps;
  const { sql } = database;
  const [former] = await readApps(sql, keyring, [id]);
  const [owner] = await sql<Array<{ app_id: string }>>`select app_id from app_keys where key = ${key}`;
  if (owner !== undefined && owner.app_id !== id) {
    throw new StartError(`STARLING_APP_KEY: the app ${owner.app_id} has this key already`);
  }
  const known = former !== undefined && 'app' in former ? former.app : undefined;
  // Its own limits, and not those that count: above a maximum of the installation they wait for a higher one.
  const [row] =
    known === undefined ? [] : await sql<Array<{ settings: unknown }>>`select settings from apps where id = ${id}`;
  const own = row === undefined ? undefined : parseAppSettings(row.settings);
  const settings = own === undefined ? wanted : { ...own, ...environmentOf(wanted) };
  const hasKey = known?.keys.some((each) => each.key === key && each.secret === secret && each.isEnabled) === true;
  const isSame = own !== undefined && JSON.stringify(own) === JSON.stringify(settings);
  if (hasKey && isSame && known?.isEnabled === true) return;

  const next = {
    id,
    organisation_id: await defaultOrganisation(sql),
    name: firstName,
    settings: sql.json(settings as never),
  };
  await sql`
    insert into apps ${sql(next)}
    on conflict (id) do update set settings = excluded.settings, is_enabled = true`;
  if (!hasKey) {
    const sealed = keyring.seal(secret, appSecretPurpose(key));
    await sql`
      insert into app_keys ${sql({ key, app_id: id, label: 'First key', secret_sealed: sealed })}
      on conflict (key) do update set secret_sealed = excluded.secret_sealed, is_enabled = true, expires_at = null`;
  }
  await appChanged(database, controlBus, id);
}

/** Those of which the environment speaks. */
function environmentOf(wanted: AppSettings): Partial<AppSettings> {
  const { hasClientEvents, hasSubscriptionCounts, hasWatchlists, admitsAuthorizedOnly, allowedOrigins } = wanted;
  return { hasClientEvents, hasSubscriptionCounts, hasWatchlists, admitsAuthorizedOnly, allowedOrigins };
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (err) {
    if (err instanceof Error && 'code' in err && err.code === 'ENOENT') return undefined;
    throw new StartError(`${path} cannot be read: ${err instanceof Error ? err.message : err}`);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Undefined is no JSON value, so the schema refuses it as it refuses any other wrong content.
    return undefined;
  }
}
