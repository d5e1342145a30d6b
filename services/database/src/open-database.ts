/** Opens the database that the settings mean, with the newest tables in it. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Observer } from '@starling/ports';
import { StarlingError } from '@starling/protocol';
import postgres from 'postgres';
import { type Database, databaseOver } from './database.ts';
import { Embedded } from './embedded/embedded.ts';
import { type Migration, migrate, readMigrations } from './migrate.ts';

/** A Postgres by its URL, or one inside this process that keeps its files in a folder. */
export type DatabaseAddress = { readonly url: string } | { readonly dataDir: string };

export interface OpenDatabaseOptions {
  readonly observer?: Observer;
  /** Connections at once, to a Postgres by its URL. */
  readonly connections?: number;
}

/** Beside the bundle, or beside this file. */
const migrationPlaces = ['./migrations/'];
const connectSeconds = 5;
const statementMs = 15_000;
const lockMs = 5_000;
const transactionIdleMs = 15_000;
const waitMs = 20_000;
const closeSeconds = 5;
const retrySeconds = 0.1;

export interface ClosedDatabase extends Database {
  /**
   * Starts it where it is embedded, and brings its tables to the newest shape; until then nothing may be asked. Throws a
   * StarlingError whose text tells the operator what to mend, and leaves nothing open.
   */
  open(): Promise<void>;
}

/** Nothing has started when it returns. */
export function createDatabase(address: DatabaseAddress, options: OpenDatabaseOptions = {}): ClosedDatabase {
  const { database, start } = 'url' in address ? atUrl(address.url, options) : inFolder(address.dataDir, options);
  return Object.defineProperty(database as ClosedDatabase, 'open', {
    value: async () => {
      try {
        await start();
        await migrate(database, await ownMigrations());
      } catch (err) {
        await database.close();
        throw err;
      }
    },
  });
}

export async function openDatabase(address: DatabaseAddress, options?: OpenDatabaseOptions): Promise<Database> {
  const database = createDatabase(address, options);
  await database.open();
  return database;
}

interface Unstarted {
  readonly database: Database;
  readonly start: () => Promise<void>;
}

function atUrl(url: string, { connections = 10 }: OpenDatabaseOptions): Unstarted {
  const pool = poolOf(url, {
    max: connections,
    idle_timeout: 60,
    max_lifetime: 60 * 30,
    connection: {
      application_name: 'starling',
      statement_timeout: statementMs,
      lock_timeout: lockMs,
      idle_in_transaction_session_timeout: transactionIdleMs,
    },
  });
  return {
    database: databaseOver(pool, { waitMs }, () => pool.end({ timeout: closeSeconds })),
    start: async () => {},
  };
}

function inFolder(dataDir: string, { observer }: OpenDatabaseOptions): Unstarted {
  const embedded = new Embedded(dataDir, (err) => observer?.problem('the embedded database ended', { err }));
  const pool = poolOf(undefined, {
    path: embedded.socketPath,
    user: 'postgres',
    database: 'postgres',
    // Its messages get mixed up over more than one, and it cannot take back one that was let go.
    max: 1,
    idle_timeout: 0,
    max_lifetime: null,
  });
  return {
    database: databaseOver(pool, { waitMs }, async () => {
      await pool.end({ timeout: closeSeconds });
      await embedded.stop();
    }),
    start: () => embedded.start(),
  };
}

type PoolOptions = postgres.Options<{ bigint: postgres.PostgresType<number> }>;

function poolOf(url: string | undefined, options: PoolOptions): postgres.Sql<{ bigint: number }> {
  const whole: PoolOptions = {
    connect_timeout: connectSeconds,
    // Each query that comes asks the server anew: who waits for a database that is away would rather know.
    backoff: () => retrySeconds,
    onnotice: () => {},
    types: { bigint: { to: 20, from: [20], serialize: (value: number) => String(value), parse: toCount } },
    ...options,
  };
  try {
    return url === undefined ? postgres(whole) : postgres(url, whole);
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
