/** Starts Postgres servers for tests, with the programs that come along: on free ports, in folders of their own, ended with the process whatever happens. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { findPrograms, type Programs } from '@starling/database/programs';

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
  readonly #programs: Programs;
  readonly #args: readonly string[];
  #child: ChildProcess | null = null;
  readonly #stopOnExit = () => this.#child?.kill('SIGQUIT');

  private constructor(port: number, folder: string, programs: Programs, args: readonly string[]) {
    this.port = port;
    this.#folder = folder;
    this.#programs = programs;
    this.#args = args;
  }

  /** `args` as `postgres` takes them; without any, what is written is not safe from a power cut, and quick. */
  static start(...args: string[]): Promise<PostgresServer> {
    return PostgresServer.startOf(undefined, ...args);
  }

  /** Of another version: with the programs in this folder. */
  static async startOf(binFolder: string | undefined, ...args: string[]): Promise<PostgresServer> {
    const folder = mkdtempSync(join(tmpdir(), 'starling-postgres-'));
    if (nobody !== undefined) chmodSync(folder, 0o755);
    const data = join(folder, 'data');
    mkdirSync(data);
    if (nobody !== undefined) chownSync(data, nobody.uid, nobody.gid);
    const programs = await findPrograms({
      binFolder,
      linkFolder: join(folder, 'lib'),
      copyFolder: tmpdir(),
      user: nobody,
    });
    const options = ['-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync', '--no-instructions'];
    const made = spawnSync(programs.initdb, ['-D', data, ...options], {
      ...nobody,
      cwd: folder,
      env: programs.env,
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
    const command = [...dyingWithUs, this.#programs.postgres, ...own, ...listening, ...this.#args];
    const child = spawn(command[0] ?? '', command.slice(1), {
      ...(dyingWithUs.length === 0 ? nobody : undefined),
      cwd: this.#folder,
      env: this.#programs.env,
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

/** The programs of the oldest version that is promised, where the machine has them: nothing may need them. */
export function findOldestPostgres(): string | undefined {
  const places = [join(debianFolder, '15', 'bin'), ...(process.env['PATH'] ?? '').split(delimiter)];
  return places.find((place) => {
    const program = join(place, 'postgres');
    return existsSync(program) && / 15\./.test(spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout);
  });
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
