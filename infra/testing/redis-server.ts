/** Starts Redis servers for tests: on free ports, in folders of their own, ended with the process whatever happens. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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

  /** Its own, removed with it. */
  get folder(): string {
    return this.#folder;
  }

  /** On the same port as before, with what was saved. */
  async start(): Promise<void> {
    const program = findProgram({
      env: 'REDIS_SERVER_PATH',
      names: ['redis-server', 'valkey-server'],
      aptPackage: 'redis-server',
    });
    const own = ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.#folder, '--appendonly', 'no'];
    // The name of a file with more settings, where one is given, must come first.
    const command = [...dyingWithUs, program, ...this.#args, ...own, '--save', ''];
    const child = spawn(command[0] ?? program, command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#child = child;
    process.once('exit', this.#killOnExit);
    await new Promise<void>((resolve, reject) => {
      let output = '';
      const timer = setTimeout(() => reject(new Error(`redis-server is not ready:\n${output}`)), startLimitMs);
      child.stdout.on('data', (data: Buffer) => {
        output += data;
        if (!/Ready to accept connections|\+monitor master/.test(output)) return;
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

  /** From now on it takes connections and never answers. */
  hang(): void {
    this.#child?.kill('SIGSTOP');
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
  const isJoined = `cluster_known_nodes:${servers.length}`;
  for (const server of servers) {
    await server.do((client) =>
      untilIt('find its cluster', async () => {
        const info = String(await client.cluster('INFO'));
        return (info.includes('cluster_state:ok') && info.includes(isJoined)) || info;
      }),
    );
  }
  return {
    servers,
    url: `redis+cluster://${servers.map(({ port }) => `127.0.0.1:${port}`).join(',')}`,
    remove: async () => void (await Promise.all(servers.map((server) => server.remove()))),
  };
}

export interface Sentinels {
  readonly url: string;
  /** Stops the first, so that it takes connections and never answers. */
  hang(): void;
  /** Resolves when all that answer name this server as the primary. They tell one another every two seconds. */
  agreeOn(primary: RedisServer): Promise<void>;
  /** Orders the last to put a replica in the primary's place, as soon as it knows one that can. */
  failover(): Promise<void>;
  remove(): Promise<void>;
}

/** Three sentinels over this server, quick to take it for dead, once they know one another and all its replicas. */
export async function startSentinels(primary: RedisServer, replicaCount: number): Promise<Sentinels> {
  const folder = mkdtempSync(join(tmpdir(), 'starling-sentinels-'));
  const startOne = (number: number): Promise<RedisServer> => {
    // A sentinel keeps what it learns in its settings.
    const settings = join(folder, `${number}.conf`);
    const lines = [
      `sentinel monitor main 127.0.0.1 ${primary.port} 2`,
      'sentinel down-after-milliseconds main 1000',
      'sentinel failover-timeout main 3000',
    ];
    writeFileSync(settings, lines.join('\n'));
    return RedisServer.start(settings, '--sentinel');
  };
  const [first, middle, last] = await Promise.all([startOne(1), startOne(2), startOne(3)]);
  const sentinels = [first, middle, last];
  let answering = sentinels;
  for (const sentinel of sentinels) {
    await sentinel.do((client) =>
      untilIt('know all others', async () => {
        const info = await client.info('sentinel');
        return info.includes(`slaves=${replicaCount},sentinels=${sentinels.length}`) || info;
      }),
    );
  }
  return {
    hang: () => {
      first.hang();
      answering = [middle, last];
    },
    agreeOn: async (server) => {
      for (const sentinel of answering) {
        await sentinel.do((client) =>
          untilIt(`name ${server.port}`, async () => {
            const address = await client.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'main');
            return String(address) === `127.0.0.1,${server.port}` || String(address);
          }),
        );
      }
    },
    failover: async () => {
      await last.do((client) =>
        untilIt('begin a failover', async () => {
          const answer = await client.call('SENTINEL', 'FAILOVER', 'main').catch(String);
          return answer === 'OK' || String(answer);
        }),
      );
    },
    url: `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/main`,
    remove: async () => {
      await Promise.all(sentinels.map((sentinel) => sentinel.remove()));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Servers tell nobody when they have found each other: they have to be asked. */
async function untilIt(does: string, ask: () => Promise<true | string>): Promise<void> {
  const deadline = Date.now() + startLimitMs;
  for (;;) {
    const answer = await ask();
    if (answer === true) return;
    if (Date.now() > deadline) throw new Error(`It does not ${does}:\n${answer}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** On which nobody listens just now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('The system gave no port');
  // A cluster's servers talk to one another on the port 10,000 above.
  return address.port > 55_000 ? freePort() : address.port;
}
