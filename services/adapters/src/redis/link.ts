/** One node's connections to Redis, and the one place where Redis's failures become ours. */
import { type Clock, fence, longAgo, msSince, type Observer } from '@starling/ports';
import { StarlingError } from '@starling/protocol';
import { Cluster } from 'ioredis';
import type { RedisAddress } from './address.ts';
import { type CommandClient, createCommandClient, createFeedClient, createShardFeedClient } from './connect.ts';
import { Feed, type FeedDeps, type PubSub } from './feed.ts';
import { type Feeds, ShardedFeeds } from './feeds.ts';
import { Keys } from './keys.ts';
import type { Script } from './scripts.ts';

export interface RedisLinkDeps {
  readonly clock: Clock;
  readonly observer: Observer;
}

type Argument = string | number | Buffer;
type Receive = (channel: string, message: Buffer) => void;

/** How long `start` waits for Redis. */
const startLimitMs = 10_000;
/** What a refused caller is told: as long as a reconnect takes at most. */
const retryAfterSeconds = 1;
/** A dead Redis reports itself dozens of times a second; an operator needs to hear it once in a while. */
const complaintIntervalMs = 10_000;
const refreshDelayMs = 300;

/**
 * Calls reject with `unavailable`, at once while the link is down, and else within two seconds; the links make
 * themselves anew. Shared by the broker, the presence store and the rate limiter of a node.
 */
export class RedisLink {
  readonly keys: Keys;
  readonly #address: RedisAddress;
  readonly #deps: RedisLinkDeps;
  readonly #client: CommandClient;
  readonly #returnListeners = new Set<() => void>();
  #feeds: Feeds | null = null;
  #pubSub: PubSub = 'plain';
  #receive: Receive | null = null;
  readonly #gapListeners = new Set<() => void>();
  #gapCount = 0;
  #complainedAt = longAgo;
  #withheld = 0;
  #isRefreshing = false;
  #isStopped = false;

  constructor(address: RedisAddress, deps: RedisLinkDeps) {
    this.keys = new Keys(address.prefix);
    this.#address = address;
    this.#deps = deps;
    this.#client = createCommandClient(address);
  }

