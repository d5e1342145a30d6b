/** A deployment: edges and APIs over a Redis, behind nginx and HAProxy, with clients and publishers, that can be rolled. */
import type { Browser } from 'playwright-core';
import { freePort } from '../../testing/redis-server.ts';
import { app, Cluster, type Node } from '../cluster/cluster.ts';
import { type Client, ClientHost, type ClientOptions, majors, untilInChannels } from './clients.ts';
import { type ClientFigures, clientTable, figuresOf, publishTable } from './figures.ts';
import { type ProxyName, type ProxyOptions, ReverseProxy } from './proxies.ts';
import { type Publish, Publisher, type PublisherOptions } from './publishers.ts';

export interface RigOptions {
  readonly proxies?: readonly ProxyName[];
  readonly proxyOptions?: ProxyOptions;
  /** For every program. */
  readonly env?: Record<string, string>;
}

/** A place that one program after another takes, on the same port. */
export interface Slot {
  readonly name: string;
  readonly part: 'edge' | 'api';
  readonly port: number;
}

export class Rig {
  readonly cluster: Cluster;
  readonly slots: readonly Slot[];
  readonly proxies: readonly ReverseProxy[];
  readonly clients: Client[] = [];
  /** What was done and when, for a reader of the figures. */
  readonly diary: string[] = [];
  readonly #host: ClientHost;
  readonly #env: Record<string, string>;
  readonly #nodes = new Map<string, Node>();
  readonly #publishers: Publisher[] = [];
  readonly #startedAtMs = Date.now();
  #isClosed = false;

  private constructor(
    cluster: Cluster,
    host: ClientHost,
    slots: readonly Slot[],
    proxies: ReverseProxy[],
    env: Record<string, string>,
  ) {
    this.cluster = cluster;
    this.#host = host;
    this.slots = slots;
    this.proxies = proxies;
    this.#env = env;
  }

  /** Two edges and two APIs, ready, and the proxies before them. */
  static async open(browser: Browser, options: RigOptions = {}): Promise<Rig> {
    const { proxies: names = ['nginx', 'haproxy'], proxyOptions, env = {} } = options;
    const cluster = await Cluster.open();
    const proxies: ReverseProxy[] = [];
    const host = await ClientHost.open(app, browser);
    try {
      const slots: Slot[] = [];
      for (const name of ['edge-1', 'edge-2', 'api-1', 'api-2']) {
        slots.push({ name, part: name.startsWith('edge') ? 'edge' : 'api', port: await freePort() });
      }
      const rig = new Rig(cluster, host, slots, proxies, env);
      for (const slot of slots) await rig.#start(slot);
      const servers = Object.fromEntries(slots.map(({ name, port }) => [name, port]));
      // No admin API is deployed here: what would go there is answered by an API.
      const all = { ...servers, control: servers['api-1'] ?? 0 };
      for (const name of names) proxies.push(await ReverseProxy.start(name, all, proxyOptions));
      return rig;
    } catch (err) {
      await Promise.allSettled([...proxies.map((proxy) => proxy.close()), host.close()]);
      await cluster.close();
      throw err;
    }
  }

  /** One of each major version, in Node and in a page, through each proxy; `inNode` more of those in Node. */
  async openClients(inNode = 1, more: Partial<ClientOptions> = {}): Promise<void> {
    for (const { name, url } of this.proxies) {
      for (const major of majors) {
        for (let number = 0; number <= inNode; number++) {
          const place = number === 0 ? 'page' : 'node';
          const user = `${name}-${major}-${place}-${number}`;
          this.clients.push(await this.#host.open({ major, place, url, user, group: name, ...more }));
        }
      }
    }
    await untilInChannels(this.clients);
    this.note(`${this.clients.length} clients are in their channels`);
  }

  /** Two of each kind through each proxy, from now on. */
  publish(everyMs: number): void {
    const kinds: readonly PublisherOptions['kind'][] = ['library', 'agent', 'library', 'agent'];
    for (const { name, url } of this.proxies) {
      for (const [index, kind] of kinds.entries()) {
        const publisher = new Publisher(app, { kind, name: `${name} ${kind} ${index}`, url, everyMs });
        this.#publishers.push(publisher);
      }
    }
  }

  /** Resolves with everything published, when the last is answered. */
  async stopPublishing(): Promise<Publish[]> {
    await Promise.all(this.#publishers.map((publisher) => publisher.stop()));
    return this.#publishers.flatMap(({ publishes }) => publishes);
  }

  /** As every deployment does: SIGTERM, its end, its successor on the same port, and that one ready. */
  async replace({ name }: Slot): Promise<void> {
    const slot = this.slots.find((each) => each.name === name)!;
    const { run } = this.#nodes.get(name)!;
    this.note(`${name}: SIGTERM`);
    run.child.kill('SIGTERM');
    const status = await run.ended;
    this.note(`${name}: ended with ${status}`);
    await this.#start(slot);
    this.note(`${name}: its successor is ready`);
  }

  async replaceAll(): Promise<void> {
    for (const slot of this.slots) await this.replace(slot);
  }

  node(name: string): Node {
    return this.#nodes.get(name)!;
  }

  figures(): Promise<ClientFigures[]> {
    return figuresOf(this.clients);
  }

  note(text: string): void {
    this.diary.push(`${((Date.now() - this.#startedAtMs) / 1_000).toFixed(1).padStart(6)} s  ${text}`);
  }

  /** Everything that a reader wants to know of a run. */
  report(figures: readonly ClientFigures[], publishes: readonly Publish[]): string {
    return [this.diary.join('\n'), clientTable(figures), publishTable(publishes)].join('\n\n');
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#publishers.map((publisher) => publisher.stop()));
    await Promise.allSettled([this.#host.close(), ...this.proxies.map((proxy) => proxy.close())]);
    await this.cluster.close();
  }

  async #start({ name, part, port }: Slot): Promise<void> {
    // A test that took too long goes on behind its end.
    if (this.#isClosed) throw new Error('The rig is closed');
    const env = { STARLING_PORT: String(port), STARLING_DRAIN_SECONDS: '15', ...this.#env };
    this.#nodes.set(name, await this.cluster.start(part, env));
  }
}
