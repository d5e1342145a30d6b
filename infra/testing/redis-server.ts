/** Starts Redis servers for tests: on free ports, in folders of their own, ended with the process whatever happens. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { findProgram } from './find-program.ts';

const startLimitMs = 20_000;
/** Where Linux can be asked for it: a test run that is killed takes its servers along. */
const setpriv = '/usr/bin/setpriv';
const dyingWithUs = existsSync(setpriv) ? [setpriv, '--pdeathsig', 'KILL'] : [];

export class RedisServer {
  readonly port: number;
  readonly #folder: string;
  readonly #args: readonly string[];
  #child: ChildProcess | null = null;
  readonly #killOnExit = () => this.#child?.kill('SIGKILL');

  private constructor(port: number, args: readonly string[]) {
    this.port = port;
    this.#folder = mkdtempSync(join(tmpdir(), 'starling-redis-'));
    this.#args = args;
  }

  static async start(...args: string[]): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), args);
    await server.start();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** On the same port as before, with what was saved. */
  async start(): Promise<void> {
    const program = findProgram({
      env: 'REDIS_SERVER_PATH',
      names: ['redis-server', 'valkey-server'],
      aptPackage: 'redis-server',
    });
    const own = ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.#folder, '--appendonly', 'no'];
    const command = [...dyingWithUs, program, ...own, '--save', '', ...this.#args];
    const child = spawn(command[0] ?? program, command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#child = child;
    process.once('exit', this.#killOnExit);
    await new Promise<void>((resolve, reject) => {
      let output = '';
      const timer = setTimeout(() => reject(new Error(`redis-server is not ready:\n${output}`)), startLimitMs);
      child.stdout.on('data', (data: Buffer) => {
        output += data;
        if (!/Ready to accept connections/.test(output)) return;
        clearTimeout(timer);
        resolve();
      });
      child.once('exit', (code) => reject(new Error(`redis-server exited with ${code}:\n${output}`)));
    });
  }

  /** Like a power cut, unless `save` says to write the data down first. */
  async stop({ save = false } = {}): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    if (save) await this.do((client) => client.save());
    this.#child = null;
    process.off('exit', this.#killOnExit);
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  /** Stopped for good. */
  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** A few commands over a connection of their own. */
  async do<T>(commands: (client: Redis) => Promise<T>): Promise<T> {
    const client = new Redis({ port: this.port, host: '127.0.0.1' });
    try {
      return await commands(client);
    } finally {
      client.disconnect();
    }
  }
}

export interface RedisCluster {
  readonly servers: readonly RedisServer[];
  readonly url: string;
  remove(): Promise<void>;
}

const slotCount = 16_384;

/** Three primaries without replicas, each with a third of the slots. */
export async function startRedisCluster(): Promise<RedisCluster> {
  const args = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '2000'];
  const servers = await Promise.all([1, 2, 3].map(() => RedisServer.start(...args)));
  const [first] = servers;
  for (const [index, server] of servers.entries()) {
    const from = Math.floor((index * slotCount) / servers.length);
    const to = Math.floor(((index + 1) * slotCount) / servers.length) - 1;
    await server.do(async (client) => {
      await client.call('CLUSTER', 'ADDSLOTSRANGE', from, to);
      await client.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
      if (first !== undefined && server !== first) await client.call('CLUSTER', 'MEET', '127.0.0.1', first.port);
    });
  }
  for (const server of servers) await server.do((client) => untilJoined(client, servers.length));
  return {
    servers,
    url: `redis+cluster://${servers.map(({ port }) => `127.0.0.1:${port}`).join(',')}`,
    remove: async () => void (await Promise.all(servers.map((server) => server.remove()))),
  };
}

/** A cluster tells nobody when it has found itself: it has to be asked. */
async function untilJoined(client: Redis, size: number): Promise<void> {
  const deadline = Date.now() + startLimitMs;
  for (;;) {
    const info = await client.cluster('INFO');
    if (info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${size}`)) return;
    if (Date.now() > deadline) throw new Error(`The cluster does not find itself:\n${info}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('The system gave no port');
  // A cluster's servers talk to one another on the port 10,000 above.
  return address.port > 55_000 ? freePort() : address.port;
}
