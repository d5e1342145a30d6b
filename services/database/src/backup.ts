/**
 * Everything in the database as a file, and back: the rows of all tables as of one moment, as text. Any version of Postgres
 * takes it, so this is also the way from the embedded one to a server.
 */
import { createReadStream, createWriteStream, realpathSync, renameSync, rmSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { StarlingError } from '@starling/protocol';
import type { RawSql } from './connections.ts';
import { Keyring } from './keyring.ts';
import { digestOf, takeTurn } from './migrate.ts';
import { type ClosedDatabase, ownMigrations } from './open-database.ts';
import { adoptKeyringIn } from './secret-key.ts';

const format = 'starling-backup';
const formatVersion = 1;
/** Holds what is restored until it is known to be whole and of the newest shape. */
const scratch = 'starling_restore';
/** Read and written at once. */
const [batchRows, batchBytes] = [500, 1_000_000] as const;

interface Header {
  readonly format: typeof format;
  readonly version: number;
  readonly madeAt: string;
  /** Those that had run, in order: they say what the rows look like. */
  readonly migrations: ReadonlyArray<{ readonly name: string; readonly sha256: string }>;
  /** What the secrets in the rows are sealed with, where the installation keeps it beside its database. */
  readonly secretKey?: string;
}

interface Table {
  readonly table: string;
  readonly columns: readonly string[];
}

export interface BackupSummary {
  readonly tables: number;
  readonly rows: number;
}

/**
 * Writes the file whole or not at all, readable by its owner only. The database is in use meanwhile. Rejects with
 * `unavailable` where it cannot be written: in no folder, without room, or because it is something else than a file.
 */
export async function backUp(
  database: ClosedDatabase,
  path: string,
  secretKey: string | undefined,
): Promise<BackupSummary> {
  const file = fileAt(path);
  const half = `${file}.${process.pid}.half`;
  const counted = { tables: 0, rows: 0 };
  try {
    await withClient(database, async (sql) => {
      await sql.unsafe('begin isolation level repeatable read read only');
      await pipeline(
        Readable.from(textOf(sql, secretKey, counted)),
        createGzip(),
        createWriteStream(half, { mode: 0o600, flags: 'wx' }),
      );
      await sql.unsafe('commit');
    });
    await synced(half);
    renameSync(half, file);
  } catch (err) {
    throw isOfFiles(err) ? new StarlingError('unavailable', `${file} cannot be written: ${wordsOf(err)}`) : err;
  } finally {
    rmSync(half, { force: true });
  }
  return counted;
}

/** The whole file takes the place of what was there: behind a link; and of a device or a folder it must not. */
function fileAt(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return path;
  if (!found.isFile()) throw new StarlingError('unavailable', `${path} is no file: name one that is to be written`);
  return realpathSync(path);
}

type FileError = Error & { readonly code: string; readonly syscall: string };

/** Of the file system, and not of a connection. */
function isOfFiles(err: unknown): err is FileError {
  return err instanceof Error && 'syscall' in err && ['open', 'write', 'fsync', 'rename'].includes(String(err.syscall));
}

const fileProblems: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such folder',
  ENOTDIR: 'there is no such folder',
  EACCES: 'that is not allowed',
  EROFS: 'nothing can be written there',
  ENOSPC: 'the disk is full',
};

function wordsOf({ code, message }: FileError): string {
  return fileProblems[code] ?? message;
}

async function* textOf(
  sql: RawSql,
  secretKey: string | undefined,
  counted: { tables: number; rows: number },
): AsyncGenerator<string> {
  const migrations = await sql<Header['migrations'][number][]>`
    select name, sha256 from schema_migrations order by name`;
  const header: Header = {
    format,
    version: formatVersion,
    madeAt: new Date().toISOString(),
    migrations: migrations.map(({ name, sha256 }) => ({ name, sha256 })),
    ...(secretKey === undefined ? {} : { secretKey }),
  };
  yield `${JSON.stringify(header)}\n`;
  for (const table of await tablesIn(sql, 'public')) {
    counted.tables++;
    yield `${JSON.stringify(table)}\n`;
    // As text that Postgres writes and reads itself: numbers in it are larger than ours, moments finer. Not by COPY: the
    // library tells nobody when one fails at its end.
    const rows = sql<Array<{ row: string }>>`
      select row_to_json(each)::text as row from (select ${sql(table.columns)} from ${sql(table.table)}) as each`;
    for await (const batch of rows.cursor(batchRows)) {
      counted.rows += batch.length;
      yield batch.map(({ row }) => `${row}\n`).join('');
    }
    yield '\n';
  }
  // A file that was cut off has none.
  yield `${JSON.stringify({ end: counted })}\n`;
}

