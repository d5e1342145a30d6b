/** One subscriber connection: what it is subscribed to, and that it is so again, whole, after every cut. */
import { type Clock, type ElapsedMs, fence, msSince, type Observer } from '@starling/ports';
import type { Redis } from 'ioredis';

/** `plain`: SUBSCRIBE; `sharded`: SSUBSCRIBE, which a cluster delivers within one of its shards only. */
export type PubSub = 'plain' | 'sharded';

export interface FeedDeps {
  readonly clock: Clock;
  readonly observer: Observer;
  readonly pubSub: PubSub;
  /** The bytes are the receiver's; it must not throw. */
  onMessage(channel: string, message: Buffer): void;
  /** The cluster says that a channel is not of this server, or no longer. */
  onMoved(): void;
  /** The connection was away for so long; what was published meanwhile did not arrive. */
  onGap(downMs: number, channelCount: number): void;
}

/** Channels in one command: so many are confirmed before more are asked for. */
const batchSize = 500;
const heartbeatMs = 2_000;
const repairDelayMs = 200;

export class Feed {
  readonly #client: Redis;
  readonly #deps: FeedDeps;
  /** By hash tag: channels of one command must be of one slot. */
  readonly #wanted = new Map<string, Set<string>>();
  #size = 0;
  /** Counts the connections, so that what was begun on one is not finished on the next. */
  #connection = 0;
  #isWhole = false;
  #cutAt: ElapsedMs | null = null;
  #isStopped = false;
  /** Resolves when the first connection is made. */
  readonly opened: Promise<void>;

  constructor(client: Redis, deps: FeedDeps) {
    this.#client = client;
    this.#deps = deps;
    this.opened = new Promise((resolve) => client.once('ready', resolve));
  }

  /** Subscribed to everything it should be. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  get channelCount(): number {
    return this.#size;
  }

  /** Connects, and goes on trying when that fails. Returns the function that ends it. */
  start(): () => void {
    const client = this.#client;
    const { observer, pubSub, onMessage, onMoved } = this.#deps;
    // What one of these throws would come out of ioredis's parser, and end the process or the connection.
    client.on(
      'ready',
      fence(observer, 'stream', () => this.#restore(++this.#connection)),
    );
    client.on(
      'close',
      fence(observer, 'stream', () => {
        this.#connection++;
        this.#isWhole = false;
        this.#cutAt ??= this.#deps.clock.elapsed();
      }),
    );
    client.on('moved', fence(observer, 'stream', onMoved));
    client.on(
      pubSub === 'sharded' ? 'smessageBuffer' : 'messageBuffer',
      fence(observer, 'broker message', (channel: Buffer, message: Buffer) => onMessage(channel.toString(), message)),
    );
    // A failure is reported by the client's "error" event, and tried again.
    client.connect().catch(() => undefined);
    this.#beat();
    return () => {
      this.#isStopped = true;
      client.disconnect();
    };
  }

  /** Resolves when Redis has confirmed it; rejects with ioredis's error, and then nothing is wanted. */
  async subscribe(channel: string): Promise<void> {
    this.#want(channel);
    try {
      await this.#send('subscribe', [channel]);
    } catch (err) {
      this.#unwant(channel);
      throw err;
    }
  }

  /** Without a connection there is nothing to do but to forget: none of it will be asked for again. */
  async unsubscribe(channel: string): Promise<void> {
    this.#unwant(channel);
    if (this.#client.status !== 'ready') return;
    try {
      await this.#send('unsubscribe', [channel]);
    } catch {
      // Only a lost connection fails it, and with the connection the subscription is gone.
    }
  }

  /** Takes over channels from another feed: wanted at once, confirmed as soon as may be. */
  adopt(channels: readonly string[]): void {
    for (const channel of channels) this.#want(channel);
    if (this.#client.status === 'ready') this.#restoreFenced(this.#connection);
  }

  #want(channel: string): void {
    const tag = tagOf(channel);
    const channels = this.#wanted.get(tag) ?? new Set();
    this.#wanted.set(tag, channels);
    this.#size += channels.has(channel) ? 0 : 1;
    channels.add(channel);
  }

  #unwant(channel: string): void {
    const tag = tagOf(channel);
    const channels = this.#wanted.get(tag);
    if (!channels?.delete(channel)) return;
    this.#size--;
    if (channels.size === 0) this.#wanted.delete(tag);
  }

  #restoreFenced(connection: number): void {
    this.#restore(connection).catch((err: unknown) => this.#deps.observer.defect('rejection', err));
  }

  /** Rejects only with what a listener of the gap throws. */
  async #restore(connection: number): Promise<void> {
    this.#isWhole = false;
    try {
      for (const [tag, channels] of [...this.#wanted]) {
        const all = [...channels];
        for (let start = 0; start < all.length; start += batchSize) {
          // Some may have been left since this began.
          const batch = all.slice(start, start + batchSize).filter((channel) => this.#wanted.get(tag)?.has(channel));
          if (batch.length > 0) await this.#send('subscribe', batch);
          if (this.#connection !== connection) return;
        }
      }
    } catch (err) {
      if (this.#connection !== connection || this.#isStopped) return;
      this.#deps.observer.problem('redis resubscribe failed', { err: String(err) });
      this.#deps.clock.after(repairDelayMs, () => {
        if (this.#connection === connection) this.#restoreFenced(connection);
      });
      return;
    }
    this.#isWhole = true;
    if (this.#cutAt === null) return;
    const downMs = Math.round(msSince(this.#cutAt, this.#deps.clock));
    this.#cutAt = null;
    this.#deps.onGap(downMs, this.#size);
  }

  async #send(verb: 'subscribe' | 'unsubscribe', channels: readonly string[]): Promise<void> {
    if (this.#deps.pubSub === 'sharded') {
      await this.#client[verb === 'subscribe' ? 'ssubscribe' : 'sunsubscribe'](...channels);
    } else await this.#client[verb](...channels);
  }

  /** A connection that lost its peer without a word is noticed by an answer that does not come; see `connect.ts`. */
  #beat(): void {
    this.#deps.clock.after(heartbeatMs, () => {
      if (this.#isStopped) return;
      this.#beat();
      // It fails with the connection, which is reported and made anew all the same.
      if (this.#client.status === 'ready') this.#client.ping().catch(() => undefined);
    });
  }
}

function tagOf(channel: string): string {
  return channel.slice(channel.indexOf('{'), channel.indexOf('}') + 1);
}
