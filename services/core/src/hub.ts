/**
 * Who is subscribed on this node, and the way of a message to them.
 *
 * Hot path. `deliver` runs once per message and its loop once per subscriber: nothing here parses, logs, awaits, or
 * allocates per subscriber; a message is framed once per codec.
 */

import {
  type Broker,
  type BrokerMessage,
  type Clock,
  type Codec,
  decodeTransition,
  type Frame,
  isUserTopic,
  longAgo,
  msSince,
  type Observer,
  probeTopic,
  type Topic,
} from '@starling/ports';
import { type ServerEvent, StarlingError } from '@starling/protocol';
import { Delivery } from './delivery.ts';
import type { Outbox } from './outbox.ts';
import type { AppTraffic } from './traffic.ts';
import { transitionEvent } from './transition-event.ts';

/** What the hub knows of a session. */
export interface Receiver {
  readonly socketId: string;
  readonly outbox: Outbox;
  readonly traffic: AppTraffic;
  /** Queues what tells it, where the receiver's dialect has a word for it, and counts it. */
  deliver(delivery: Delivery): void;
  /** A backend ordered the user's connections closed. */
  terminate(): void;
  /** What was done for this connection threw: it ends. Never throws. */
  broken(err: unknown): void;
}

/** One session's place in one topic. */
export class Subscription {
  readonly topic: Topic;
  readonly receiver: Receiver;
  /** What arrived before the newcomer was told it has joined; null once it is live. */
  #held: Delivery[] | null = [];
  /** By how many it is held: only the last one's release makes it live. */
  #holds = 1;
  #heldBytes = 0;
  /** The retained event with this position has been replayed to the newcomer: only later ones are news. */
  seenEventPosition = 0;
  /** Transitions up to this position are in what the newcomer was told of who is there. */
  seenTransitionPosition = 0;

  constructor(topic: Topic, receiver: Receiver) {
    this.topic = topic;
    this.receiver = receiver;
  }

  get isHolding(): boolean {
    return this.#held !== null;
  }

  /** As before the first release. Each call needs one of `release`. */
  holdAgain(): void {
    this.#holds++;
    this.#held ??= [];
  }

  hold(delivery: Delivery, maxBytes: number): void {
    const { outbox } = this.receiver;
    const bytes = this.#heldBytes + delivery.byteLength + 64;
    if (bytes > Math.min(maxBytes, outbox.allowedBytes)) {
      outbox.overflow();
      return;
    }
    this.#holdBytes(bytes);
    this.#held?.push(delivery);
  }

