/** The broker of a single node: a publish is a direct call. */
import {
  appIdOfTopic,
  type Broker,
  type BrokerMessage,
  type Clock,
  type Deliver,
  type ElapsedMs,
  later,
  longAgo,
  type PublishOptions,
  type RetainedMessage,
  type Topic,
} from '@starling/ports';
import { limits } from '@starling/protocol';

export interface MemoryBrokerOptions {
  /**
   * How much the retained messages of one app may hold, in bytes of payload with a fixed share for each message. Past
   * it the oldest are dropped: whoever has a key can trigger on ever new cache channels, and must not fill the process.
   */
  readonly retainedBytesPerApp?: number;
  /** How many message ids of one app are remembered. Past it the oldest are forgotten. */
  readonly messageIdsPerApp?: number;
  /**
   * The same of all apps together: one app has at most half of what the others leave, so that however many fill their
   * shelves there is room for one more.
   */
  readonly retainedBytes?: number;
  readonly messageIds?: number;
}

interface Retained {
  readonly message: BrokerMessage & { readonly position: number };
  readonly expiresAt: ElapsedMs;
}

/** What a retained message costs beside its payload: its topic, its header, its place in the map. */
const retainedOverheadBytes = 512;
const sweepIntervalMs = 60_000;

/** One app's retained messages, the one published longest ago first. */
class Shelf {
  readonly #retained = new Map<Topic, Retained>();
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#retained.size === 0;
  }

  get(topic: Topic): Retained | undefined {
    return this.#retained.get(topic);
  }

  put(topic: Topic, retained: Retained, maxBytes: number): void {
    this.delete(topic);
    this.#retained.set(topic, retained);
    this.#bytes += retained.message.payload.byteLength + retainedOverheadBytes;
    for (const oldest of this.#retained.keys()) {
      if (this.#bytes <= maxBytes) break;
      this.delete(oldest);
    }
  }

  delete(topic: Topic): void {
    const retained = this.#retained.get(topic);
    if (retained === undefined) return;
    this.#retained.delete(topic);
    this.#bytes -= retained.message.payload.byteLength + retainedOverheadBytes;
  }

  /** Looks from the oldest to the first that is still good: one kept for a shorter time may wait behind its elder. */
  sweep(now: ElapsedMs): void {
    for (const [topic, { expiresAt }] of this.#retained) {
      if (expiresAt > now) break;
      this.delete(topic);
    }
  }
}

/**
 * Everything happens at the call, before its promise is even returned: who subscribed before a publish receives it
 * inside the publish. A publish made from inside a delivery is delivered when that delivery is done, so that every
 * subscriber sees both in one order.
 */
export class MemoryBroker implements Broker {
  readonly #clock: Clock;
  readonly #retainedBytesPerApp: number;
  readonly #subscribed = new Set<Topic>();
  readonly #shelves = new Map<string, Shelf>();
  readonly #messageIdsPerApp: number;
  readonly #retainedBytes: number;
  readonly #messageIdsMax: number;
  /** What all shelves hold. */
  #bytes = 0;
  #idCount = 0;
  /** By app: topic and id to when it may be used again, the one used longest ago first. */
  readonly #messageIds = new Map<string, Map<string, ElapsedMs>>();
  #isSweeping = false;
  #deliver: Deliver | null = null;
  readonly #undelivered: Array<readonly [Topic, BrokerMessage]> = [];
  #isDelivering = false;
  #position = 0;

  constructor(clock: Clock, options: MemoryBrokerOptions = {}) {
    this.#clock = clock;
    this.#retainedBytesPerApp = options.retainedBytesPerApp ?? 64 * 1_048_576;
    this.#messageIdsPerApp = options.messageIdsPerApp ?? 100_000;
    this.#retainedBytes = options.retainedBytes ?? 4 * this.#retainedBytesPerApp;
    this.#messageIdsMax = options.messageIds ?? 4 * this.#messageIdsPerApp;
  }