/** Those that are pointed at come before those that point at them. */
async function tablesIn(sql: RawSql, schema: string): Promise<readonly Table[]> {
  const tables = await sql<Array<{ table: string; columns: string[]; needs: string[] }>>`
    select relname as table,
      (select array_agg(attname order by attnum) from pg_attribute
        where attrelid = pg_class.oid and attnum > 0 and not attisdropped and attgenerated = '') as columns,
      (select coalesce(array_agg(other.relname), '{}') from pg_constraint
        join pg_class as other on other.oid = confrelid
        where conrelid = pg_class.oid and contype = 'f' and confrelid <> conrelid) as needs
    from pg_class
    where relnamespace = ${schema}::regnamespace and relkind = 'r' and relname <> 'schema_migrations'
    order by relname`;
  const sorted: Table[] = [];
  let left = [...tables];
  while (left.length > 0) {
    const names = new Set(left.map(({ table }) => table));
    const free = left.filter(({ needs }) => !needs.some((name) => names.has(name)));
    if (free.length === 0) throw new StarlingError('internal', `The tables ${[...names]} point at one another`);
    sorted.push(...free.map(({ table, columns }) => ({ table, columns })));
    left = left.filter((each) => !free.includes(each));
  }
  return sorted;
}

/**
 * Replaces everything in the database by what is in the file, in one transaction: where anything is wrong with it, nothing
 * has changed. Secrets are sealed with the first key of `keyring` afterwards. Programs that run on the database follow
 * within seconds.
 */
export async function restore(database: ClosedDatabase, file: string, keyring: Keyring): Promise<BackupSummary> {
  const unzipped = createGunzip();
  // Its errors come out at the end where it is read.
  pipeline(createReadStream(file), unzipped).catch((err) => unzipped.destroy(err));
  const lines = linesOf(unzipped);
  const next = async (): Promise<Buffer | undefined> => {
    try {
      const read = await lines.next();
      return read.done === true ? undefined : read.value;
    } catch (err) {
      throw damaged(file, err instanceof Error ? err.message : String(err));
    }
  };
  const header = parsed<Header>(await next(), file);
  if (header.format !== format) throw damaged(file, 'it does not begin as a backup does');
  if (header.version !== formatVersion) throw newer(file);
  const pending = await migrationsAfter(header, file);

  return withClient(database, async (sql) => {
    await sql.unsafe('begin');
    await takeTurn(sql);
    await sql.unsafe(`drop schema if exists ${scratch} cascade; create schema ${scratch}`).simple();
    await sql.unsafe(`set local search_path = ${scratch}`);
    for (const { text } of pending.done) await sql.unsafe(text).simple();
    const summary = await load(sql, next, file);
    for (const { text } of pending.left) await sql.unsafe(text).simple();
    await sql.unsafe('set local search_path = public');
    await replaceAll(sql);
    await sql.unsafe(`drop schema ${scratch} cascade`);
    await adoptKeyringIn(
      sql,
      header.secretKey === undefined ? keyring : keyring.followedBy(parsedKey(header.secretKey, file)),
    );
    await sql.unsafe('commit');
    return summary;
  });
}

async function migrationsAfter(header: Header, file: string) {
  const own = await ownMigrations();
  for (const [index, { name, sha256 }] of header.migrations.entries()) {
    const ours = own[index];
    if (ours === undefined) throw newer(file);
    if (ours.name !== name || digestOf(ours) !== sha256) {
      throw new StarlingError(
        'internal',
        `${file} is of another Starling: its tables were made by ${name}, which is not ours`,
      );
    }
  }
  const { length } = header.migrations;
  return { done: own.slice(0, length), left: own.slice(length) };
}

