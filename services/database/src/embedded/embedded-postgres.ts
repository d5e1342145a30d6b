/** A Postgres of our own: a child process on a folder, reached by a unix socket only, and watched while it runs. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Observer } from '@starling/ports';
import { StarlingError } from '@starling/protocol';
import {
  explainedFolder,
  type Home,
  homeOf,
  postgresUser,
  prepareCluster,
  prepareHome,
  problemWith,
} from './cluster.ts';
import { lastHolderOf, lockFolder } from './folder-lock.ts';
import { findPrograms, type Programs, reaches } from './programs.ts';

export interface WatchLimits {
  /** From the end of one heartbeat to the next. */
  readonly everyMs: number;
  /** A Postgres that answered nothing for so long is taken for hung, and killed. */
  readonly hangMs: number;
  /** Before the first restart; each further one in a row waits twice as long as the one before. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  /** One that lived so long did not die of its start: the counting begins again. */
  readonly longLifeMs: number;
}

export const defaultWatch: WatchLimits = {
  everyMs: 2_000,
  hangMs: 12_000,
  firstPauseMs: 100,
  longestPauseMs: 10_000,
  longLifeMs: 60_000,
};

export interface EmbeddedPostgresOptions {
  readonly dataDir: string;
  readonly binFolder?: string | undefined;
  readonly connections: number;
  /** Resolves when it answered; rejects when it did not within the limit. */
  readonly probe: (limitMs: number) => Promise<void>;
  readonly observer?: Observer | undefined;
  readonly watch?: Partial<WatchLimits> | undefined;
}

const startLimitMs = 60_000;
const stopLimitMs = 3_000;
const staleLimitMs = 2_000;
const goneLimitMs = 5_000;
const socketName = '.s.PGSQL.5432';

export class EmbeddedPostgres {
  /** Where it listens while it runs: the same over all its restarts. */
  readonly socketPath: string;
  readonly #socketFolder: string;
  readonly #options: EmbeddedPostgresOptions;
  readonly #limits: WatchLimits;
  #home: Home;
  #programs: Programs | undefined;
  #child: ChildProcess | undefined;
  #unlock: () => void = () => {};
  #stopping: Promise<void> | undefined;
  #restartCount = 0;
  /** Ends in a row that came soon after a start. */
  #shortLives = 0;
  #lastProblem = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(options: EmbeddedPostgresOptions) {
    this.#options = options;
    this.#limits = { ...defaultWatch, ...options.watch };
    this.#home = homeOf(options.dataDir);
    this.#socketFolder = join(socketPlace(), `starling-${randomBytes(8).toString('hex')}`);
    this.socketPath = join(this.#socketFolder, socketName);
  }

  get home(): Home {
    return this.#home;
  }

  /** How often it died or hung, and was started again. */
  get restartCount(): number {
    return this.#restartCount;
  }

  /** Throws a StarlingError that says what to do; then nothing runs, and nothing is locked. */
  async start(): Promise<void> {
    const { dataDir, binFolder } = this.#options;
    this.#home = prepareHome(dataDir);
    const former = lastHolderOf(this.#home.folder)?.postgresSocket;
    const { folder } = this.#home;
    const explain = (err: unknown): never => {
      throw explainedFolder(err, folder);
    };
    this.#unlock = await lockFolder(folder, this.socketPath).catch(explain);
    try {
      if (former !== undefined) removeSocket(former);
      this.#programs = await findPrograms({
        binFolder,
        linkFolder: join(folder, 'lib'),
        copyFolder: '/var/lib/starling',
        user: postgresUser(),
      }).catch(explain);
      await prepareCluster(this.#home, this.#programs);
      await this.#run(startLimitMs);
    } catch (err) {
      await this.stop();
      throw err;
    }
  }

