import type { Topic } from './topic.ts';

/**
 * What nodes pass to one another: a small header and the frame text that clients receive, encoded once by the
 * publisher. No node parses or encodes it again.
 */
export interface BrokerMessage {
  /**
   * `event`: deliver `payload` to the topic's subscribers.
   * `transition`: the presence store announces a member's coming or going; `payload` is the fact, see `decodeTransition`.
   * `terminate`: close the topic's subscribers; `payload` is empty.
   */
  readonly kind: 'event' | 'transition' | 'terminate';
  /** The frame as UTF-8; an adapter may drop what is none. Shared by every subscriber: never write to it. */
  readonly payload: Uint8Array;
  /** The socket id that must not receive it. */
  readonly except?: string;
  /**
   * Where the message stands among those of its kind in its topic: greater than that of every earlier one. Retained
   * events get it from the broker, transitions from the presence store, so that whoever has read a store's state knows
   * which messages that state includes. (History will give one to every event of its channels, with an epoch.)
   */
  readonly position?: number;
}

export interface RetainedMessage {
  readonly message: BrokerMessage & { readonly position: number };
  /** Whole seconds until it is dropped, at least 1. */
  readonly ttlSeconds: number;
}

export interface PublishOptions {
  /**
   * Also keep it as the topic's last event, replacing the one before, in the same step. It is kept whether or not anyone
   * is subscribed.
   */
  readonly retainSeconds?: number;
  /**
   * Do nothing at all when a message with this key was published on the topic in the last `limits.messageIdSeconds`, so that
   * a publisher may repeat what was not answered. Decided in the same step. A store that is full forgets the oldest keys.
   */
  readonly idempotencyKey?: string;
}

export type Deliver = (topic: Topic, message: BrokerMessage) => void;

/**
 * Carries messages from publishers to the nodes that have a subscriber for the topic.
 *
 * Order: messages of one topic that this node publishes reach every node in the order of the calls; a caller need not
 * wait for the answer to one before the next, except where either is retained or has an idempotency key. Delivery: at most once to
 * each node. A node that subscribed before a publish began receives it, except while its link is down.
 *
 * Every method rejects with a StarlingError `unavailable` when the world fails; then nothing was done, or, for a
 * publish whose answer was lost, nothing more will be.
 */
export interface Broker {
  /** Resolves with the position that it gave the message; undefined where it gave none: it keeps none, or knew the key. */
  publish(topic: Topic, message: BrokerMessage, options?: PublishOptions): Promise<number | undefined>;
  /** The topic's last retained message, or undefined when there is none or it has expired. */
  retained(topic: Topic): Promise<RetainedMessage | undefined>;
  /**
   * Ask for this node to receive the topic's messages. Once resolved, later publishes arrive. Idempotent; the hub
   * never has two calls for one topic under way.
   */
  /** The app is gone. Absent where this process keeps nothing of it: what is kept elsewhere runs out by itself. */
  forgetApp?(appId: string): void;
  subscribe(topic: Topic): Promise<void>;
  unsubscribe(topic: Topic): Promise<void>;
  /**
   * The one receiver of everything subscribed to, called once, before the first subscribe. `deliver` must not throw.
   * Returns the function that takes it away again.
   */
  listen(deliver: Deliver): () => void;
  /**
   * Told when this node may have missed messages: its link was cut, and now everything is subscribed again; or it was
   * taken for dead, and what was said of its own members is not what each of them heard. Returns the function that ends
   * the listening.
   */
  onGap(listener: () => void): () => void;
}
