/** The folder of the embedded Postgres: where it lies, to whom it belongs, and what is refused. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fsyncSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { StarlingError } from '@starling/protocol';
import { type Programs, reaches, type User } from './programs.ts';

/**
 * Postgres refuses to run as root. Not as "nobody", which other daemons are, too, and could then read the folder: a
 * number between those that distributions, containers and systemd give out (60578 to 61183 is left free by all).
 */
const rootUser: User = { uid: 60_818, gid: 60_818 };
/** initdb insists on a user with an entry in /etc/passwd. It is "nobody" for that second, and nothing is in it yet. */
const initdbUser: User = { uid: 65_534, gid: 65_534 };
/** For a data folder that the user above cannot reach. */
const elsewhere = '/var/lib/starling';

export function postgresUser(): User | undefined {
  return process.getuid?.() === 0 ? rootUser : undefined;
}

export interface Home {
  /** Ours: the lock, the links, and in it the cluster, which belongs to the user of Postgres. */
  readonly folder: string;
  readonly cluster: string;
  /** Not in the data folder itself. */
  readonly isElsewhere: boolean;
}

/** Where the home of this data folder is; it need not be there yet. */
export function homeOf(dataDir: string): Home {
  const link = join(resolve(dataDir), 'postgres');
  const folder = existsSync(link) ? realpathSync(link) : link;
  return { folder, cluster: join(folder, 'cluster'), isElsewhere: folder.startsWith(`${elsewhere}/`) };
}

/** Makes it where it is missing. Throws a StarlingError that names the setting and what to do. */
export function prepareHome(dataDir: string): Home {
  const own = resolve(dataDir);
  try {
    makeDataFolder(own);
    return placed(own);
  } catch (err) {
    throw explainedFolder(err, own);
  }
}

/** For others than its owner only to pass through, where Postgres runs as another user: what is in it stays closed. */
export function makeDataFolder(dataDir: string): void {
  const own = resolve(dataDir);
  // One by one: where a file system has parents that take no folders, such as /proc, Node's `recursive` never returns.
  if (existsSync(own)) {
    if (!statSync(own).isDirectory()) throw Object.assign(new Error(`${own} is a file`), { code: 'EEXIST' });
    return;
  }
  if (dirname(own) !== own) makeDataFolder(dirname(own));
  try {
    makeFolder(own);
  } catch (err) {
    // Another process was first.
    if (existsSync(own)) return;
    if (!(err instanceof Error && 'code' in err && err.code === 'ENOENT')) throw err;
    throw Object.assign(new Error('no folder can be made there', { cause: err }), { code: 'ENOTSUP' });
  }
}

/** As open as it must be, and no more, whatever the umask is. */
function makeFolder(path: string): void {
  const mode = postgresUser() === undefined ? 0o700 : 0o711;
  mkdirSync(path, { mode });
  chmodSync(path, mode);
}

function placed(own: string): Home {
  const link = join(own, 'postgres');
  const user = postgresUser();
  const there = lstatSync(link, { throwIfNoEntry: false });
  if (there === undefined) {
    const folder = user === undefined || reaches(user, join(realpathSync(own), 'x')) ? link : elsewhereFor(own);
    if (folder !== link && !existsSync(elsewhere)) makeFolder(elsewhere);
    if (!existsSync(folder)) makeFolder(folder);
    // A link, so that it is found again after the data folder was moved or opened to others.
    if (folder !== link) symlinkSync(folder, link);
  } else if (there.isSymbolicLink() && !existsSync(link)) {
    throw new StarlingError(
      'unavailable',
      `${link} leads to ${readlinkSync(link)}, which is not there: put it back, or remove the link to begin empty`,
    );
  }
  const home = homeOf(own);
  refuseFormerKind(home);
  refuseForeign(home, own, user);
  return home;
}

function elsewhereFor(own: string): string {
  return join(elsewhere, createHash('sha256').update(realpathSync(own)).digest('hex').slice(0, 16));
}

function refuseFormerKind({ folder }: Home): void {
  if (!existsSync(join(folder, 'data', 'PG_VERSION'))) return;
  throw new StarlingError(
    'unavailable',
    `${folder} holds the embedded database of an earlier version (PGlite), which this one does not read. Move the folder ` +
      'away to begin empty; to keep your app, give STARLING_APP_ID, STARLING_APP_KEY and STARLING_APP_SECRET as they were',
  );
}

function refuseForeign({ folder, cluster, isElsewhere }: Home, own: string, user: User | undefined): void {
  const uid = user?.uid ?? process.getuid?.();
  const owner = statSync(cluster, { throwIfNoEntry: false })?.uid ?? uid;
  if (owner !== uid) {
    throw new StarlingError(
      'unavailable',
      `${cluster} belongs to the user ${owner}, and Postgres would run as ${uid} here. Start as the user that started ` +
        `before, give another STARLING_DATA_DIR, or hand it over: chown -R ${uid} ${cluster}`,
    );
  }
  if (!isElsewhere) return;
  // A copy of a data folder has the link, too, and would go on in the cluster of the original.
  const note = join(folder, 'belongs-to');
  const former = existsSync(note) ? readFileSync(note, 'utf8') : undefined;
  const here = realpathSync(own);
  if (former === here) return;
  const others = former === undefined ? undefined : statSync(join(former, 'postgres'), { throwIfNoEntry: false });
  if (others !== undefined && others.ino === statSync(folder).ino) {
    throw new StarlingError(
      'unavailable',
      `${own} is a copy of ${former}, whose database lies in ${folder}: remove the link ${join(own, 'postgres')} to ` +
        'begin empty, and bring the content over with: starling backup, starling restore',
    );
  }
  writeFileSync(note, here, { mode: 0o600 });
}