  /** In order while it answers; else it is killed, which loses nothing that was acknowledged. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    clearTimeout(this.#timer);
    const child = this.#child;
    if (child !== undefined && isRunning(child)) {
      const isAnswering = await this.#options.probe(500).then(
        () => true,
        () => false,
      );
      const exited = once(child, 'exit');
      // INT: sessions are ended, and the files are left as after a shutdown.
      if (isAnswering) child.kill('SIGINT');
      const isInTime = isAnswering && (await Promise.race([exited, delay(stopLimitMs, false, { ref: false })]));
      if (isInTime === false) killAll(this.#home.cluster, child);
      await exited;
      await gone(this.#home.cluster, stopLimitMs);
    }
    rmSync(this.#socketFolder, { recursive: true, force: true });
    this.#unlock();
  }

  /** Resolves when it takes connections. */
  async #run(limitMs: number): Promise<void> {
    const { cluster } = this.#home;
    await endStale(cluster);
    if (this.#stopping !== undefined) throw new StarlingError('unavailable', 'it is being stopped');
    this.#makeSocketFolder();
    const child = this.#spawn();
    this.#child = child;
    const startedAtMs = performance.now();
    let output = '';
    let isReady = false;
    child.once('exit', async () => {
      // Its last words come after its end; a process of it that is frozen would keep us waiting for them.
      await Promise.race([once(child, 'close'), delay(300)]);
      if (isReady) void this.#ended(problemWith(cluster, output), startedAtMs);
      else rejectReady(problemWith(cluster, output));
    });
    let rejectReady: (err: Error) => void = () => {};
    const ready = new Promise<void>((resolve, reject) => {
      rejectReady = reject;
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        output = (output + text).slice(-8_000);
        if (!isReady && output.includes('database system is ready to accept connections')) {
          isReady = true;
          output = '';
          resolve();
        }
      });
      child.once('error', reject);
    });
    const limit = new AbortController();
    try {
      await Promise.race([
        ready,
        delay(limitMs, undefined, { signal: limit.signal }).then(() => {
          throw new StarlingError(
            'unavailable',
            `the embedded Postgres was not ready after ${limitMs} ms: ${output.trim()}`,
          );
        }),
      ]);
    } catch (err) {
      killAll(cluster, child);
      throw err;
    } finally {
      limit.abort();
    }
    watchParent(child, this.#socketFolder);
    this.#scheduleBeat(0);
  }

  #spawn(): ChildProcess {
    const programs = this.#programs;
    if (programs === undefined) throw new StarlingError('internal', 'The programs of Postgres were not looked for');
    const settings = [...settingsOf(programs.major), `max_connections=${this.#options.connections}`];
    return spawn(
      programs.postgres,
      [
        ...['-D', this.#home.cluster, '-k', this.#socketFolder, '-p', '5432'],
        ...settings.flatMap((each) => ['-c', each]),
      ],
      {
        ...postgresUser(),
        env: programs.env,
        cwd: '/',
        stdio: ['ignore', 'ignore', 'pipe'],
        // Ctrl-C in a terminal goes to a whole group: we stop it when our own work is done.
        detached: true,
      },
    );
  }

  /** The socket asks for no password: only its user, and root, can enter the folder. */
  #makeSocketFolder(): void {
    if (existsSync(this.#socketFolder)) return;
    try {
      mkdirSync(this.#socketFolder, { mode: 0o700 });
      const user = postgresUser();
      if (user !== undefined) chownSync(this.#socketFolder, user.uid, user.gid);
    } catch (err) {
      const problem = err instanceof Error ? err.message : String(err);
      throw new StarlingError(
        'unavailable',
        `the socket of the embedded Postgres cannot be made: ${problem}. Set TMPDIR to a folder that can be written`,
        { cause: err },
      );
    }
  }

  /**
   * `silentMs`: for how long it has been asked without an answer. Added up from what each question allows, and not read
   * from a clock: when it was this process that stood still, its answer is there, unread, and one question is lost.
   */
  #scheduleBeat(silentMs: number): void {
    const { everyMs, hangMs } = this.#limits;
    const child = this.#child;
    this.#timer = setTimeout(() => {
      const limitMs = Math.max(500, Math.min(5_000, hangMs / 2));
      const askedAtMs = performance.now();
      this.#options.probe(limitMs).then(
        () => this.#isCurrent(child) && this.#scheduleBeat(0),
        () => {
          if (!this.#isCurrent(child)) return;
          const silent = silentMs + everyMs + Math.min(limitMs, performance.now() - askedAtMs);
          if (silent < hangMs) return this.#scheduleBeat(silent);
          this.#isHung = true;
          killAll(this.#home.cluster, child);
        },
      );
    }, everyMs);
    this.#timer.unref();
  }

  #isHung = false;

  #isCurrent(child: ChildProcess | undefined): child is ChildProcess {
    return child !== undefined && child === this.#child && isRunning(child) && this.#stopping === undefined;
  }

  /** It ended although nobody stopped it. */
  async #ended(problem: StarlingError, startedAtMs: number): Promise<void> {
    clearTimeout(this.#timer);
    const livedLong = performance.now() - startedAtMs >= this.#limits.longLifeMs;
    this.#shortLives = livedLong ? 0 : this.#shortLives;
    const why = this.#isHung
      ? new StarlingError('unavailable', `it did not answer for ${this.#limits.hangMs} ms, and was killed`)
      : problem;
    this.#isHung = false;
    this.#lastProblem = '';
    for (let err: unknown = why; ; ) {
      if (this.#stopping !== undefined) return;
      const pauseMs = Math.min(this.#limits.longestPauseMs, this.#limits.firstPauseMs * 2 ** this.#shortLives++);
      this.#say(err, pauseMs);
      await delay(pauseMs, undefined, { ref: false });
      if (this.#stopping !== undefined) return;
      this.#restartCount++;
      try {
        return await this.#run(startLimitMs);
      } catch (failed) {
        err = failed;
      }
    }
  }

  /** One line for one reason, however often it is tried. */
  #say(err: unknown, pauseMs: number): void {
    const text = err instanceof Error ? err.message : String(err);
    if (text === this.#lastProblem) return;
    this.#lastProblem = text;
    this.#options.observer?.problem('The embedded Postgres is not there, and is started again', {
      reason: text,
      pauseMs,
    });
  }
}

