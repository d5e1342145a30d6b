/** The keyring of an installation: as the environment gives it, or made once and kept beside the embedded database. */
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { StarlingError } from '@starling/protocol';
import { appSecretPurpose, lockApps, webhookSecretPurpose } from './apps.ts';
import type { Database, Sql } from './database.ts';
import { explainedFolder, makeDataFolder } from './embedded/cluster.ts';
import { Keyring } from './keyring.ts';

const checkPurpose = 'installation';
const advice =
  'Give STARLING_SECRET_KEY the key that sealed the secrets in this database, or a new key, a comma, and that key';

/** What the secret of this user's authenticator app is sealed for. */
export function totpSecretPurpose(userId: string): string {
  return `totp:${userId}`;
}

/** Every column that holds sealed texts, so that none keeps an old key in use. `id` is unique in the table. */
const sealedColumns = [
  { table: 'app_keys', id: 'key', column: 'secret_sealed', purposeOf: appSecretPurpose },
  { table: 'webhook_endpoints', id: 'id', column: 'secret_sealed', purposeOf: webhookSecretPurpose },
  { table: 'users', id: 'id', column: 'totp_secret_sealed', purposeOf: totpSecretPurpose },
  { table: 'users', id: 'id', column: 'totp_offered_sealed', purposeOf: totpSecretPurpose },
] as const;

/** The key kept in the folder, made when it is the first time. Throws a StarlingError when the file is another's. */
export function keptKeyring(dataDir: string): Keyring {
  const path = resolve(dataDir, 'secret-key');
  const text = readIfThere(path) ?? keptIn(dataDir, path);
  const parsed = Keyring.parse(text.trim());
  if (parsed.ok) return parsed.value;
  // Never replaced: every secret in the database was sealed with it.
  throw new StarlingError('internal', `${path} is not the key that Starling wrote: put it back as it was`);
}

/**
 * Whether the secrets in this database open with these keys; at the first start they are what it is sealed with from then
 * on. Throws a StarlingError that says what to do. Then seals with the first key what an older one had sealed, so that
 * the older one may go.
 */
export async function adoptKeyring(database: Database, keyring: Keyring): Promise<void> {
  await database.tx((sql) => adoptKeyringIn(sql, keyring));
}

/** The same, inside of a transaction. */
export async function adoptKeyringIn(sql: Sql, keyring: Keyring): Promise<void> {
  await lockApps(sql);
  const [row] = await sql<Array<{ sealed_check: string }>>`select sealed_check from installation`;
  const check = (): string => keyring.seal('Starling', checkPurpose);
  if (row === undefined) {
    await sql`insert into installation ${sql({ sealed_check: check() })}`;
    return;
  }
  try {
    keyring.open(row.sealed_check, checkPurpose);
  } catch (err) {
    throw new StarlingError('internal', `this database was sealed with another key. ${advice}`, { cause: err });
  }
  if (keyring.isCurrent(row.sealed_check)) return;
  await sql`update installation set sealed_check = ${check()}`;
  for (const each of sealedColumns) await sealAgain(sql, keyring, each);
}

async function sealAgain(
  sql: Sql,
  keyring: Keyring,
  { table, id, column, purposeOf }: (typeof sealedColumns)[number],
): Promise<void> {
  const rows = await sql<Array<{ id: string; sealed: string }>>`
    select ${sql(id)} as id, ${sql(column)} as sealed from ${sql(table)} where ${sql(column)} is not null`;
  for (const row of rows.filter(({ sealed }) => !keyring.isCurrent(sealed))) {
    const purpose = purposeOf(row.id);
    const sealed = keyring.seal(keyring.open(row.sealed, purpose), purpose);
    await sql`update ${sql(table)} set ${sql(column)} = ${sealed} where ${sql(id)} = ${row.id}`;
  }
}

/** The text of the key kept in the folder, if there is one. */
export function keptKeyText(dataDir: string): string | undefined {
  return readIfThere(resolve(dataDir, 'secret-key'))?.trim();
}

function keptIn(dataDir: string, path: string): string {
  try {
    return keep(dataDir, path);
  } catch (err) {
    throw explainedFolder(err, resolve(dataDir));
  }
}

function keep(dataDir: string, path: string): string {
  makeDataFolder(dataDir);
  const half = `${path}.${process.pid}`;
  const file = openSync(half, 'w', 0o600);
  try {
    writeFileSync(file, `${Keyring.make()}\n`);
    // The rest of the folder is worth nothing without it.
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  try {
    linkSync(half, path);
  } catch (err) {
    if (!(err instanceof Error && 'code' in err && err.code === 'EEXIST')) throw err;
    // Another process was first, and its key is the one that counts.
  } finally {
    rmSync(half, { force: true });
  }
  return readFileSync(path, 'utf8');
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (err) {
    // A file in the place of the folder is said of the folder, when it is made.
    if (err instanceof Error && 'code' in err && (err.code === 'ENOENT' || err.code === 'ENOTDIR')) return undefined;
    throw explainedFolder(err, path);
  }
}