  /** Drops what is held, and goes on holding. */
  forget(): void {
    if (this.#held !== null) this.#held = [];
    this.#holdBytes(0);
  }

  /** What is held for newcomers waits for a peer, as what is in its outbox does, and counts with it. */
  #holdBytes(bytes: number): void {
    this.receiver.outbox.hold(bytes - this.#heldBytes);
    this.#heldBytes = bytes;
  }

  /** Whether the newcomer has been told of this already. */
  knows({ message }: Delivery): boolean {
    if (message === undefined) return false;
    const { kind, position } = message;
    return (
      position !== undefined &&
      position <= (kind === 'transition' ? this.seenTransitionPosition : this.seenEventPosition)
    );
  }

  /** From now on messages go straight to the outbox, those held until now before them. */
  release(): void {
    if (--this.#holds > 0) return;
    const held = this.#held ?? [];
    this.#held = null;
    this.#holdBytes(0);
    for (const delivery of held) if (!this.knows(delivery)) this.receiver.deliver(delivery);
  }
}

class TopicEntry {
  readonly topic: Topic;
  readonly subscriptions = new Set<Subscription>();
  /** The broker is known to bring the topic's messages. */
  isLinked = false;
  /** Settles with the broker call under way. There is never more than one for a topic. */
  linking: Promise<void> | null = null;
  emptiedAt = longAgo;

  constructor(topic: Topic) {
    this.topic = topic;
  }
}

export interface HubDeps {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly nodeId: string;
}

/** How long a topic stays linked after its last subscriber left, so that a page reload costs the broker nothing. */
const lingerMs = 1_000;
/** Topics that linger at once; about 5 MB of them. */
const mostEmptied = 5_000;
/** Bytes held for one newcomer while its subscribe is being decided. */
const maxHeldBytes = 1_048_576;

const nothing = new Uint8Array();

/** A frame is a JSON object, and nobody parses it here: what is none would be sent to every subscriber. */
function isObject(payload: Uint8Array): boolean {
  return payload[0] === 0x7b && payload[payload.byteLength - 1] === 0x7d;
}

export class Hub {
  readonly #deps: HubDeps;
  readonly #topics = new Map<Topic, TopicEntry>();
  readonly #emptied = new Set<TopicEntry>();
  #isSweeping = false;
  readonly #probeTopic: Topic;
  #probes: Array<() => void> = [];
  readonly #followers = new Map<Topic, (payload: Uint8Array) => void>();

  constructor(deps: HubDeps) {
    this.#deps = deps;
    this.#probeTopic = probeTopic(deps.nodeId);
    this.#followers.set(this.#probeTopic, () => this.#answerProbes());
  }

  /** Call before any subscription is added. Returns the function that ends it. */
  start(): () => void {
    return this.#deps.broker.listen((topic, message) => {
      const { kind, payload } = message;
      if (kind === 'terminate' || !this.#topics.has(topic) || isObject(payload)) this.deliver(topic, message);
      else this.#deps.observer.problem('a message from the broker holds no frame', { topic });
    });
  }

  /**
   * Once resolved, this node receives the topic's messages and holds them for the newcomer until it is released.
   * When it rejects, the subscription has been taken out again.
   */
  async add(subscription: Subscription): Promise<void> {
    let entry = this.#topics.get(subscription.topic);
    if (entry === undefined) {
      entry = new TopicEntry(subscription.topic);
      this.#topics.set(subscription.topic, entry);
    }
    entry.subscriptions.add(subscription);
    this.#emptied.delete(entry);
    try {
      // A loop, because an unsubscribe may be under way: first it ends, then the link is made anew. Not for who has been
      // removed meanwhile: with nobody left the link would be taken away over and over, and the loop never end.
      while (!entry.isLinked && entry.subscriptions.has(subscription)) await (entry.linking ?? this.#link(entry));
      // What came over a link that was then taken away is not followed by what was published until the next was there.
      subscription.forget();
    } catch (err) {
      this.remove(subscription);
      throw err;
    }
  }

  /** Delivery stops at once. */
  remove(subscription: Subscription): void {
    subscription.forget();
    const entry = this.#topics.get(subscription.topic);
    if (entry === undefined || !entry.subscriptions.delete(subscription) || entry.subscriptions.size > 0) return;
    entry.emptiedAt = this.#deps.clock.elapsed();
    this.#emptied.add(entry);
    this.#sweepLater();
    // Who joins and leaves ever new channels would keep them all for that second, and pay for none.
    for (const oldest of this.#emptied) {
      if (this.#emptied.size <= mostEmptied) break;
      this.#emptied.delete(oldest);
      void this.#dismantle(oldest);
    }
  }

  /**
   * Never throws. Who threw is ended, and the others get the message all the same: a loop over a set that was left by a
   * `throw` goes on where it stood, so that this costs nothing while nobody throws.
   */
  deliver(topic: Topic, message: BrokerMessage): void {
    const entry = this.#topics.get(topic);
    if (entry === undefined) this.#tellFollower(topic, message.payload);
    else if (message.kind === 'terminate') this.#terminate(entry);
    else {
      const delivery = this.#deliveryOf(topic, message);
      if (delivery !== undefined) this.#deliver(entry, delivery);
    }
  }

  #deliver(entry: TopicEntry, delivery: Delivery): void {
    const { clock } = this.#deps;
    const beganMs = clock.elapsed();
    const except = delivery.message?.except;
    const isPositioned = delivery.message?.position !== undefined;
    let codec: Codec | null = null;
    let frame: Frame | null = null;
    // One topic is of one app: its counts are added up here and written once.
    let last: Receiver | null = null;
    let delivered = 0;
    let deliveredBytes = 0;
    const subscriptions = entry.subscriptions.values();
    /** At whom the loop is; null while the message is framed, which is nobody's fault but the message's. */
    let current: Receiver | null = null;
    let isDone = false;
    while (!isDone) {
      try {
        for (const subscription of subscriptions) {
          const { receiver } = subscription;
          current = receiver;
          if (except !== undefined && receiver.socketId === except) continue;
          if (subscription.isHolding) {
            subscription.hold(delivery, maxHeldBytes);
            continue;
          }
          if (isPositioned && subscription.knows(delivery)) continue;
          const { outbox } = receiver;
          if (outbox.codec !== codec) {
            current = null;
            frame = delivery.frame(outbox.codec);
            codec = outbox.codec;
            current = receiver;
          }
          if (frame === null) continue;
          outbox.push(frame);
          last = receiver;
          delivered++;
          deliveredBytes += frame.byteLength;
        }
        isDone = true;
      } catch (err) {
        // Whom it could not be framed for goes without this one; the next asks again.
        if (current === null) this.#deps.observer.defect('broker message', err, { topic: entry.topic });
        else current.broken(err);
      }
    }
    if (last === null) return;
    const { traffic, outbox } = last;
    traffic.delivered += delivered;
    traffic.deliveredBytes += deliveredBytes;
    traffic.spent(msSince(beganMs, clock));
    outbox.sharesFlush(traffic);
  }

  #deliveryOf(topic: Topic, message: BrokerMessage): Delivery | undefined {
    if (message.kind !== 'transition') return new Delivery(message);
    const transition = decodeTransition(message.payload);
    if (transition !== undefined) return new Delivery(message, transitionEvent(topic, transition));
    this.#deps.observer.problem('a transition from the broker cannot be read', { topic });
    return undefined;
  }

  /** Tells a topic's subscribers here what this node knows by itself. Never throws. */
  tell(topic: Topic, event: ServerEvent): void {
    const entry = this.#topics.get(topic);
    if (entry !== undefined) this.#deliver(entry, new Delivery(undefined, event));
  }

  #terminate(entry: TopicEntry): void {
    // Anywhere else it would close who is in a channel: no publisher of ours says it there.
    if (!isUserTopic(entry.topic)) {
      this.#deps.observer.problem('an order to terminate came for what is no user', { topic: entry.topic });
      return;
    }
    // A copy: terminating takes subscriptions out of the set.
    for (const { receiver } of [...entry.subscriptions]) {
      try {
        receiver.terminate();
      } catch (err) {
        receiver.broken(err);
      }
    }
  }