/**
 * Small: a few tables that change when people click. What is acknowledged is on the disk. One that crashes ends as a whole, and
 * is started again by us. Given on the command line, so that no file decides.
 */
function settingsOf(major: number): readonly string[] {
  return [
    'listen_addresses=',
    'unix_socket_permissions=0700',
    'shared_buffers=16MB',
    'max_parallel_workers=0',
    'max_parallel_workers_per_gather=0',
    'max_parallel_maintenance_workers=0',
    'max_logical_replication_workers=0',
    'autovacuum_max_workers=1',
    'jit=off',
    'wal_level=minimal',
    'max_wal_senders=0',
    'min_wal_size=16MB',
    'max_wal_size=64MB',
    'fsync=on',
    'synchronous_commit=on',
    'full_page_writes=on',
    'restart_after_crash=off',
    // Not posix: containers have little of that, and what a kill leaves there stays.
    'dynamic_shared_memory_type=mmap',
    'logging_collector=off',
    'log_destination=stderr',
    // No errors of statements, which would show what is in them.
    'log_min_messages=log',
    'log_min_error_statement=panic',
    // Three processes less.
    ...(major >= 18 ? ['io_method=sync'] : []),
  ];
}

/** Short, because the address of a socket has 107 bytes, and on a file system that has sockets. */
function socketPlace(): string {
  const user = postgresUser();
  const places = [tmpdir(), '/tmp'];
  return (
    places.find(
      (path) => path.length < 60 && existsSync(path) && (user === undefined || reaches(user, join(path, 'x'))),
    ) ?? '/tmp'
  );
}