/**
 * Makes the cluster where there is none: whole or not at all. Refuses one that is of another version. Called with the
 * home locked.
 */
export async function prepareCluster({ folder, cluster }: Home, programs: Programs): Promise<void> {
  try {
    for (const name of readdirSync(folder).filter((each) => each.startsWith('new-'))) {
      rmSync(join(folder, name), { recursive: true, force: true });
    }
    if (!existsSync(cluster)) await makeCluster(folder, cluster, programs);
    const version = readFileSync(join(cluster, 'PG_VERSION'), 'utf8').trim();
    if (version !== String(programs.major)) throw otherVersion(cluster, Number(version), programs.major);
  } catch (err) {
    throw explainedFolder(err, folder);
  }
}

function otherVersion(cluster: string, theirs: number, ours: number): StarlingError {
  const advice =
    theirs > ours
      ? 'Start the newer Starling that made it'
      : 'Bring the content over: starling backup with the version that made it, starling restore with this one';
  return new StarlingError(
    'unavailable',
    `${cluster} is of Postgres ${theirs}, and this is Postgres ${ours}. ${advice}, or set STARLING_POSTGRES_BIN to the ` +
      `bin folder of a Postgres ${theirs}`,
  );
}

async function makeCluster(folder: string, cluster: string, { initdb, env }: Programs): Promise<void> {
  const user = postgresUser();
  const maker = user === undefined ? undefined : initdbUser;
  // Every other process of that user can enter only while it is made.
  const half = mkdtempSync(join(folder, 'new-'));
  if (maker !== undefined) chownSync(half, maker.uid, maker.gid);
  const options = ['-U', 'postgres', '-E', 'UTF8', '--locale=C', '--no-instructions', '--wal-segsize=4'];
  const logins = ['--auth-local=trust', '--auth-host=reject'];
  try {
    await promisify(execFile)(initdb, ['-D', half, ...options, ...logins], { ...maker, env, cwd: '/' });
  } catch (err) {
    rmSync(half, { recursive: true, force: true });
    const text = (err as { stderr?: string }).stderr?.trim() || (err instanceof Error ? err.message : String(err));
    if (/could not look up effective user/.test(text)) {
      throw new StarlingError(
        'unavailable',
        `Postgres cannot make its folder as a user without an entry in /etc/passwd (${process.getuid?.()}): start as one ` +
          'that has one, or set DATABASE_URL',
      );
    }
    throw problemWith(cluster, text);
  }
  if (user !== undefined) giveTo(half, user);
  renameSync(half, cluster);
  syncFolder(dirname(cluster));
}

function giveTo(folder: string, { uid, gid }: User): void {
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const path = join(folder, name);
    // Root must not follow a link, or give away a file that has another name elsewhere.
    const { nlink } = lstatSync(path);
    if (!lstatSync(path).isDirectory() && nlink > 1) throw new StarlingError('internal', `${path} has another name`);
    lchownSync(path, uid, gid);
  }
  lchownSync(folder, uid, gid);
}

function syncFolder(folder: string): void {
  const file = openSync(folder, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** What Postgres wrote before it ended, as one line that says what to do. */
export function problemWith(cluster: string, text: string): StarlingError {
  const advice = /No space left on device|Disk quota exceeded/.test(text)
    ? `The disk of ${cluster} is full: free some of it, or give another STARLING_DATA_DIR`
    : /Read-only file system/.test(text)
      ? `${cluster} lies on a read-only file system: give another STARLING_DATA_DIR`
      : `The embedded Postgres in ${cluster} ended`;
  const lines = text.split('\n').filter((line) => /FATAL|PANIC|error/i.test(line));
  const last = (lines[0] ?? text.trim().split('\n').at(-1) ?? '').replace(/^[\d-]+ [\d:.]+ UTC \[\d+\] /, '');
  return new StarlingError('unavailable', last === '' ? advice : `${advice}. It said: ${last}`);
}

const folderProblems: Readonly<Record<string, string>> = {
  ENOSPC: 'its disk is full: free some of it',
  EDQUOT: 'the disk quota is used up: free some of it',
  EACCES: 'it belongs to another user, or one of the folders above it is closed',
  EPERM: 'it belongs to another user, or one of the folders above it is closed',
  EROFS: 'it lies on a read-only file system',
  ENOTDIR: 'one of the names on the way to it is no folder',
  EEXIST: 'there is a file of that name',
  EISDIR: 'there is a folder in the place of a file',
};

/** The same error, or one that names the setting. */
export function explainedFolder(err: unknown, folder: string): unknown {
  if (!(err instanceof Error) || err instanceof StarlingError || !('code' in err)) return err;
  const problem = folderProblems[String(err.code)] ?? err.message;
  return new StarlingError(
    'unavailable',
    `STARLING_DATA_DIR: ${folder} cannot be used: ${problem}. Give another STARLING_DATA_DIR, or set DATABASE_URL`,
    { cause: err },
  );
}
