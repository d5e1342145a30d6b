/** Tells the subscribers of a channel how many they are: at once while they are few, every so often when many. */

import {
  type App,
  type Broker,
  type Clock,
  channelTopic,
  type Observer,
  type PresenceStore,
  type Topic,
} from '@starling/ports';
import type { Channel } from '@starling/protocol';
import { payloadOf } from './delivery.ts';

/** Above this many subscribers a count is sent at most once per `pauseMs`. */
const fewSubscribers = 100;
const pauseMs = 5_000;

export interface SubscriptionCountsDeps {
  readonly broker: Broker;
  readonly presenceStore: PresenceStore;
  readonly clock: Clock;
  readonly observer: Observer;
}

export class SubscriptionCounts {
  readonly #deps: SubscriptionCountsDeps;
  /** Crowded topics that were told a count within the last pause. True: the count has changed again since. */
  readonly #paused = new Map<Topic, boolean>();

  constructor(deps: SubscriptionCountsDeps) {
    this.#deps = deps;
  }

  changed(app: App, channel: Channel, count: number): void {
    if (!app.hasSubscriptionCounts || channel.kind === 'presence' || channel.kind === 'user' || count === 0) return;
    const topic = channelTopic(app.id, channel.name);
    if (this.#paused.has(topic)) {
      this.#paused.set(topic, true);
      return;
    }
    this.#publish(topic, channel.name, count);
    if (count > fewSubscribers) this.#pause(topic, channel.name);
  }

  #pause(topic: Topic, channel: string): void {
    this.#paused.set(topic, false);
    this.#deps.clock.after(pauseMs, () => {
      const hasChanged = this.#paused.get(topic);
      this.#paused.delete(topic);
      if (hasChanged) void this.#publishCurrent(topic, channel);
    });
  }

  /** Never rejects. */
  async #publishCurrent(topic: Topic, channel: string): Promise<void> {
    try {
      const [occupancy] = await this.#deps.presenceStore.occupancies([topic]);
      const count = occupancy?.connectionCount ?? 0;
      if (count === 0) return;
      this.#publish(topic, channel, count);
      if (count > fewSubscribers) this.#pause(topic, channel);
    } catch (err) {
      // The next change brings the next count.
      this.#deps.observer.problem('subscription count not read', { err, topic });
    }
  }

  #publish(topic: Topic, channel: string, count: number): void {
    const payload = payloadOf({ type: 'subscription-count', channel, count });
    this.#deps.broker.publish(topic, { kind: 'event', payload }).catch((err: unknown) => {
      this.#deps.observer.problem('subscription count not published', { err, topic });
    });
  }
}
