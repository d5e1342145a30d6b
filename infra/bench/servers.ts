/** The servers that are compared, each as its own process. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { Redis } from 'ioredis';
import { type Children, endingWithUs, findOnPath } from './children.ts';
import {
  type Credentials,
  type Dialect,
  nchanDialect,
  pusherDialect,
  socketIoDialect,
  starlingDialect,
} from './dialects.ts';
import type { Doors } from './load/load.ts';

export interface Server {
  readonly name: string;
  readonly what: string;
  readonly dialect: Dialect;
  start(options?: StartOptions): Promise<RunningServer>;
}

export interface StartOptions {
  /** For Node itself, before the program. Servers that are no Node programs take no notice. */
  readonly nodeFlags?: readonly string[];
}

export interface RunningServer extends Doors {
  /** What it consists of. */
  readonly processes: ReadonlyArray<{ readonly name: string; readonly pid: number }>;
  /** How many pub/sub channels have a subscriber in Redis, where there is one. */
  redisSubscriptions?(): Promise<number>;
  /** Makes a Node program that was started with `gcOnSignal` collect its garbage; false where that cannot be done. */
  collectGarbage(): Promise<boolean>;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** Flags under which a program collects its garbage whenever it gets SIGUSR2. */
export const gcOnSignal: readonly string[] = [
  '--expose-gc',
  '--import',
  `data:text/javascript,process.on('SIGUSR2',()=>{gc();gc()})`,
];

const root = fileURLToPath(new URL('../../', import.meta.url));
const app: Credentials = { id: '4242', key: 'bench-key', secret: 'bench-secret' };

/** That of REDIS_URL, or one of our own: `program` is what runs it. */
export type RedisChoice = { readonly url: string } | { readonly program: string };

function nameOf(redis: RedisChoice): string {
  return 'program' in redis ? redis.program : 'the Redis of REDIS_URL';
}

export class Servers {
  readonly #children: Children;
  readonly #buildDir: string;

  constructor(children: Children, buildDir: string) {
    this.#children = children;
    this.#buildDir = buildDir;
  }

