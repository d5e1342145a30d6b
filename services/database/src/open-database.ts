/** Opens the database that the settings mean, with the newest tables in it. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Observer } from '@starling/ports';
import { StarlingError } from '@starling/protocol';
import postgres from 'postgres';
import { type ClientOptions, Connections, ownSocket, type RawSql } from './connections.ts';
import { type Database, databaseOver, explained } from './database.ts';
import { homeOf } from './embedded/cluster.ts';
import { EmbeddedPostgres, type WatchLimits } from './embedded/embedded-postgres.ts';
import { holderOf, lastHolderOf } from './embedded/folder-lock.ts';
import { type Migration, migrate, readMigrations } from './migrate.ts';

/**
 * A Postgres by its URL; or one of our own on a data folder, started with it and ended with it; or the one that another
 * process of this user keeps on a data folder.
 */
export type DatabaseAddress =
  | { readonly url: string }
  | {
      readonly dataDir: string;
      /** The folder with the programs of Postgres, instead of those that come along. */
      readonly binFolder?: string | undefined;
      /** How many processes will use it. */
      readonly processes?: number;
    }
  | { readonly sharedDataDir: string };

export interface OpenDatabaseOptions {
  readonly observer?: Observer;
  /** Connections at once. */
  readonly connections?: number;
  readonly watch?: Partial<WatchLimits>;
}

/** Beside the bundle, or beside this file. */
const migrationPlaces = ['./migrations/'];
const connectSeconds = 5;
const statementMs = 15_000;
const lockMs = 5_000;
const transactionIdleMs = 15_000;
const waitMs = 20_000;
/** Together less than the two seconds in which a change is refused. */
const [doubtMs, askMs] = [1_200, 500] as const;
/** Of one of several processes that share a Postgres of our own. */
const connectionsOfMany = 4;
const connectionsMin = 20;
const closeSeconds = 5;
const retrySeconds = 0.1;

export interface ClosedDatabase extends Database {
  /**
   * Starts it where it is embedded, and brings its tables to the newest shape; until then nothing may be asked. Throws a
   * StarlingError whose text tells the operator what to mend, and leaves nothing open.
   */
  open(): Promise<void>;
  /** A client of its own, for what takes long. Close it before this database. */
  makeClient(options: ClientOptions): RawSql;
  /** Where it is one of our own. */
  readonly embedded?: Pick<EmbeddedPostgres, 'home' | 'restartCount'>;
}

/** Nothing has started when it returns. */
export function createDatabase(address: DatabaseAddress, options: OpenDatabaseOptions = {}): ClosedDatabase {
  const { database, start, target, embedded } = unstarted(address, options);
  const open = async () => {
    try {
      await start();
      await migrate(database, await ownMigrations());
    } catch (err) {
      await database.close();
      throw err;
    }
  };
  return Object.defineProperties(database, {
    open: { value: open },
    makeClient: { value: (more: ClientOptions) => clientOf(target, more) },
    embedded: { value: embedded },
  }) as ClosedDatabase;
}

export async function openDatabase(address: DatabaseAddress, options?: OpenDatabaseOptions): Promise<Database> {
  const database = createDatabase(address, options);
  await database.open();
  return database;
}

interface Unstarted {
  readonly database: Database;
  readonly start: () => Promise<void>;
  readonly target: Target;
  readonly embedded?: EmbeddedPostgres;
}

function unstarted(address: DatabaseAddress, options: OpenDatabaseOptions): Unstarted {
  if ('dataDir' in address) return inFolder(address, options);
  const target = 'url' in address ? address.url : { path: sharedSocket(address.sharedDataDir) };
  const { connections = 'url' in address ? 10 : connectionsOfMany } = options;
  return { database: over(connectionsTo(target, connections), pingOf(target)), start: async () => {}, target };
}

function inFolder(
  { dataDir, binFolder, processes = 1 }: Extract<DatabaseAddress, { dataDir: string }>,
  { observer, watch, connections = processes === 1 ? 10 : connectionsOfMany }: OpenDatabaseOptions,
): Unstarted {
  const ping = (limitMs: number) => pingOf({ path: embedded.socketPath })(limitMs);
  const embedded = new EmbeddedPostgres({
    dataDir,
    binFolder,
    // A few are left for heartbeats, for a backup, and for an operator who looks in.
    connections: Math.max(connectionsMin, connectionsOfMany * (processes + 1) + 8),
    probe: ping,
    observer,
    watch,
  });
  return {
    database: over(connectionsTo({ path: embedded.socketPath }, connections), ping, () => embedded.stop()),
    start: () => embedded.start(),
    target: { path: embedded.socketPath },
    embedded,
  };
}

