/** Databases for the tests of any room: in the Postgres that the test run has started, empty before each test. */
import { createHash, randomBytes } from 'node:crypto';
import postgres from 'postgres';
import { afterAll, beforeAll, beforeEach, inject } from 'vitest';
import type { Database } from './database.ts';
import { openDatabase, ownMigrations } from './open-database.ts';

declare module 'vitest' {
  interface ProvidedContext {
    postgresUrl: string;
  }
}

export interface TestDatabase extends Database {
  /** What another program would be given to use the same database. */
  readonly address: { readonly url: string };
  /** What another node has: connections of its own. Closed with this one. */
  openAnother(): Promise<Database>;
}

/** To be called where tests are described, in an `.int.test.ts`: opens before the first of them, empties before each, closes after the last. */
export function databaseOf(): TestDatabase {
  const opened: { own?: Database; address?: TestDatabase['address']; remove?: () => Promise<void> } = {};
  const others: Database[] = [];
  const own = (): Database => {
    if (opened.own === undefined) throw new Error('The database is open only while a test or its hooks run');
    return opened.own;
  };
  const address = (): TestDatabase['address'] => {
    if (opened.address === undefined) throw new Error('The database has an address only while a test or its hooks run');
    return opened.address;
  };

  beforeAll(async () => {
    const made = await makeDatabase(inject('postgresUrl'));
    opened.address = made.address;
    opened.remove = made.remove;
    opened.own = await openDatabase(made.address);
  });
  beforeEach(() => empty(own()));
  afterAll(async () => {
    await Promise.all(others.map((other) => other.close()));
    await opened.own?.close();
    await opened.remove?.();
  });

  // Not the database itself: it is not open yet.
  const shared: Database = {
    get sql() {
      return own().sql;
    },
    tx: (run) => own().tx(run),
    afterCommit: (run) => own().afterCommit(run),
    ping: (limitMs) => own().ping(limitMs),
    close: async () => undefined,
  };
  return Object.defineProperties(shared, {
    address: { get: address },
    openAnother: {
      value: async (): Promise<Database> => {
        const other = await openDatabase(address());
        others.push(other);
        return other;
      },
    },
  }) as TestDatabase;
}

async function empty({ sql }: Database): Promise<void> {
  const tables = await sql<Array<{ name: string }>>`
    select quote_ident(tablename) as name from pg_tables where schemaname = 'public' and tablename <> 'schema_migrations'`;
  await sql.unsafe(`truncate ${tables.map(({ name }) => name).join(', ')} restart identity cascade`);
}

interface Made {
  readonly address: TestDatabase['address'];
  remove(): Promise<void>;
}

/** A copy of one that has been migrated once for all tests with these migrations. */
async function makeDatabase(serverUrl: string | undefined): Promise<Made> {
  if (serverUrl === undefined) throw new Error('A test that needs a Postgres server belongs into an .int.test.ts');
  const text = JSON.stringify(await ownMigrations());
  const template = `starling_template_${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
  const name = `starling_test_${randomBytes(8).toString('hex')}`;
  await withServer(serverUrl, async (sql) => {
    await sql`select pg_advisory_lock(727302)`;
    const [found] = await sql`select from pg_database where datname = ${template}`;
    if (found === undefined) {
      const half = `${template}_${randomBytes(4).toString('hex')}`;
      await sql`create database ${sql(half)}`;
      await (await openDatabase({ url: urlOf(serverUrl, half) })).close();
      await sql`alter database ${sql(half)} rename to ${sql(template)}`;
    }
    await sql`create database ${sql(name)} template ${sql(template)}`;
  });
  return {
    address: { url: urlOf(serverUrl, name) },
    remove: () => withServer(serverUrl, (sql) => sql`drop database ${sql(name)} with (force)`),
  };
}

async function withServer(url: string, run: (sql: postgres.Sql) => Promise<unknown>): Promise<void> {
  // One connection: the lock is the connection's.
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    await run(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

function urlOf(serverUrl: string, name: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}
