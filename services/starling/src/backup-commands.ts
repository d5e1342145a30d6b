/** `starling backup` and `starling restore`: beside a Starling that runs, or alone. */
import { resolve } from 'node:path';
import {
  type BackupSummary,
  backUp,
  type ClosedDatabase,
  createDatabase,
  isKept,
  isShared,
  keptKeyring,
  keptKeyText,
  restore,
} from '@starling/database';
import type { DatabaseCommandSettings } from './config.ts';
import { throwDatabaseProblem } from './start-problems.ts';

export async function runBackup(settings: DatabaseCommandSettings, file: string): Promise<string> {
  const { DATABASE_URL: url, STARLING_SECRET_KEY: given, STARLING_DATA_DIR: dataDir } = settings;
  if (url === undefined && !isKept(dataDir)) {
    throw new Error(
      `There is no database in ${resolve(dataDir)}: set STARLING_DATA_DIR to the data folder of the Starling to back up, or ` +
        'DATABASE_URL to its Postgres.',
    );
  }
  // One that is given is kept by whoever gives it; the one in the folder would be lost with the folder.
  const secretKey = url === undefined && given === undefined ? keptKeyText(dataDir) : undefined;
  const summary = await withDatabase(settings, (database) => backUp(database, resolve(file), secretKey));
  const note =
    secretKey === undefined
      ? 'Restoring it takes the STARLING_SECRET_KEY of today'
      : 'It holds the key of your secrets, too: keep it where nobody else reads it';
  return `${counted(summary)} are in ${file}. ${note}.`;
}

export async function runRestore(settings: DatabaseCommandSettings, file: string): Promise<string> {
  const keyring = settings.STARLING_SECRET_KEY ?? keptKeyring(settings.STARLING_DATA_DIR);
  const summary = await withDatabase(settings, (database) => restore(database, resolve(file), keyring));
  return `${counted(summary)} are in the database now, and nothing else. A Starling that runs on it follows within seconds.`;
}

function counted({ tables, rows }: BackupSummary): string {
  return `${rows} rows of ${tables} tables`;
}

async function withDatabase<T>(
  settings: DatabaseCommandSettings,
  run: (database: ClosedDatabase) => Promise<T>,
): Promise<T> {
  const { DATABASE_URL: url, STARLING_DATA_DIR: dataDir, STARLING_POSTGRES_BIN: binFolder } = settings;
  const database = createDatabase(
    url !== undefined ? { url } : (await isShared(dataDir)) ? { sharedDataDir: dataDir } : { dataDir, binFolder },
  );
  await database.open().catch((err: unknown) => throwDatabaseProblem(err, url));
  try {
    return await run(database);
  } finally {
    await database.close();
  }
}
