/** A cluster of real programs over a real Redis: each has a proxy of its own before Redis, which can be made to fail. */
import { openProgram, type Program, type Run, readMetrics, signedPath } from '../../testing/program.ts';
import { RedisServer } from '../../testing/redis-server.ts';
import { Connection } from './connection.ts';
import { FaultyProxy } from './proxy.ts';

export const app = { id: '4711', key: 'cluster-key', secret: 'cluster-secret' };

/** How the programs reach Redis. */
export interface Way {
  /** Ended with the cluster. */
  readonly redis: RedisServer;
  /** Where the programs' proxies lead. */
  readonly port: number;
  /** What a program is given, when its proxy has this port. */
  urlOf(port: number): string;
}

export interface Node {
  readonly part: 'edge' | 'api' | 'start';
  readonly url: string;
  readonly run: Run;
  /** Its way to Redis. */
  readonly proxy: FaultyProxy;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, unknown>;
}

export class Cluster {
  readonly redis: RedisServer;
  readonly #way: Way;
  readonly #program: Program;
  readonly #nodes: Node[] = [];
  readonly #connections: Connection[] = [];

  private constructor(way: Way, program: Program) {
    this.redis = way.redis;
    this.#way = way;
    this.#program = program;
  }

  /** Over a Redis of its own, unless another way is given. */
  static async open(way?: Way): Promise<Cluster> {
    return new Cluster(way ?? (await plainWay()), openProgram());
  }

  /** Resolves when it says that it is ready. */
  async start(part: Node['part'], env: Record<string, string> = {}): Promise<Node> {
    const proxy = await FaultyProxy.open(this.#way.port);
    const run = this.#program.run([part], {
      env: {
        STARLING_PORT: '0',
        STARLING_APP_ID: app.id,
        STARLING_APP_KEY: app.key,
        STARLING_APP_SECRET: app.secret,
        STARLING_APP_SUBSCRIPTION_COUNTS: 'true',
        STARLING_APP_WATCHLISTS: 'true',
        STARLING_DRAIN_SECONDS: '1',
        REDIS_URL: this.#way.urlOf(proxy.port),
        ...env,
      },
    });
    const [, url = ''] = await run.said(/(?:ready at |"url":")(http:[^\s"]+)/);
    const node = { part, url, run, proxy };
    this.#nodes.push(node);
    await this.isReady(node, true, 10_000);
    return node;
  }

  async startAll(parts: readonly Node['part'][], env?: Record<string, string>): Promise<Node[]> {
    return Promise.all(parts.map((part) => this.start(part, env)));
  }

  async connect(node: Node): Promise<Connection> {
    const connection = await Connection.open(node.url, app);
    this.#connections.push(connection);
    return connection;
  }

  /** Connected and in the channel. */
  async member(node: Node, channel: string, user?: string): Promise<Connection> {
    const connection = await this.connect(node);
    await connection.join(channel, user);
    return connection;
  }

  /** A signed request to the HTTP API; `path` is that below the app's, with a query or without. */
  async request(node: Node, method: 'GET' | 'POST', path: string, body?: unknown): Promise<Answer> {
    const text = body === undefined ? '' : JSON.stringify(body);
    const [name = '', query = ''] = path.split('?');
    const signed = signedPath(app, method, `/apps/${app.id}${name}`, text, query);
    const response = await fetch(node.url + signed, {
      method,
      signal: AbortSignal.timeout(20_000),
      ...(text === '' ? {} : { body: text }),
    });
    const answer = (await response.json()) as Record<string, unknown>;
    return { status: response.status, headers: response.headers, body: answer };
  }

  async publish(node: Node, channels: string | readonly string[], name: string, data: unknown): Promise<Answer> {
    return this.request(node, 'POST', '/events', { name, channels: [channels].flat(), data: JSON.stringify(data) });
  }

  /** The user ids that the API gives for a presence channel, sorted. */
  async usersOf(node: Node, channel: string): Promise<string[]> {
    const body = await this.#get(node, `/channels/${channel}/users`);
    return (body['users'] as { id: string }[]).map(({ id }) => id).sort();
  }

  /** The names of all occupied channels, sorted. */
  async channels(node: Node, prefix = ''): Promise<string[]> {
    const body = await this.#get(node, `/channels${prefix === '' ? '' : `?filter_by_prefix=${prefix}`}`);
    return Object.keys(body['channels'] as object).sort();
  }

  async #get(node: Node, path: string): Promise<Answer['body']> {
    const { status, body } = await this.request(node, 'GET', path);
    if (status !== 200) throw new Error(`${node.url}${path} is ${status}: ${JSON.stringify(body)}`);
    return body;
  }

  /** Resolves with the milliseconds it took until `/readyz` said so. */
  async isReady(node: Node, expected: boolean, limitMs: number): Promise<number> {
    return eventually(`${node.part} ${expected ? 'ready' : 'not ready'}`, limitMs, async () => {
      const { status } = await fetch(`${node.url}/readyz`, { signal: AbortSignal.timeout(limitMs) });
      return status === (expected ? 200 : 503) ? true : `/readyz is ${status}`;
    });
  }

  /** One number of `/metrics`. */
  async metric(node: Node, name: string): Promise<number> {
    const text = await readMetrics(node.url);
    return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(text)?.[1]);
  }

  /** As a crash: nothing is closed, the system does that. */
  async kill(node: Node): Promise<void> {
    node.run.child.kill('SIGKILL');
    await node.run.ended;
  }

  /** What a program said that nobody should have to read. */
  defects(): string[] {
    return this.#nodes.flatMap(({ part, run }) =>
      `${run.stdout()}\n${run.stderr()}`
        .split('\n')
        .filter((line) => /A defect|"level":"fatal"|"code":"internal"|TypeError|RangeError/.test(line))
        .map((line) => `${part}: ${line}`),
    );
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) connection.close();
    // A stopped process could not be waited for.
    for (const { run } of this.#nodes) run.child.kill('SIGCONT');
    await this.#program.close();
    await Promise.all(this.#nodes.map(({ proxy }) => proxy.close()));
    await this.redis.remove();
  }
}

async function plainWay(): Promise<Way> {
  const redis = await RedisServer.start();
  return { redis, port: redis.port, urlOf: (port) => `redis://127.0.0.1:${port}` };
}

/**
 * For what nobody tells and has to be asked: again and again until true, else at the limit the last answer is thrown. A
 * question that fails is an answer too: a busy machine may make a program refuse it for a moment.
 */
export async function eventually(
  what: string,
  limitMs: number,
  ask: () => Promise<true | string> | true | string,
): Promise<number> {
  const begin = performance.now();
  for (;;) {
    let answer: true | string;
    try {
      answer = await ask();
    } catch (err) {
      answer = String(err);
    }
    const tookMs = performance.now() - begin;
    if (answer === true && tookMs <= limitMs) return tookMs;
    if (tookMs > limitMs) throw new Error(`Not within ${limitMs} ms: ${what}. ${answer === true ? '' : answer}`);
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
}
