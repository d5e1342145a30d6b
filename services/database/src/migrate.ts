/** Brings the tables to the newest shape: plain numbered SQL files, forward only, each in a transaction of its own. */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { StarlingError } from '@starling/protocol';
import type { Database, Sql } from './database.ts';

export interface Migration {
  readonly name: string;
  readonly text: string;
}

/** Any number that no other program takes a lock by in this database. */
const lockNumber = 727_301;
/** Another program may be in the middle of a long one. */
const lockLimit = '60s';

/** In order. A file whose name is no migration's is none. */
export async function readMigrations(folder: string): Promise<readonly Migration[]> {
  const names = (await readdir(folder)).filter((name) => /^\d{4}_[a-z0-9_]+\.sql$/.test(name)).sort();
  return Promise.all(
    names.map(async (name) => ({
      name,
      // As git may have written them on another system.
      text: (await readFile(join(folder, name), 'utf8')).replaceAll('\r\n', '\n'),
    })),
  );
}

/**
 * Returns the names of those it ran. Safe to run in any number of programs at once. Migrations of a newer program are let
 * be: while programs are replaced one by one, the old ones must still start.
 */
export async function migrate(database: Database, migrations: readonly Migration[]): Promise<readonly string[]> {
  const ran: string[] = [];
  await database.tx(async (sql) => {
    await takeTurn(sql);
    await sql`
      create table if not exists schema_migrations (
        name text primary key,
        sha256 text not null,
        applied_at timestamptz not null default now()
      )`;
  });
  for (const { name, text } of migrations) {
    const sha256 = digestOf({ name, text });
    const isNew = await database.tx(async (sql) => {
      await takeTurn(sql);
      const [done] = await sql<Array<{ sha256: string }>>`select sha256 from schema_migrations where name = ${name}`;
      if (done !== undefined && done.sha256 !== sha256) {
        throw new StarlingError(
          'internal',
          `the migration ${name} is not the one that ran in this database. Migrations are never edited: put the file ` +
            'back as it was, and write the change as a new one with the next number',
        );
      }
      if (done !== undefined) return false;
      await sql.unsafe(text).simple();
      await sql`insert into schema_migrations (name, sha256) values (${name}, ${sha256})`;
      return true;
    });
    if (isNew) ran.push(name);
  }
  return ran;
}

/** What tells whether a migration is the one that ran. */
export function digestOf({ text }: Migration): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Until the end of the transaction no other program changes tables. */
export async function takeTurn(sql: Sql): Promise<void> {
  await sql`select set_config('lock_timeout', ${lockLimit}, true), set_config('statement_timeout', '0', true)`;
  await sql`select pg_advisory_xact_lock(${lockNumber})`;
}