  /** Connects. Rejects `unavailable` when Redis does not answer in ten seconds. Returns the function that ends it all. */
  async start(): Promise<() => Promise<void>> {
    const client = this.#client;
    const fenced = (run: (err: unknown) => void) => fence(this.#deps.observer, 'stream', run);
    client.on(
      'error',
      fenced((err) => this.#complain(err)),
    );
    client.on(
      'node error',
      fenced((err) => this.#complain(err)),
    );
    const endFeeds = await this.#open();
    client.on(
      'ready',
      fenced(() => this.#tellReturn()),
    );
    client.on(
      '+node',
      fenced(() => this.#tellReturn()),
    );
    client.on(
      '-node',
      fenced(() => this.#refreshSoon()),
    );
    return async () => {
      this.#isStopped = true;
      endFeeds();
      client.disconnect();
    };
  }

  get isUp(): boolean {
    return this.#client.status === 'ready';
  }

  /** How often a subscriber connection was cut, each time with messages that may have been missed. */
  get gapCount(): number {
    return this.#gapCount;
  }

  /** The command by which a message goes out, from here and from scripts. */
  get publishVerb(): 'publish' | 'spublish' {
    return this.#pubSub === 'sharded' ? 'spublish' : 'publish';
  }

  /** Whether messages of one channel all go out by one connection. To a cluster without sharded pub/sub they do not. */
  get keepsOrder(): boolean {
    return this.#pubSub === 'sharded' || !(this.#client instanceof Cluster);
  }

  /** Resolves when Redis answers and everything is subscribed that should be. */
  async ping(): Promise<void> {
    await this.command('ping', (client) => client.ping());
    if (!this.#feeds?.isWhole) throw unavailable('the subscriptions are not all back');
  }

  /** The one receiver of messages. Returns the function that takes it away again. */
  listen(receive: Receive): () => void {
    if (this.#receive !== null) throw new Error('A Redis link has one receiver, and this one has it already');
    this.#receive = receive;
    return () => {
      if (this.#receive === receive) this.#receive = null;
    };
  }

  /** Told when all subscriptions are back after some were cut, and by `tellGap`. */
  onGap(listener: () => void): () => void {
    this.#gapListeners.add(listener);
    return () => this.#gapListeners.delete(listener);
  }

  /** For whoever knows another reason why clients may have missed something. */
  tellGap(): void {
    this.#tell(this.#gapListeners);
  }

  /** Told when a server is back, or another has come in its place: it may have forgotten things. */
  onReturn(listener: () => void): () => void {
    this.#returnListeners.add(listener);
    return () => this.#returnListeners.delete(listener);
  }

  async run(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    return this.command(script.name, async (client) => {
      try {
        return await client.evalsha(script.sha, keys.length, ...keys, ...args);
      } catch (err) {
        if (!(err instanceof Error && err.message.startsWith('NOSCRIPT'))) throw err;
        return await client.eval(script.text, keys.length, ...keys, ...args);
      }
    });
  }

  async publish(channel: string, message: Buffer): Promise<void> {
    await this.command('publish', (client) => client[this.publishVerb](channel, message));
  }

  async subscribe(channel: string): Promise<void> {
    await guarded('subscribe', async () => {
      if (this.#feeds === null) throw new Error('the link was not started');
      await this.#feeds.subscribe(channel);
    });
  }

  async unsubscribe(channel: string): Promise<void> {
    await this.#feeds?.unsubscribe(channel);
  }

  /** Any other command. `what` is for the error's text. */
  async command<T>(what: string, call: (client: CommandClient) => Promise<T>): Promise<T> {
    return guarded(what, () => call(this.#client));
  }

  /** Returns the function that ends the feeds. */
  async #open(): Promise<() => void> {
    const client = this.#client;
    const ends: Array<() => void> = [];
    const noAnswer = 'no answer';
    let lastError: unknown = noAnswer;
    const note = (err: unknown): void => {
      // These follow from another, which was noted before them and says why.
      if (lastError !== noAnswer && /^(Connection is closed|Failed to refresh slots)/.test(textOf(err))) return;
      lastError = err;
    };
    client.on('node error', note);
    client.on('error', note);
    const opened = async (): Promise<void> => {
      // The client goes on trying until the limit.
      client.connect().catch(note);
      await untilReady(client);
      if (client instanceof Cluster) await Promise.all(client.nodes('master').map(untilReady));
      // The client goes on in database 0 where the server has none of this number.
      else if (this.#address.db !== 0) await this.command('select', () => client.select(this.#address.db));
      this.#pubSub = await this.#choosePubSub();
      this.#feeds = this.#createFeeds();
      ends.push(this.#feeds.start());
      await this.#feeds.opened;
    };
    let cancel = (): void => undefined;
    const limit = new Promise<never>((_, reject) => {
      cancel = this.#deps.clock.after(startLimitMs, () => reject(unavailable(textOf(lastError))));
    });
    try {
      await Promise.race([opened(), limit]);
    } catch (err) {
      client.disconnect();
      for (const end of ends) end();
      throw err;
    } finally {
      cancel();
      client.off('error', note);
      client.off('node error', note);
    }
    return () => {
      for (const end of ends) end();
    };
  }

  async #choosePubSub(): Promise<PubSub> {
    if (this.#address.kind !== 'cluster') return 'plain';
    const info = await this.command('info', (client) => client.info('server'));
    const major = Number(/redis_version:(\d+)/.exec(info)?.[1]);
    if (major >= 7) return 'sharded';
    this.#deps.observer.problem('redis has no sharded pub/sub: every message goes to every server of the cluster', {});
    return 'plain';
  }

  #createFeeds(): Feeds {
    const deps: Omit<FeedDeps, 'onMoved'> = {
      clock: this.#deps.clock,
      observer: this.#deps.observer,
      pubSub: this.#pubSub,
      onMessage: (channel, message) => this.#receive?.(channel, message),
      onGap: (downMs, channelCount) => {
        this.#gapCount++;
        this.tellGap();
        this.#deps.observer.note('redis subscriptions are back after a gap', { downMs, channelCount });
      },
    };
    const client = this.#client;
    if (client instanceof Cluster) {
      const createClient = (host: string, port: number) => {
        const shard = createShardFeedClient(this.#address, host, port);
        shard.on(
          'error',
          fence(this.#deps.observer, 'stream', (err: unknown) => this.#complain(err)),
        );
        return shard;
      };
      return new ShardedFeeds({ ...deps, cluster: client, createClient });
    }
    const subscriber = createFeedClient(this.#address);
    subscriber.on(
      'error',
      fence(this.#deps.observer, 'stream', (err: unknown) => this.#complain(err)),
    );
    return new Feed(subscriber, { ...deps, onMoved: () => undefined });
  }

  /** A server of the cluster went away: whatever comes in its place is to be found before the next regular round. */
  #refreshSoon(): void {
    const client = this.#client;
    if (this.#isRefreshing || !(client instanceof Cluster)) return;
    this.#isRefreshing = true;
    this.#deps.clock.after(refreshDelayMs, () => {
      this.#isRefreshing = false;
      if (!this.#isStopped) client.refreshSlotsCache();
    });
  }

  #tellReturn(): void {
    this.#tell(this.#returnListeners);
  }

  /** Each, whatever another does. */
  #tell(listeners: ReadonlySet<() => void>): void {
    for (const listener of [...listeners]) fence(this.#deps.observer, 'listener', listener)();
  }

  #complain(err: unknown): void {
    this.#withheld++;
    if (msSince(this.#complainedAt, this.#deps.clock) < complaintIntervalMs) return;
    this.#deps.observer.problem('redis connection failed', { err: textOf(err), times: this.#withheld });
    this.#complainedAt = this.#deps.clock.elapsed();
    this.#withheld = 0;
  }
}

async function untilReady(client: CommandClient): Promise<void> {
  if (client.status !== 'ready') await new Promise<void>((resolve) => client.once('ready', resolve));
}

/** Answers that say nothing of the call and all of the state in which Redis is. */
const worldFailures =
  /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|BUSY|OOM|MISCONF|NOREPLICAS|NOAUTH|WRONGPASS|NOPERM|ERR The user executing the script)|-READONLY/;

async function guarded<T>(what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (err) {
    const isReply = err instanceof Error && err.name === 'ReplyError';
    if (!isReply || worldFailures.test(err.message)) throw unavailable(`${what}: ${textOf(err)}`);
    throw new StarlingError('internal', `Redis refused ${what}: ${textOf(err)}`);
  }
}

function unavailable(text: string): StarlingError {
  return new StarlingError('unavailable', `Redis is not available: ${text}`, { retryAfterSeconds });
}

/** The text and no more: ioredis hangs the command on its errors, payload, passwords and all. */
function textOf(err: unknown): string {
  return err instanceof Error ? err.message : String(err);
}
