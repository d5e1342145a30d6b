/**
 * Random faults under load. Whatever fails, what was heard must fit what was published; and when all is well again,
 * everyone must agree on who is where.
 */
import Pusher from 'pusher';
import { expect, inject, test } from 'vitest';
import { fuzzInTurn, type Given, Random, seedsOf } from '../../testing/random.ts';
import { app, Cluster, eventually, type Node } from './cluster.ts';
import { eventName, faultsOf, type History, type Publish, type Window } from './history.ts';
import { type Life, Subscriber } from './subscriber.ts';

/** Seeds that have failed once, with what they found. */
const failingSeeds: readonly number[] = [
  // Of a user's two connections on an edge that was taken for dead, one heard of its user's going and not of the return.
  2,
];

const plainChannels = ['room-0', 'room-1', 'private-room-2', 'cache-room-3'];
const presenceChannels = ['presence-0', 'presence-1'];
const channels = [...plainChannels, ...presenceChannels];
/** Fewer than subscribers: some users have several connections. */
const users = ['ada', 'bob', 'cay', 'dan', 'eve', 'fay'];
const subscriberCount = 10;
const edgeCount = 3;
/** What a window takes beyond the moment at which the node says that it is well. */
const afterwardsMs = 1_000;
/** Until when all must agree, after the last fault: a killed edge's memberships take ten seconds. */
const restLimitMs = 20_000;

type Fault = 'kill an edge' | 'stop an edge' | 'cut an edge' | 'cut an api' | 'restart redis' | 'pause redis';

interface Breakage extends Window {
  readonly fault: Fault;
  readonly node: Node | undefined;
}

/** A seed takes half a minute: on most days those that have failed once are enough. */
const moreSeeds = inject('fuzzFactor') > 1 ? 1 : 0;

test('nothing is heard twice, out of order, by the excluded, or lost while all was well; and all agree at rest', {
  timeout: 150_000 * inject('fuzzFactor'),
}, async () => {
  await fuzzInTurn(seedsOf(failingSeeds, moreSeeds), async (random, given) => {
    const run = await Run.open(random, given);
    try {
      await run.play();
    } catch (err) {
      throw new Error(`${err instanceof Error ? err.message : err}\n${run.story()}`, { cause: err });
    } finally {
      await run.close();
    }
  });
});

class Run {
  /** Decides what is broken; the same seed, the same faults. */
  readonly #random: Random;
  /** Decides everything else, in an order that depends on how long things take. */
  readonly #loadRandom: Random;
  readonly #given: Given;
  readonly #cluster: Cluster;
  readonly #apis: readonly Node[];
  /** Those in rotation. */
  #edges: Node[];
  readonly #subscribers: Subscriber[] = [];
  readonly #publishes: Publish[] = [];
  readonly #windows: Breakage[] = [];

  private constructor(random: Random, given: Given, cluster: Cluster, edges: Node[], apis: Node[]) {
    this.#random = random;
    this.#loadRandom = new Random(random.seed + 1_000_000);
    this.#given = given;
    this.#cluster = cluster;
    this.#edges = edges;
    this.#apis = apis;
  }

  static async open(random: Random, given: Given): Promise<Run> {
    const cluster = await Cluster.open();
    const edges = await cluster.startAll(Array.from({ length: edgeCount }, () => 'edge' as const));
    const apis = await cluster.startAll(['api', 'api']);
    return new Run(random, given, cluster, edges, apis);
  }