type Ping = (limitMs: number) => Promise<void>;

function over(connections: Connections, ping: Ping, stop = async () => {}): Database {
  const asking: { now?: Promise<void> | undefined } = {};
  // One question answers all who doubt at the same moment.
  const ask = () => {
    asking.now ??= ping(askMs).finally(() => {
      asking.now = undefined;
    });
    return asking.now;
  };
  return databaseOver(
    connections,
    { waitMs, doubtMs, ask },
    {
      ping: (limitMs = askMs) => ping(limitMs),
      close: async () => {
        // What waits for a database that does not answer would hold up the end of the process.
        const isAnswering = await ping(askMs).then(
          () => true,
          () => false,
        );
        await connections.end(isAnswering ? closeSeconds : 0);
        await stop();
      },
    },
  );
}

/** Over a connection of its own, which is gone afterwards whatever happens: a database that hangs takes in any number of them. */
function pingOf(target: Target): Ping {
  return async (limitMs) => {
    const socket = isOneServer(target) ? ownSocket(limitMs, () => {}) : undefined;
    const client = clientOf(target, { max: 1, fetch_types: false, ...socket?.options });
    let timer: NodeJS.Timeout | undefined;
    try {
      await Promise.race([
        client`select 1`,
        new Promise((_, reject) => {
          timer = setTimeout(
            () => reject(new StarlingError('unavailable', `The database did not answer within ${limitMs} ms`)),
            limitMs,
          );
        }),
      ]);
    } catch (err) {
      throw explained(err);
    } finally {
      clearTimeout(timer);
      socket?.destroy();
      await client.end({ timeout: 0 });
    }
  };
}

/** A URL, or the socket of a Postgres of our own. */
type Target = string | { readonly path: string };

function connectionsTo(target: Target, max: number): Connections {
  return new Connections({
    make: (options) => clientOf(target, options),
    max,
    isOneServer: isOneServer(target),
    connectMs: connectSeconds * 1_000,
  });
}

function isOneServer(target: Target): boolean {
  return typeof target !== 'string' || !/^[^/?#]+\/\/[^/?#]*,/.test(target);
}

/** Whether there is one of our own on this data folder, running or not. */
export function isKept(dataDir: string): boolean {
  return existsSync(join(homeOf(dataDir).cluster, 'PG_VERSION'));
}

/** Whether a process keeps a Postgres on this folder now. */
export async function isShared(dataDir: string): Promise<boolean> {
  return (await holderOf(homeOf(dataDir).folder)) !== undefined;
}

/** Of the process that keeps a Postgres on this folder now. */
export function sharedSocket(dataDir: string): string {
  const socket = lastHolderOf(homeOf(dataDir).folder)?.postgresSocket;
  if (socket === undefined) {
    throw new StarlingError('unavailable', `no Starling that runs keeps its database in ${resolve(dataDir)}`);
  }
  return socket;
}

function clientOf(target: Target, options: ClientOptions): RawSql {
  const whole: ClientOptions = {
    connect_timeout: connectSeconds,
    idle_timeout: 60,
    max_lifetime: 60 * 30,
    connection: {
      application_name: 'starling',
      statement_timeout: statementMs,
      lock_timeout: lockMs,
      idle_in_transaction_session_timeout: transactionIdleMs,
    },
    // Each query that comes asks the server anew: who waits for a database that is away would rather know.
    backoff: () => retrySeconds,
    onnotice: () => {},
    types: { bigint: { to: 20, from: [20], serialize: (value: number) => String(value), parse: toCount } },
    ...options,
  };
  try {
    return typeof target === 'string'
      ? postgres(target, whole)
      : postgres({ ...whole, ...target, user: 'postgres', database: 'postgres' });
  } catch (err) {
    throw new StarlingError(
      'internal',
      `DATABASE_URL is no address of a Postgres: ${err instanceof Error ? err.message : err}`,
    );
  }
}

function toCount(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new StarlingError('internal', `${text} is more than a number can hold`);
  return value;
}

/** Those that are part of this program. */
export function ownMigrations(): Promise<readonly Migration[]> {
  return readMigrations(migrationFolder());
}

function migrationFolder(): string {
  const found = migrationPlaces
    .map((place) => fileURLToPath(new URL(place, import.meta.url)))
    .find((path) => existsSync(path));
  if (found === undefined) throw new StarlingError('internal', 'The build lacks the migrations folder');
  return found;
}