async function load(sql: RawSql, next: () => Promise<Buffer | undefined>, file: string): Promise<BackupSummary> {
  const counted = { tables: 0, rows: 0 };
  for (;;) {
    const line = parsed<Partial<Table> & { end?: BackupSummary }>(await next(), file);
    if (line.end !== undefined) {
      const { tables, rows } = line.end;
      if (tables !== counted.tables || rows !== counted.rows) throw damaged(file, 'rows are missing');
      return counted;
    }
    const { table = '', columns = [] } = line;
    counted.tables++;
    let batch: string[] = [];
    let bytes = 0;
    const write = async () => {
      const text = `[${batch.join(',')}]`;
      await sql`
        insert into ${sql(table)} (${sql(columns)}) overriding system value
        select ${sql(columns)} from jsonb_populate_recordset(null::${sql(table)}, ${text}::text::jsonb)`;
      counted.rows += batch.length;
      batch = [];
      bytes = 0;
    };
    for (;;) {
      const row = await next();
      if (row === undefined) throw damaged(file, 'it ends in the middle');
      // An empty line ends the table.
      if (row.length === 0) break;
      batch.push(row.toString('utf8'));
      bytes += row.length;
      if (batch.length === batchRows || bytes > batchBytes) await write();
    }
    if (batch.length > 0) await write();
  }
}

/** From the scratch schema into the tables that programs use, and so that each of them reads all apps again. */
async function replaceAll(sql: RawSql): Promise<void> {
  const tables = await tablesIn(sql, scratch);
  const former = await sql<Array<{ id: string }>>`select id from public.apps`;
  const names = tables.map(({ table }) => `public."${table}"`).join(', ');
  // Its numbers go on: a program that knows the feed up to one of them must not meet it again with another meaning.
  await sql.unsafe(`truncate ${names}`);
  for (const { table, columns } of tables) {
    const [from, into] = [sql(`${scratch}.${table}`), sql(`public.${table}`)];
    await sql`insert into ${into} (${sql(columns)}) overriding system value select ${sql(columns)} from ${from}`;
  }
  const numbered = await sql<Array<{ table: string; column: string; sequence: string }>>`
    select relname as table, attname as column, pg_get_serial_sequence(quote_ident(relname), attname) as sequence
    from pg_attribute join pg_class on pg_class.oid = attrelid
    where relnamespace = 'public'::regnamespace and relkind = 'r' and attidentity <> ''`;
  for (const { table, column, sequence } of numbered) {
    await sql`
      select setval(${sequence}, greatest(
        nextval(${sequence}), (select coalesce(max(${sql(column)}), 1) from ${sql(table)})))`;
  }
  await sql`
    with changes as (
      insert into app_changes (app_id)
      select id from apps union select unnest(${former.map(({ id }) => id)}::text[])
      returning seq, app_id
    )
    update apps set version = changes.seq from changes where changes.app_id = apps.id`;
}

const newline = 0x0a;

/** Split at line feeds and nothing else: texts may hold every other sign that ends a line somewhere. */
async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let rest: Buffer[] = [];
  for await (const chunk of chunks) {
    let from = 0;
    for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, from)) {
      yield Buffer.concat([...rest, chunk.subarray(from, at)]);
      rest = [];
      from = at + 1;
    }
    rest.push(chunk.subarray(from));
  }
}

function parsed<T>(line: Buffer | undefined, file: string): T {
  if (line === undefined) throw damaged(file, 'it ends in the middle');
  try {
    return JSON.parse(line.toString('utf8')) as T;
  } catch {
    throw damaged(file, 'a line of it cannot be read');
  }
}

function parsedKey(text: string, file: string): Keyring {
  const read = Keyring.parse(text.trim());
  if (!read.ok) throw damaged(file, 'its key cannot be read');
  return read.value;
}

function damaged(file: string, problem: string): StarlingError {
  return new StarlingError('internal', `${file} is not a whole backup: ${problem}. Nothing was changed`);
}

function newer(file: string): StarlingError {
  return new StarlingError('internal', `${file} was made by a newer Starling: restore it with that one`);
}

/** One connection, on which nothing is in a hurry; when it is gone, Postgres takes back what was not committed. */
async function withClient<T>(database: ClosedDatabase, run: (sql: RawSql) => Promise<T>): Promise<T> {
  const sql = database.makeClient({
    max: 1,
    connection: { application_name: 'starling-backup', statement_timeout: 0, lock_timeout: 60_000, TimeZone: 'UTC' },
    idle_timeout: 0,
    max_lifetime: null,
  });
  try {
    return await run(sql);
  } finally {
    await sql.end({ timeout: 0 });
  }
}

async function synced(path: string): Promise<void> {
  const file = await open(path);
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
