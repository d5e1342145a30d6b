/** The broker of many nodes: one Redis channel for each topic that has a subscriber somewhere. */
import type { Broker, BrokerMessage, Deliver, Observer, PublishOptions, RetainedMessage, Topic } from '@starling/ports';
import { limits } from '@starling/protocol';
import { decodeEnvelope, encodeEnvelope, encodeUnplaced } from './envelope.ts';
import type { RedisLink } from './link.ts';
import { scripts } from './scripts.ts';

export class RedisBroker implements Broker {
  readonly #link: RedisLink;
  readonly #observer: Observer;
  /** By Redis channel: what arrives is of these topics or of none. */
  readonly #topics = new Map<string, Topic>();
  /** By Redis channel: the last publish under way, where the next must wait for it. */
  readonly #publishing = new Map<string, Promise<void>>();

  /** The link may still have to be started. */
  constructor(link: RedisLink, observer: Observer) {
    this.#link = link;
    this.#observer = observer;
  }

  async publish(topic: Topic, message: BrokerMessage, options: PublishOptions = {}): Promise<number | undefined> {
    const { retainSeconds, idempotencyKey: id } = options;
    const { keys, publishVerb } = this.#link;
    const channel = keys.channel(topic);
    const seen = id === undefined ? [] : [keys.messageId(topic, id)];
    if (retainSeconds !== undefined) {
      const position = await this.#link.run(
        scripts.retain,
        [keys.retained(topic), keys.place(topic).partition.position, channel, ...seen],
        [encodeUnplaced(message), retainSeconds * 1_000, publishVerb, limits.messageIdSeconds],
      );
      return position === null ? undefined : Number(position);
    }
    if (id !== undefined) {
      const given = [encodeEnvelope(message), publishVerb, limits.messageIdSeconds];
      await this.#link.run(scripts.once, [channel, ...seen], given);
    } else {
      const bytes = encodeEnvelope(message);
      await (this.#link.keepsOrder ? this.#link.publish(channel, bytes) : this.#publishInTurn(channel, bytes));
    }
    return undefined;
  }

  async #publishInTurn(channel: string, bytes: Buffer): Promise<void> {
    const before = this.#publishing.get(channel) ?? Promise.resolve();
    const publish = (): Promise<void> => this.#link.publish(channel, bytes);
    // Whatever became of the one before.
    const own = before.then(publish, publish);
    this.#publishing.set(channel, own);
    try {
      await own;
    } finally {
      if (this.#publishing.get(channel) === own) this.#publishing.delete(channel);
    }
  }

  async retained(topic: Topic): Promise<RetainedMessage | undefined> {
    const key = this.#link.keys.retained(topic);
    // In one transaction, so that the time is that of this message.
    const results = await this.#link.command('retained', (client) => client.multi().getBuffer(key).pttl(key).exec());
    const [[, bytes] = [], [, leftMs] = []] = results ?? [];
    if (!Buffer.isBuffer(bytes) || typeof leftMs !== 'number' || leftMs <= 0) return undefined;
    const message = decodeEnvelope(bytes);
    if (message?.position === undefined) return undefined;
    return { message: { ...message, position: message.position }, ttlSeconds: Math.ceil(leftMs / 1_000) };
  }

  async subscribe(topic: Topic): Promise<void> {
    const channel = this.#link.keys.channel(topic);
    if (this.#topics.has(channel)) return;
    this.#topics.set(channel, topic);
    try {
      await this.#link.subscribe(channel);
    } catch (err) {
      this.#topics.delete(channel);
      throw err;
    }
  }

  async unsubscribe(topic: Topic): Promise<void> {
    const channel = this.#link.keys.channel(topic);
    if (this.#topics.delete(channel)) await this.#link.unsubscribe(channel);
  }

  onGap(listener: () => void): () => void {
    return this.#link.onGap(listener);
  }

  listen(deliver: Deliver): () => void {
    return this.#link.listen((channel, bytes) => {
      const topic = this.#topics.get(channel);
      if (topic === undefined) return;
      const message = decodeEnvelope(bytes);
      if (message === undefined) this.#observer.problem('a message in an unknown form came over redis', { topic });
      else deliver(topic, message);
    });
  }
}
