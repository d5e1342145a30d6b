/** Starts Postgres servers for tests: on free ports, in folders of their own, ended with the process whatever happens. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { findProgram } from './find-program.ts';

const startLimitMs = 30_000;
/** Debian keeps its servers where no PATH leads, one folder for each version. */
const debianFolder = '/usr/lib/postgresql';
/** Postgres refuses to be run by root: there, nobody runs it. */
const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : undefined;
/** Where Linux can be asked for it: a test run that is killed takes its servers along. INT ends Postgres at once, in order. */
const setpriv = '/usr/bin/setpriv';
const dyingWithUs = !existsSync(setpriv)
  ? []
  : [
      setpriv,
      ...(nobody === undefined ? [] : [`--reuid=${nobody.uid}`, `--regid=${nobody.gid}`, '--clear-groups']),
      '--pdeathsig',
      'INT',
    ];

export class PostgresServer {
  readonly port: number;
  readonly #folder: string;
  readonly #programs: string;
  readonly #args: readonly string[];
  #child: ChildProcess | null = null;
  readonly #stopOnExit = () => this.#child?.kill('SIGQUIT');

  private constructor(port: number, folder: string, programs: string, args: readonly string[]) {
    this.port = port;
    this.#folder = folder;
    this.#programs = programs;
    this.#args = args;
  }

  /** `args` as `postgres` takes them; without any, what is written is not safe from a power cut, and quick. */
  static async start(...args: string[]): Promise<PostgresServer> {
    // Where the others of the same version are.
    const programs = dirname(realpathSync(findPostgres()));
    const folder = mkdtempSync(join(tmpdir(), 'starling-postgres-'));
    if (nobody !== undefined) chownSync(folder, nobody.uid, nobody.gid);
    const options = ['-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync', '--no-instructions'];
    const made = spawnSync(join(programs, 'initdb'), ['-D', join(folder, 'data'), ...options], {
      ...nobody,
      cwd: folder,
      env: { LC_ALL: 'C', TZ: 'UTC' },
      encoding: 'utf8',
    });
    if (made.status !== 0) throw new Error(`initdb failed: ${made.error ?? made.stderr}`);
    const fast = ['-c', 'fsync=off', '-c', 'synchronous_commit=off', '-c', 'full_page_writes=off'];
    const server = new PostgresServer(await freePort(), folder, programs, args.length === 0 ? fast : args);
    await server.start();
    return server;
  }

  get url(): string {
    return `postgres://postgres@127.0.0.1:${this.port}/postgres`;
  }

  /** On the same port as before, with what was committed. */
  async start(): Promise<void> {
    const own = ['-D', join(this.#folder, 'data'), '-p', String(this.port)];
    const listening = [
      '-c',
      'listen_addresses=127.0.0.1',
      '-c',
      'unix_socket_directories=',
      '-c',
      'max_connections=200',
    ];
    const command = [...dyingWithUs, join(this.#programs, 'postgres'), ...own, ...listening, ...this.#args];
    const child = spawn(command[0] ?? '', command.slice(1), {
      ...(dyingWithUs.length === 0 ? nobody : undefined),
      cwd: this.#folder,
      env: { LC_ALL: 'C', TZ: 'UTC' },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child = child;
    process.once('exit', this.#stopOnExit);
    await new Promise<void>((resolve, reject) => {
      let output = '';
      const timer = setTimeout(() => reject(new Error(`postgres is not ready:\n${output}`)), startLimitMs);
      child.stderr.on('data', (data: Buffer) => {
        output = (output + data).slice(-10_000);
        if (!/database system is ready to accept connections/.test(output)) return;
        clearTimeout(timer);
        resolve();
      });
      child.once('exit', (code) => reject(new Error(`postgres exited with ${code}:\n${output}`)));
    });
  }

  /** At once, without waiting for anyone who is connected. */
  async stop(signal: 'SIGINT' | 'SIGQUIT' = 'SIGINT'): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    this.#child = null;
    process.off('exit', this.#stopOnExit);
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  }

  /** Stopped for good. */
  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function findPostgres(): string {
  return findProgram({
    env: 'POSTGRES_SERVER_PATH',
    names: ['postgres'],
    aptPackage: 'postgresql',
    beside: debianServers,
  });
}

/** The newest first. */
function debianServers(): string[] {
  if (!existsSync(debianFolder)) return [];
  const versions = readdirSync(debianFolder).filter((name) => /^\d+$/.test(name));
  return versions.sort((a, b) => Number(b) - Number(a)).map((version) => join(debianFolder, version, 'bin'));
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('The system gave no port');
  return address.port;
}