  #tellFollower(topic: Topic, payload: Uint8Array): void {
    try {
      this.#followers.get(topic)?.(payload);
    } catch (err) {
      this.#deps.observer.defect('broker message', err, { topic });
    }
  }

  /**
   * Tells a topic's subscribers here anew what they keep account of. What arrives while `read` is under way is delivered
   * behind its answer, unless that includes it. False: newcomers were not told, since what they are being told may be as
   * old; ask again when that is done.
   */
  async resync(
    topic: Topic,
    read: () => Promise<{ readonly event: ServerEvent; readonly position: number }>,
  ): Promise<boolean> {
    const entry = this.#topics.get(topic);
    if (entry === undefined) return true;
    const live = [...entry.subscriptions].filter((subscription) => !subscription.isHolding);
    const areAll = live.length === entry.subscriptions.size;
    for (const subscription of live) subscription.holdAgain();
    const stillHere = () => live.filter((subscription) => entry.subscriptions.has(subscription));
    try {
      const { event, position } = await read();
      const delivery = new Delivery(undefined, event);
      for (const subscription of stillHere()) {
        // Told meanwhile by another way, of the same or something newer.
        if (subscription.seenTransitionPosition >= position) continue;
        subscription.seenTransitionPosition = position;
        subscription.receiver.deliver(delivery);
      }
    } finally {
      for (const subscription of stillHere()) subscription.release();
    }
    return areAll;
  }

  /**
   * For a topic of no app, which has no subscribers: `read` is given its messages once this has resolved. One reader for
   * each topic.
   */
  async follow(topic: Topic, read: (payload: Uint8Array) => void): Promise<void> {
    this.#followers.set(topic, read);
    await this.#deps.broker.subscribe(topic);
  }

  /** Ends what `follow` began. That the broker could not be told costs it a message now and then, which nobody reads. */
  unfollow(topic: Topic): void {
    this.#followers.delete(topic);
    this.#deps.broker.unsubscribe(topic).catch(() => undefined);
  }

  /** Resolves when a message published by this node has come back to it; rejects `unavailable` otherwise. */
  async probe(timeoutMs: number): Promise<void> {
    const { broker, clock } = this.#deps;
    await broker.subscribe(this.#probeTopic);
    await new Promise<void>((resolve, reject) => {
      const answered = (): void => {
        cancel();
        resolve();
      };
      const cancel = clock.after(timeoutMs, () => {
        this.#probes = this.#probes.filter((probe) => probe !== answered);
        reject(new StarlingError('unavailable', `A message published to itself did not come back in ${timeoutMs} ms`));
      });
      this.#probes.push(answered);
      broker.publish(this.#probeTopic, { kind: 'event', payload: nothing }).catch(reject);
    });
  }

  #answerProbes(): void {
    const probes = this.#probes;
    this.#probes = [];
    for (const answered of probes) answered();
  }

  /** Makes the link what the entry needs, one broker call at a time. */
  #link(entry: TopicEntry): Promise<void> {
    const isWanted = entry.subscriptions.size > 0;
    const { broker } = this.#deps;
    // From the call on, not from its answer: who comes meanwhile must not rely on what is being taken away.
    entry.isLinked = false;
    const call = (isWanted ? broker.subscribe(entry.topic) : broker.unsubscribe(entry.topic))
      .then(() => {
        entry.isLinked = isWanted;
      })
      .finally(() => {
        entry.linking = null;
      });
    // Who waits for an unsubscribe to be over wants the opposite: that it failed is nothing to them.
    entry.linking = isWanted ? call : call.catch(() => undefined);
    return call;
  }

  #sweepLater(): void {
    if (this.#isSweeping) return;
    this.#isSweeping = true;
    this.#deps.clock.after(lingerMs, () => {
      this.#isSweeping = false;
      const { clock } = this.#deps;
      for (const entry of this.#emptied) {
        if (msSince(entry.emptiedAt, clock) < lingerMs) continue;
        this.#emptied.delete(entry);
        void this.#dismantle(entry);
      }
      if (this.#emptied.size > 0) this.#sweepLater();
    });
  }

  /** Never rejects. */
  async #dismantle(entry: TopicEntry): Promise<void> {
    try {
      while (entry.linking !== null) await entry.linking;
      if (entry.subscriptions.size > 0 || this.#topics.get(entry.topic) !== entry) return;
      // Even where the subscribe failed: its answer may have been lost.
      await this.#link(entry);
    } catch (err) {
      this.#deps.observer.problem('broker unsubscribe failed', { err, topic: entry.topic });
      // Tried again after the next linger, unless someone has come back by then.
      if (entry.subscriptions.size === 0) {
        entry.emptiedAt = this.#deps.clock.elapsed();
        this.#emptied.add(entry);
        this.#sweepLater();
      }
      return;
    }
    if (entry.subscriptions.size === 0 && entry.linking === null) this.#topics.delete(entry.topic);
  }
}
