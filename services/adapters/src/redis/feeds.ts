/** The subscriber connections of one node: one, or on a cluster with sharded pub/sub one to each primary. */
import { fence } from '@starling/ports';
import type { Cluster, Redis } from 'ioredis';
import { Feed, type FeedDeps } from './feed.ts';
import { slotOf } from './keys.ts';

export interface Feeds {
  /** Resolves when a subscribe need not wait for a connection any more. */
  readonly opened: Promise<void>;
  readonly isWhole: boolean;
  start(): () => void;
  subscribe(channel: string): Promise<void>;
  unsubscribe(channel: string): Promise<void>;
}

export interface ShardedFeedsDeps extends Omit<FeedDeps, 'onMoved'> {
  readonly cluster: Cluster;
  createClient(host: string, port: number): Redis;
}

interface Shard {
  readonly feed: Feed;
  readonly ready: Promise<void>;
  readonly stop: () => void;
}

/** How long a subscribe waits for the first connection to a shard. */
const connectLimitMs = 3_000;

/** Follows the cluster: a channel whose slot moves to another primary is subscribed there. */
export class ShardedFeeds implements Feeds {
  readonly #deps: ShardedFeedsDeps;
  /** By the primary's `host:port`. */
  readonly #shards = new Map<string, Shard>();
  readonly #homes = new Map<string, Shard>();
  /** The primary of each slot when the channels were last sorted. */
  #primaries: readonly (string | undefined)[] = [];
  #isStopped = false;
  /** A shard's connection is made when it is first needed. */
  readonly opened = Promise.resolve();

  constructor(deps: ShardedFeedsDeps) {
    this.#deps = deps;
  }

  get isWhole(): boolean {
    return [...this.#shards.values()].every(({ feed }) => feed.isWhole);
  }

  start(): () => void {
    const onRefresh = fence(this.#deps.observer, 'stream', () => this.#rehome());
    this.#deps.cluster.on('refresh', onRefresh);
    return () => {
      this.#isStopped = true;
      this.#deps.cluster.off('refresh', onRefresh);
      for (const shard of this.#shards.values()) shard.stop();
    };
  }

  async subscribe(channel: string): Promise<void> {
    const shard = this.#shardOf(channel);
    await shard.ready;
    this.#homes.set(channel, shard);
    try {
      await shard.feed.subscribe(channel);
    } catch (err) {
      this.#homes.delete(channel);
      throw err;
    }
  }

  async unsubscribe(channel: string): Promise<void> {
    const shard = this.#homes.get(channel);
    this.#homes.delete(channel);
    await shard?.feed.unsubscribe(channel);
  }

  #primaryOf(channel: string): string {
    const primary = this.#deps.cluster.slots[slotOf(channel)]?.[0];
    if (primary === undefined) throw new Error('No server of the cluster has the slot of this channel');
    return primary;
  }

  #shardOf(channel: string): Shard {
    const primary = this.#primaryOf(channel);
    return this.#shards.get(primary) ?? this.#open(primary);
  }

  #open(primary: string): Shard {
    const colon = primary.lastIndexOf(':');
    const client = this.#deps.createClient(primary.slice(0, colon), Number(primary.slice(colon + 1)));
    const feed = new Feed(client, { ...this.#deps, onMoved: () => this.#deps.cluster.refreshSlotsCache() });
    const ready = new Promise<void>((resolve, reject) => {
      feed.opened.then(resolve, reject);
      this.#deps.clock.after(connectLimitMs, () => reject(new Error(`No connection to ${primary}`)));
    });
    // Whoever subscribes hears of it; without one it matters to nobody.
    ready.catch(() => undefined);
    const shard = { feed, ready, stop: feed.start() };
    this.#shards.set(primary, shard);
    return shard;
  }

  #rehome(): void {
    const primaries = this.#deps.cluster.slots.map((nodes) => nodes?.[0]);
    if (this.#isStopped || primaries.every((primary, slot) => primary === this.#primaries[slot])) return;
    this.#primaries = primaries;
    const moved = new Map<Shard, string[]>();
    for (const [channel, home] of this.#homes) {
      const shard = this.#shardOf(channel);
      if (shard === home) continue;
      this.#homes.set(channel, shard);
      const channels = moved.get(shard);
      if (channels === undefined) moved.set(shard, [channel]);
      else channels.push(channel);
      home.feed.unsubscribe(channel).catch((err: unknown) => this.#deps.observer.defect('rejection', err));
    }
    for (const [shard, channels] of moved) shard.feed.adopt(channels);
    const serving = new Set(primaries);
    for (const [primary, shard] of this.#shards) {
      if (serving.has(primary) || shard.feed.channelCount > 0) continue;
      this.#shards.delete(primary);
      shard.stop();
    }
  }
}