  starling(name = 'starling', settings: Readonly<Record<string, string>> = {}): Server {
    const said = Object.entries(settings).map(([setting, value]) => `, ${setting}=${value}`);
    return {
      name,
      what: `services/starling/dist/starling.js start${said.join('')}`,
      dialect: starlingDialect(app),
      start: (options) => {
        const env = { STARLING_DATA_DIR: join(this.#buildDir, 'data'), ...settings };
        return this.#startStarling('start', options, env);
      },
    };
  }

  /** Two edges and an API that meet in a Redis. */
  cluster(redis: RedisChoice): Server {
    return {
      name: 'cluster',
      what: `2 × starling edge, 1 × starling api and ${nameOf(redis)}`,
      dialect: pusherDialect(app),
      start: (options) =>
        this.#startOver(redis, async (url, add) => {
          const env = { REDIS_URL: url };
          const api = await add(this.#startStarling('api', options, env));
          const edges = [
            await add(this.#startStarling('edge', options, env, 'edge 1')),
            await add(this.#startStarling('edge', options, env, 'edge 2')),
          ];
          return {
            processes: [...edges, api].flatMap(({ processes }) => processes),
            publishPort: api.publishPort,
            subscribePorts: edges.flatMap(({ subscribePorts }) => subscribePorts),
          };
        }),
    };
  }

  /** One program with so many workers on its port, over a Redis; with one worker it is a single process. */
  workers(count: number, redis: RedisChoice): Server {
    return {
      name: `workers ${count}`,
      what: `starling start --workers ${count} and ${nameOf(redis)}`,
      dialect: pusherDialect(app),
      start: (options) =>
        this.#startOver(redis, async (url, add) => {
          const env = { REDIS_URL: url, STARLING_WORKERS: String(count), STARLING_METRICS_TOKEN: metricsToken };
          const server = await add(this.#startStarling('start', options, env, 'starling'));
          // The port is open when the first of them serves.
          if (count > 1) await allServe(server.publishPort, count);
          return server;
        }),
    };
  }

  /** `start` starts what belongs together. It is stopped in the reverse order, and what it meets in at last. */
  async #startOver(
    redis: RedisChoice,
    start: (
      url: string,
      add: (starting: Promise<RunningServer>) => Promise<RunningServer>,
    ) => Promise<Pick<RunningServer, 'processes' | 'publishPort' | 'subscribePorts'>>,
  ): Promise<RunningServer> {
    const isOurs = 'program' in redis;
    const started: RunningServer[] = [];
    const stop = async (signal?: NodeJS.Signals): Promise<void> => {
      // Those who use Redis before it. In one that is not ours nothing may be left behind: they end in order.
      for (const each of started.reverse()) await each.stop(isOurs ? signal : 'SIGTERM');
    };
    try {
      const add = async (starting: Promise<RunningServer>): Promise<RunningServer> => {
        const running = await starting;
        started.push(running);
        return running;
      };
      const own = isOurs ? await add(this.#startRedis(redis.program)) : undefined;
      const url = isOurs ? `redis://127.0.0.1:${own?.publishPort}` : redis.url;
      const { processes, publishPort, subscribePorts } = await start(url, add);
      return {
        processes: [...processes, ...(own?.processes ?? (await processOfRedis(url)))],
        publishPort,
        subscribePorts,
        redisSubscriptions: () => subscriptionsIn(url),
        collectGarbage: async () => false,
        stop,
      };
    } catch (err) {
      await stop();
      throw err;
    }
  }

  #startRedis(program: string): Promise<RunningServer> {
    const folder = join(this.#buildDir, 'redis');
    mkdirSync(folder, { recursive: true });
    const command = (port: number) => [
      program,
      '--port',
      `${port}`,
      '--bind',
      '127.0.0.1',
      '--dir',
      folder,
      '--save',
      '',
      '--appendonly',
      'no',
    ];
    return this.#start(command, {}, false, 'redis');
  }

  async #startStarling(
    part: 'start' | 'edge' | 'api',
    options: StartOptions | undefined,
    env: Readonly<Record<string, string>>,
    name: string = part,
  ): Promise<RunningServer> {
    const program = join(root, 'services/starling/dist/starling.js');
    if (!existsSync(program)) throw new Error(`${program} is not there: run npm run build`);
    const settings = (port: number) => ({
      STARLING_PORT: String(port),
      STARLING_HOST: '127.0.0.1',
      STARLING_LOG_LEVEL: 'warn',
      STARLING_DRAIN_SECONDS: '0',
      STARLING_DATA_DIR: join(this.#buildDir, `data-${port}`),
      STARLING_APP_ID: app.id,
      STARLING_APP_KEY: app.key,
      STARLING_APP_SECRET: app.secret,
      ...env,
    });
    return this.#startNode([program, part], options, settings, name);
  }

  naiveWs(): Server {
    return {
      name: 'naive ws',
      what: 'ws, JSON.stringify and send for each client; no auth',
      dialect: pusherDialect(app),
      start: async (options) => this.#startNode([await this.#bundle('naive-ws')], options),
    };
  }

  /** The library compresses for each client anew. */
  deflatingNaiveWs(): Server {
    return {
      name: 'naive ws, on',
      what: 'naive ws with perMessageDeflate',
      dialect: pusherDialect(app),
      start: async (options) =>
        this.#startNode([await this.#bundle('naive-ws')], options, (port) => ({ PORT: String(port), DEFLATE: 'on' })),
    };
  }

  socketIo(): Server {
    return {
      name: 'socket.io',
      what: `socket.io ${installedVersion('socket.io')}, rooms, WebSocket only; no auth`,
      dialect: socketIoDialect,
      start: async (options) => this.#startNode([await this.#bundle('socket-io')], options),
    };
  }

  /** Nothing when it is not installed. */
  nchan(): Server | undefined {
    const nginx = findOnPath('nginx');
    const module = [
      process.env['NCHAN_MODULE'] ?? '',
      '/usr/lib/nginx/modules/ngx_nchan_module.so',
      '/usr/share/nginx/modules/ngx_nchan_module.so',
    ].find((path) => path !== '' && existsSync(path));
    if (nginx === undefined || module === undefined) return undefined;
    return {
      name: 'nginx+nchan',
      what: 'nginx with nchan, one process; no auth',
      dialect: nchanDialect,
      start: () => {
        const folder = join(this.#buildDir, 'nginx');
        mkdirSync(folder, { recursive: true });
        const config = join(folder, 'nginx.conf');
        return this.#start(
          (port) => {
            writeFileSync(config, nginxConfig(module, folder, port));
            return [nginx, '-p', folder, '-e', join(folder, 'error.log'), '-c', config];
          },
          {},
          false,
        );
      },
    };
  }

  /** Any server that speaks Pusher's protocol and is running already. It is never stopped, and not started anew. */
  peer(url: URL, pid: number, credentials: Credentials): Server {
    return {
      name: 'peer',
      what: `${url.href}, process ${pid}`,
      dialect: pusherDialect(credentials),
      start: async () => ({
        processes: [{ name: 'peer', pid }],
        publishPort: Number(url.port),
        subscribePorts: [Number(url.port)],
        collectGarbage: async () => false,
        stop: async () => {},
      }),
    };
  }

  async #bundle(name: string): Promise<string> {
    // Inside the repository, so that it finds its packages.
    const outfile = join(this.#buildDir, `${name}.mjs`);
    const entry = fileURLToPath(new URL(`servers/${name}.ts`, import.meta.url));
    await build({ entryPoints: [entry], outfile, bundle: true, platform: 'node', format: 'esm', packages: 'external' });
    return outfile;
  }

  #startNode(
    program: readonly string[],
    { nodeFlags = [] }: StartOptions = {},
    env: (port: number) => Record<string, string> = (port) => ({ PORT: String(port) }),
    name?: string,
  ): Promise<RunningServer> {
    const canCollect = nodeFlags.includes('--expose-gc');
    return this.#start(() => [process.execPath, ...nodeFlags, ...program], env, canCollect, name);
  }

  async #start(
    command: (port: number) => readonly string[],
    env: Record<string, string> | ((port: number) => Record<string, string>),
    canCollect: boolean,
    name = 'server',
  ): Promise<RunningServer> {
    const port = await freePort();
    const [program = '', ...programArguments] = endingWithUs(command(port));
    // Only who is told so shall use it.
    const { REDIS_URL: _, ...inherited } = process.env;
    const logFile = join(this.#buildDir, `${name.replaceAll(' ', '-')}.log`);
    const log = openSync(logFile, 'w');
    const child = this.#children.start(
      spawn(program, programArguments, {
        stdio: ['ignore', log, log],
        env: { ...inherited, NODE_ENV: 'production', ...(typeof env === 'function' ? env(port) : env) },
      }),
    );
    closeSync(log);
    await listening(child, port, logFile);
    return {
      processes: [{ name, pid: child.pid ?? 0 }],
      publishPort: port,
      subscribePorts: [port],
      collectGarbage: async () => {
        if (!canCollect) return false;
        child.kill('SIGUSR2');
        await after(1_500);
        return true;
      },
      stop: (signal) => this.#children.stop(child, signal),
    };
  }
}

/** There is nothing to wait for but the port: the servers announce themselves each in its own way, or not at all. */
async function listening(child: ChildProcess, port: number, logFile: string): Promise<void> {
  const giveUpAt = Date.now() + 15_000;
  while (!(await accepts(port))) {
    if (child.exitCode !== null || child.signalCode !== null || Date.now() > giveUpAt) {
      throw new Error(`The server did not start: ${readFileSync(logFile, 'utf8').trim()}`);
    }
    await after(20);
  }
}

const metricsToken = 'metrics-token-of-benchmarks';

async function allServe(port: number, count: number): Promise<void> {
  const giveUpAt = Date.now() + 15_000;
  for (;;) {
    const headers = { authorization: `Bearer ${metricsToken}` };
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`, { headers })).text();
    if (metrics.includes(`starling_workers{worker="supervisor"} ${count}\n`)) return;
    if (Date.now() > giveUpAt) throw new Error(`Not all of ${count} workers serve`);
    await after(50);
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    const settle = (isOpen: boolean): void => {
      socket.destroy();
      resolve(isOpen);
    };
    socket.once('connect', () => settle(true)).once('error', () => settle(false));
  });
}

async function askRedis<T>(url: string, ask: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url);
  try {
    return await ask(client);
  } finally {
    client.disconnect();
  }
}

/** Sharded channels are counted apart by Redis, and are all the same to us. */
function subscriptionsIn(url: string): Promise<number> {
  return askRedis(url, async (client) => {
    const lists = [await client.call('PUBSUB', 'CHANNELS'), await client.call('PUBSUB', 'SHARDCHANNELS')];
    return lists.reduce<number>((sum, list) => sum + (Array.isArray(list) ? list.length : 0), 0);
  });
}

/** Nothing when it runs on another machine: then what it uses cannot be told. */
async function processOfRedis(url: string): Promise<RunningServer['processes']> {
  if (!['127.0.0.1', 'localhost', '[::1]'].includes(new URL(url).hostname)) return [];
  const info = await askRedis(url, (client) => client.info('server'));
  const pid = Number(/^process_id:(\d+)/m.exec(info)?.[1]);
  return existsSync(`/proc/${pid}`) ? [{ name: 'redis', pid }] : [];
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

function installedVersion(name: string): string {
  const { version } = JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')) as {
    version: string;
  };
  return version;
}

function nginxConfig(module: string, folder: string, port: number): string {
  return `load_module ${module};
daemon off;
# One process: the workers of a killed master live on.
master_process off;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log;
events { worker_connections 15000; }
http {
  access_log off;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  keepalive_requests 1000000000;
  nchan_shared_memory_size 256M;
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location ~ /pub/(.*)$ { nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length 64; }
    location ~ /sub/(.*)$ { nchan_subscriber websocket; nchan_channel_id $1; nchan_subscriber_first_message newest; }
  }
}
`;
}