  async close(): Promise<void> {
    await Promise.all(this.#subscribers.map((subscriber) => subscriber.stop()));
    await this.#cluster.close();
  }

  async play(): Promise<void> {
    const random = this.#random;
    const balancer = () => this.#loadRandom.pick(this.#edges);
    for (let index = 0; index < subscriberCount; index++) {
      const wanted = channels.filter(() => random.chance(0.6));
      const own = users[index % users.length]!;
      // Who is restless comes back as somebody else, so that it matters who missed the coming or the going.
      const identify = () => (isRestless(index) ? this.#loadRandom.pick(users) : own);
      this.#subscribers.push(new Subscriber(identify, wanted.length === 0 ? channels : wanted, balancer));
    }
    for (const subscriber of this.#subscribers) subscriber.start();
    await this.#allHome();

    const publishing = new AbortController();
    const publishers = this.#apis.map((api, index) => this.#publishAll(index, api, publishing.signal));
    const faults: Fault[] = [
      ...(['kill an edge', 'stop an edge', 'restart redis', 'pause redis', 'cut an edge', 'cut an api'] as const),
      random.pick(['kill an edge', 'cut an edge'] as const),
    ];
    while (faults.length > 0) {
      const [fault] = faults.splice(random.below(faults.length), 1) as [Fault];
      await this.#published(random.between(20, 60));
      const churning = new AbortController();
      const churn = this.#churn(churning.signal);
      await this.#strike(this.#given(fault));
      churning.abort();
      await churn;
      await this.#allHome();
      // Now, and not only at the end: much would have been put right by then through what happened later.
      if (fault !== 'kill an edge') await eventually('all agree', restLimitMs, () => this.#disagreement());
    }
    await this.#published(60);
    publishing.abort();
    await Promise.all(publishers);

    await eventually('all agree', restLimitMs, () => this.#disagreement());
    await eventually('all is heard', 10_000, () => faultsOf(this.#history())[0] ?? true);
    expect(faultsOf(this.#history())).toEqual([]);
    // Else nothing was shown.
    const answered = this.#publishes.filter(({ status }) => status === 200);
    expect(answered.length).toBeGreaterThan(200);
    expect(this.#publishes.filter(({ status }) => status !== 200 && status !== 503)).toEqual([]);

    await Promise.all(this.#subscribers.map((subscriber) => subscriber.stop()));
    await eventually('nothing is left', restLimitMs, async () => {
      const left = await Promise.all(this.#apis.map((api) => this.#cluster.channels(api)));
      const keys = await this.#cluster.redis.do((client) => client.keys('*:memberships:*'));
      return (left.flat().length === 0 && keys.length === 0) || `${left.flat()} ${keys}`;
    });
    expect(this.#cluster.defects()).toEqual([]);
  }

  /** What was done when. */
  story(): string {
    const lines = this.#windows.map(({ fault, node, beginMs, endMs }) => {
      const whom = node === undefined ? '' : ` ${this.#edgeName(node)}`;
      return `${beginMs.toFixed()}–${endMs.toFixed()} ms: ${fault}${whom}`;
    });
    return lines.join('\n');
  }

  #edgeName(node: Node): string {
    return `${node.part} at ${node.url}`;
  }

  // ── Load ───────────────────────────────────────────────────────────────────────────────────────────────────────

  async #publishAll(publisher: number, api: Node, signal: AbortSignal): Promise<void> {
    const { hostname: host, port } = new URL(api.url);
    const pusher = new Pusher({ appId: app.id, key: app.key, secret: app.secret, host, port, timeout: 15_000 });
    for (let count = 0; !signal.aborted; count++) {
      const chosen = channels.filter(() => this.#loadRandom.chance(0.4));
      const connection = this.#loadRandom.pick(this.#subscribers).current?.connection;
      const except = this.#loadRandom.chance(0.3) ? connection?.socketId : undefined;
      const publish: Publish = {
        id: `${publisher}:${count}`,
        channels: chosen.length === 0 ? channels : chosen,
        except,
        beginMs: performance.now(),
        endMs: Number.POSITIVE_INFINITY,
        status: 0,
      };
      this.#publishes.push(publish);
      const options = except === undefined ? {} : { socket_id: except };
      publish.status = await pusher
        .trigger([...publish.channels], eventName, publish.id, options)
        .then(({ status }) => status)
        .catch((err: { status?: number }) => err.status ?? -1);
      publish.endMs = performance.now();
      await new Promise((resolve) => setTimeout(resolve, this.#loadRandom.between(5, 25)));
    }
  }

  /** While something is broken, half of the subscribers leave and come back. */
  async #churn(signal: AbortSignal): Promise<void> {
    const restless = this.#subscribers.filter((_, index) => isRestless(index));
    while (!signal.aborted) {
      this.#loadRandom.pick(restless).current?.connection.close();
      await new Promise((resolve) => setTimeout(resolve, this.#loadRandom.between(50, 400)));
    }
  }

  /** Resolves when so many more have been answered with 200. */
  async #published(count: number): Promise<void> {
    const answered = () => this.#publishes.filter(({ status }) => status === 200).length;
    const goal = answered() + count;
    await eventually(`${count} more are published`, 20_000, () => answered() >= goal || `${answered()} of ${goal}`);
  }

  async #allHome(): Promise<void> {
    await eventually('all subscribers are back', 30_000, () => {
      const away = this.#subscribers.filter(({ isHome }) => !isHome).length;
      return away === 0 || `${away} are away`;
    });
  }

  // ── Faults ─────────────────────────────────────────────────────────────────────────────────────────────────────

  async #strike(fault: Fault): Promise<void> {
    const cluster = this.#cluster;
    switch (fault) {
      case 'kill an edge': {
        const edge = this.#random.pick(this.#edges);
        this.#edges = this.#edges.filter((other) => other !== edge);
        await this.#broken(fault, edge, async () => {
          await cluster.kill(edge);
          this.#edges.push(await cluster.start('edge'));
        });
        return;
      }
      case 'stop an edge': {
        const edge = this.#random.pick(this.#edges);
        this.#edges = this.#edges.filter((other) => other !== edge);
        await this.#broken(fault, edge, async () => {
          const leases = () => cluster.redis.do((client) => client.zcard('starling:{nodes}:leases'));
          const before = await leases();
          edge.run.child.kill('SIGSTOP');
          await eventually('its lease ends', 15_000, async () => (await leases()) < before || 'it is still there');
          edge.run.child.kill('SIGCONT');
          await cluster.isReady(edge, true, 15_000);
        });
        this.#edges.push(edge);
        return;
      }
      case 'cut an edge':
      case 'cut an api': {
        const node = fault === 'cut an edge' ? this.#random.pick(this.#edges) : this.#random.pick(this.#apis);
        await this.#broken(fault, node, async () => {
          const back = await this.#gapOf([node]);
          node.proxy.refuse();
          await new Promise((resolve) => setTimeout(resolve, this.#random.between(0, 2_000)));
          node.proxy.mend();
          await back();
        });
        return;
      }
      case 'restart redis':
        await this.#broken(fault, undefined, async () => {
          const back = await this.#gapOf([...this.#edges, ...this.#apis]);
          await cluster.redis.stop();
          await new Promise((resolve) => setTimeout(resolve, this.#random.between(0, 2_000)));
          await cluster.redis.start();
          await back();
        });
        return;
      case 'pause redis':
        await this.#broken(fault, undefined, async () => {
          await cluster.redis.do((client) => client.call('CLIENT', 'PAUSE', this.#random.between(500, 4_000), 'ALL'));
          await cluster.redis.do((client) => client.ping());
          await Promise.all([...this.#edges, ...this.#apis].map((node) => cluster.isReady(node, true, 15_000)));
        });
        return;
      default:
        fault satisfies never;
    }
  }

  async #broken(fault: Fault, node: Node | undefined, run: () => Promise<void>): Promise<void> {
    const window: Breakage = { fault, node, beginMs: performance.now(), endMs: Number.POSITIVE_INFINITY };
    this.#windows.push(window);
    await run();
    window.endMs = performance.now() + afterwardsMs;
  }

  /** To be asked before the cut; what it gives resolves when all these nodes are subscribed again, and ready. */
  async #gapOf(nodes: readonly Node[]): Promise<() => Promise<void>> {
    const count = (node: Node) => this.#cluster.metric(node, 'starling_redis_gaps_total');
    const before = await Promise.all(nodes.map(count));
    return async () => {
      await Promise.all(
        nodes.map(async (node, index) => {
          await eventually('subscribed again', 15_000, async () => (await count(node)) > before[index]! || 'not yet');
          await this.#cluster.isReady(node, true, 15_000);
        }),
      );
    };
  }

  // ── What came of it ────────────────────────────────────────────────────────────────────────────────────────────

  #history(): History {
    const connections = this.#subscribers.flatMap(({ lives }) => lives);
    return { publishes: this.#publishes, connections, windows: this.#windows };
  }

  /** True when everyone's view of every channel is what it should be; else who sees what. */
  async #disagreement(): Promise<true | string> {
    for (const channel of channels) {
      const inside = this.#subscribers.filter((subscriber) => subscriber.channels.includes(channel));
      const isPresence = presenceChannels.includes(channel);
      const names = [...new Set(inside.map(({ user }) => user))].sort().join();
      for (const api of this.#apis) {
        const info = isPresence ? 'subscription_count,user_count' : 'subscription_count';
        const { body } = await this.#cluster.request(api, 'GET', `/channels/${channel}?info=${info}`);
        const { subscription_count: connections = 0, user_count: userCount } = body;
        if (connections !== inside.length) return `${channel} has ${connections} connections, not ${inside.length}`;
        if (!isPresence) continue;
        const listed = await this.#cluster.usersOf(api, channel);
        if (String(listed) !== names) return `the API lists ${listed} in ${channel}, not ${names}`;
        if (userCount !== listed.length) return `${channel} has ${userCount} users, not ${listed.length}`;
      }
      if (!isPresence) continue;
      for (const { current } of inside) {
        const seen = String(current?.connection.usersOf(channel));
        if (seen === names || current === undefined) continue;
        return `${this.#edgeName(current.node)} shows ${seen} in ${channel}, not ${names}: ${told(current, channel)}`;
      }
    }
    return true;
  }
}

function isRestless(index: number): boolean {
  return index % 2 === 1;
}

/** What a connection was told of who is in a channel, and when. */
function told({ connection }: Life, channel: string): string {
  const frames = connection.heard.filter((heard) => heard.channel === channel && heard.event.startsWith('pusher_int'));
  return frames
    .map(({ event, data, atMs }) => `${atMs.toFixed()} ${event.slice(16)} ${JSON.stringify(data)}`)
    .join('; ');
}