  async publish(topic: Topic, message: BrokerMessage, options: PublishOptions = {}): Promise<number | undefined> {
    const { retainSeconds, idempotencyKey: id } = options;
    if (id !== undefined && !this.#isFirst(topic, id)) return undefined;
    if (retainSeconds === undefined) {
      this.#send(topic, message);
      return undefined;
    }
    // One counter for all topics: a topic's positions go on increasing after its last message was dropped.
    const retained = { ...message, position: ++this.#position };
    // A copy: a small buffer may be a view of a large shared one, which would live as long as this message.
    const kept = { ...retained, payload: new Uint8Array(message.payload) };
    this.#retain(topic, { message: kept, expiresAt: later(this.#clock.elapsed(), retainSeconds * 1_000) });
    this.#send(topic, retained);
    return retained.position;
  }

  async retained(topic: Topic): Promise<RetainedMessage | undefined> {
    const retained = this.#shelves.get(appIdOfTopic(topic))?.get(topic);
    if (retained === undefined) return undefined;
    const leftMs = retained.expiresAt - this.#clock.elapsed();
    return leftMs > 0 ? { message: retained.message, ttlSeconds: Math.ceil(leftMs / 1_000) } : undefined;
  }

  forgetApp(appId: string): void {
    this.#bytes -= this.#shelves.get(appId)?.bytes ?? 0;
    this.#idCount -= this.#messageIds.get(appId)?.size ?? 0;
    this.#shelves.delete(appId);
    this.#messageIds.delete(appId);
  }

  async subscribe(topic: Topic): Promise<void> {
    this.#subscribed.add(topic);
  }

  async unsubscribe(topic: Topic): Promise<void> {
    this.#subscribed.delete(topic);
  }

  listen(deliver: Deliver): () => void {
    if (this.#deliver !== null) throw new Error('A broker has one receiver, and this one has it already');
    this.#deliver = deliver;
    return () => {
      if (this.#deliver === deliver) this.#deliver = null;
    };
  }

  /** Never: there is no link that could be cut. */
  onGap(): () => void {
    return () => undefined;
  }

  #send(topic: Topic, message: BrokerMessage): void {
    if (!this.#subscribed.has(topic)) return;
    this.#undelivered.push([topic, message]);
    if (this.#isDelivering) return;
    this.#isDelivering = true;
    try {
      for (let next = this.#undelivered.shift(); next !== undefined; next = this.#undelivered.shift()) {
        this.#deliver?.(...next);
      }
    } finally {
      this.#isDelivering = false;
    }
  }

  #isFirst(topic: Topic, id: string): boolean {
    const appId = appIdOfTopic(topic);
    const ids = this.#messageIds.get(appId) ?? new Map<string, ElapsedMs>();
    this.#messageIds.set(appId, ids);
    const name = `${topic.length}:${topic}${id}`;
    const now = this.#clock.elapsed();
    if ((ids.get(name) ?? longAgo) > now) return false;
    const before = ids.size;
    // Taken out first, so that it goes to the end.
    ids.delete(name);
    ids.set(name, later(now, limits.messageIdSeconds * 1_000));
    const most = Math.min(this.#messageIdsPerApp, Math.max(1, (this.#messageIdsMax - this.#idCount + before) / 2));
    for (const [oldest, until] of ids) {
      if (until > now && ids.size <= most) break;
      ids.delete(oldest);
    }
    this.#idCount += ids.size - before;
    this.#sweepLater();
    return true;
  }

  #retain(topic: Topic, retained: Retained): void {
    const appId = appIdOfTopic(topic);
    let shelf = this.#shelves.get(appId);
    if (shelf === undefined) {
      shelf = new Shelf();
      this.#shelves.set(appId, shelf);
    }
    const before = shelf.bytes;
    const most = Math.min(this.#retainedBytesPerApp, (this.#retainedBytes - this.#bytes + before) / 2);
    shelf.put(topic, retained, most);
    this.#bytes += shelf.bytes - before;
    this.#sweepLater();
  }

  /** So that an app which went quiet gives its memory back. */
  #sweepLater(): void {
    if (this.#isSweeping) return;
    this.#isSweeping = true;
    this.#clock.after(sweepIntervalMs, () => {
      this.#isSweeping = false;
      const now = this.#clock.elapsed();
      for (const [appId, shelf] of this.#shelves) {
        const before = shelf.bytes;
        shelf.sweep(now);
        this.#bytes += shelf.bytes - before;
        if (shelf.isEmpty) this.#shelves.delete(appId);
      }
      for (const [appId, ids] of this.#messageIds) {
        const before = ids.size;
        for (const [id, until] of ids) {
          if (until > now) break;
          ids.delete(id);
        }
        this.#idCount += ids.size - before;
        if (ids.size === 0) this.#messageIds.delete(appId);
      }
      if (this.#shelves.size + this.#messageIds.size > 0) this.#sweepLater();
    });
  }
}