/** Ends it in order once the pipe is closed, and takes away the folder of its socket. */
const watching = `
  read -r _
  kill -INT "$1"
  for _ in 1 2 3 4 5; do
    sleep 1
    rmdir "$2" && exit
  done`;

/**
 * Nothing tells Postgres that we were killed, but a pipe tells a shell. Where there is no shell, the next start finds
 * the Postgres that was left behind.
 */
function watchParent(child: ChildProcess, socketFolder: string): void {
  const watcher = spawn('/bin/sh', ['-c', watching, 'sh', String(child.pid), socketFolder], {
    ...postgresUser(),
    env: {},
    cwd: '/',
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  watcher.on('error', () => {});
  watcher.stdin?.on('error', () => {});
  watcher.unref();
  child.once('exit', () => watcher.kill('SIGKILL'));
}

function isRunning({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null;
}

/** Those that a kill of the first one would leave behind, too: a frozen process notices nothing. */
function killAll(cluster: string, child: ChildProcess): void {
  const pids = processesIn(cluster);
  child.kill('SIGKILL');
  for (const pid of pids) signal(pid, 'SIGKILL');
}

/** Ends what a start that was killed left running on the folder, all of it, and its lock file. */
async function endStale(cluster: string): Promise<void> {
  const lockFile = join(cluster, 'postmaster.pid');
  const first = Number(readIfThere(lockFile).split('\n')[0]);
  if (processesIn(cluster).includes(first)) {
    signal(first, 'SIGINT');
    await gone(cluster, staleLimitMs);
  }
  for (const pid of processesIn(cluster)) signal(pid, 'SIGKILL');
  if (!(await gone(cluster, goneLimitMs))) {
    throw new StarlingError(
      'unavailable',
      `the processes ${processesIn(cluster).join(', ')} still use ${cluster}, and cannot be ended: end them, or restart the machine`,
    );
  }
  // Its pid may be another process's by now, which would keep Postgres from starting. The lock that counts is ours.
  rmSync(lockFile, { force: true });
}

async function gone(cluster: string, limitMs: number): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  while (processesIn(cluster).length > 0) {
    if (performance.now() > deadline) return false;
    await delay(10);
  }
  return true;
}

/**
 * Every process of a Postgres works in its cluster's folder, and others who look around there are no Postgres: surer than a pid in a file, and it finds those whose first process is dead.
 * Where the system does not say, the pid in the file, if it is a Postgres on this folder.
 */
function processesIn(cluster: string): number[] {
  if (!existsSync(cluster)) return [];
  if (process.platform === 'linux') {
    const folder = realpathSync(cluster);
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && linkOf(name, 'cwd') === folder && isPostgres(name))
      .map(Number);
  }
  const pid = Number(readIfThere(join(cluster, 'postmaster.pid')).split('\n')[0]);
  if (!(pid > 0)) return [];
  try {
    const command = execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8', stdio: 'pipe' });
    return command.includes(cluster) ? [pid] : [];
  } catch {
    // No such process.
    return [];
  }
}

function isPostgres(pid: string): boolean {
  // A program that was replaced while it runs is marked so.
  return /\/postgres(?: \(deleted\))?$/.test(linkOf(pid, 'exe') ?? '');
}

function linkOf(pid: string, name: 'cwd' | 'exe'): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/${name}`);
  } catch {
    // It ended, is dead and not yet taken note of, or is another user's.
    return undefined;
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It ended by itself.
  }
}

/** What a start that was killed left behind. */
function removeSocket(path: string): void {
  if (!/\/starling-[0-9a-f]{16}\/\.s\.PGSQL\.5432$/.test(path)) return;
  try {
    rmSync(dirname(path), { recursive: true, force: true });
  } catch {
    // Another user's by now.
  }
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // None runs, and none was left.
    return '';
  }
}
