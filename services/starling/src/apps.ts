/** Where the apps come from: a database, or the settings. */
import { MemoryAppStore } from '@starling/adapters/memory';
import { PostgresAppStore } from '@starling/adapters/postgres';
import { createSetupToken } from '@starling/control';
import {
  adoptKeyring,
  type ClosedDatabase,
  createDatabase,
  type Database,
  type DatabaseAddress,
  type Keyring,
  keptKeyring,
} from '@starling/database';
import type { AppStore, Clock, ControlBus, Observer, Revoker } from '@starling/ports';
import { StarlingError } from '@starling/protocol';
import { type Log, StartError, type Supervisor } from '@starling/runtime';
import type { Settings } from './config.ts';
import {
  type Credentials,
  claimFirstSecret,
  givenApp,
  keptCredentials,
  settleFirstApp,
  wantedApp,
} from './first-app.ts';
import { throwDatabaseProblem } from './start-problems.ts';
import type { Common } from './stores.ts';

/** What there is to begin with. */
export interface FirstStart {
  /** The first app, if there is any left. */
  app?: Credentials;
  /** This start prints its secret, wherever that goes: none has before. */
  isSecretNew?: boolean;
  /** Of the link to the account of the first owner; undefined where there is one, or where a former link is still good. */
  setupToken?: string;
}

export interface Apps {
  readonly appStore: AppStore & Revoker;
  /** Known when the step `apps` is open. */
  readonly first: FirstStart;
  /** Where they are kept, if this process has that open. */
  readonly appDatabase?: AppDatabase;
}

export interface AppDatabase {
  readonly database: Database;
  readonly keyring: Keyring;
}

export interface AppsCommon extends Common {
  readonly log: Log;
  readonly controlBus: ControlBus;
}

/** From a database, or as given. */
export function appsOf(settings: Settings, supervisor: Supervisor | undefined, common: AppsCommon): Apps {
  const wanted = wantedApp(settings);
  if (settings.DATABASE_URL !== undefined || settings.STARLING_DATA_DIR !== undefined)
    return fromDatabase(settings, supervisor, common);
  const app = givenApp(wanted);
  return {
    appStore: new MemoryAppStore([app]),
    first: wanted.credentials === undefined ? {} : { app: wanted.credentials },
  };
}

/** By its URL; or one of our own, which the process without a supervisor keeps for itself and its workers. */
function databaseAddress(settings: Settings, supervisor?: Supervisor): DatabaseAddress {
  if (settings.DATABASE_URL !== undefined) return { url: settings.DATABASE_URL };
  // Programs other than start have no folder, and always a URL.
  if (settings.STARLING_DATA_DIR === undefined) throw new StartError('DATABASE_URL is not given');
  if (supervisor !== undefined) return { sharedDataDir: settings.STARLING_DATA_DIR };
  return {
    dataDir: settings.STARLING_DATA_DIR,
    binFolder: settings.STARLING_POSTGRES_BIN,
    processes: settings.STARLING_WORKERS,
  };
}

function fromDatabase(settings: Settings, supervisor: Supervisor | undefined, common: AppsCommon): Apps {
  const { lifecycle, metrics, observer, controlBus, log } = common;
  const { STARLING_DATA_DIR: dataDir } = settings;
  const database = createdDatabase(databaseAddress(settings, supervisor), observer);
  const { embedded } = database;
  const keyring = settings.STARLING_SECRET_KEY ?? keyringIn(dataDir ?? '');
  const appStore = new PostgresAppStore({ ...common, database, keyring });
  const first: FirstStart = {};
  lifecycle.add(
    'database',
    async () => {
      await database.open().catch((err: unknown) => throwDatabaseProblem(err, settings.DATABASE_URL));
      if (embedded !== undefined)
        log.info({ folder: embedded.home.cluster }, embeddedNotice(embedded.home.isElsewhere));
      return () => database.close();
    },
    10_000,
  );
  lifecycle.add('apps', async () => {
    await adoptKeyring(database, keyring).catch(throwDatabaseProblem);
    const isFirstOurs = supervisor === undefined && (dataDir !== undefined || settings.STARLING_APP_ID !== undefined);
    if (isFirstOurs) {
      const appDatabase = () => (dataDir === undefined ? undefined : keptCredentials(dataDir));
      const app = await settleFirstApp({ database, keyring, controlBus }, wantedApp(settings), appDatabase).catch(
        throwDatabaseProblem,
      );
      if (app !== undefined) first.app = app;
    }
    return appStore.start().catch(throwDatabaseProblem);
  });
  metrics.watchNumber('starling_database_up', 'Whether the apps could be read when last tried, 1 or 0', () =>
    Number(appStore.isUp),
  );
  if (embedded !== undefined) {
    metrics.watchNumber(
      'starling_database_restarts_total',
      'How often the embedded Postgres died or hung, and was started again',
      () => embedded.restartCount,
    );
  }
  metrics.watchNumber(
    'starling_apps_age_seconds',
    'How long ago this node last knew every change of the apps: more than a few seconds while the database is away',
    () => appStore.ageMs / 1_000,
  );
  return { appStore, first, appDatabase: { database, keyring } };
}

function createdDatabase(address: DatabaseAddress, observer: Observer): ClosedDatabase {
  try {
    return createDatabase(address, { observer });
  } catch (err) {
    return throwDatabaseProblem(err);
  }
}

function embeddedNotice(isElsewhere: boolean): string {
  const place = isElsewhere
    ? 'outside of the data folder, which the user of Postgres cannot reach'
    : 'in the data folder';
  return `The database is a Postgres of our own, ${place}. To have it elsewhere, set DATABASE_URL`;
}

function keyringIn(dataDir: string): Keyring {
  try {
    return keptKeyring(dataDir);
  } catch (err) {
    return throwDatabaseProblem(err);
  }
}

/**
 * Adds to `first` what is printed once. Called when everything serves, and by the process that prints: a start that
 * failed before that has shown nothing. On a terminal somebody sees it now; what is printed elsewhere is kept.
 */
export async function settleSecrets(appDatabase: AppDatabase, how: SecretsOptions, first: FirstStart): Promise<void> {
  await settle(appDatabase, how, first).catch(throwDatabaseProblem);
}

interface SecretsOptions {
  readonly settings: Settings;
  readonly hasAdmin: boolean;
  readonly clock: Clock;
}

async function settle(
  { database }: AppDatabase,
  { settings, hasAdmin, clock }: SecretsOptions,
  first: FirstStart,
): Promise<void> {
  const isKept = process.stdout.isTTY !== true;
  const prints =
    settings.STARLING_DATA_DIR !== undefined && settings.STARLING_APP_ID === undefined && first.app !== undefined;
  if (prints && isKept) first.isSecretNew = await claimFirstSecret(database);
  const token = hasAdmin ? await createSetupToken({ database, clock }, { keepsFormer: isKept }) : undefined;
  if (token !== undefined) first.setupToken = token;
}

/** Programs that meet in Redis alone keep no apps together: what one of them revoked, the others would go on taking. */
export function revokerOf(settings: Settings, appStore: Revoker): Revoker {
  const isShared = settings.DATABASE_URL !== undefined || settings.REDIS_URL === undefined;
  return isShared ? appStore : { revoke: revokeNowhere };
}

async function revokeNowhere(): Promise<never> {
  throw new StarlingError(
    'unavailable',
    'Tokens cannot be revoked where programs keep no apps together: set DATABASE_URL',
  );
}
