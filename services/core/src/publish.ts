/**
 * What a backend asks for, handed to the broker.
 *
 * Hot path, as in hub.ts: no database, no schema library, no log line; each message is encoded here, once, and never
 * again on its way to any client.
 */

import { type App, type Broker, channelTopic, type RateLimiter, type Topic, userTopic } from '@starling/ports';
import { type Channel, type Checked, encodeEvent, limits, refuse } from '@starling/protocol';
import type { Traffic } from './traffic.ts';

/** One event for one channel, already checked. */
export interface PublishCommand {
  readonly event: string;
  readonly channel: Channel;
  /** Verbatim to the subscribers. */
  readonly data: string;
  /** The socket id that must not receive it. */
  readonly except?: string;
  /** Of this id a channel gets one message, however often it is published. */
  readonly id?: string;
}

export interface PublishDeps {
  readonly broker: Pick<Broker, 'publish'>;
  readonly rateLimiter: RateLimiter;
  readonly traffic: Traffic;
}

/**
 * Resolved, every command is with the broker; refused (`rate_limited`), none is. It rejects when the broker fails, and
 * then some may have gone out.
 *
 * The broker keeps the order of one topic only for calls made one after another, so a topic's second message waits
 * until what went before it has been taken. Messages of different topics are called in order and wait together.
 */
export async function publish(
  deps: PublishDeps,
  app: App,
  commands: readonly PublishCommand[],
): Promise<Checked<void>> {
  if (commands.length === 0) return done;
  const perSecond = app.limits.publishesPerSecond;
  const budget = await deps.rateLimiter.take(`publish:${app.id}`, commands.length, perSecond);
  if (!budget.isAllowed) {
    return refuse(
      'rate_limited',
      `The request makes ${commands.length} messages, ${budget.remaining} are left of the app's ${perSecond} per second`,
    );
  }
  const underWay = new Map<Topic, Promise<void>>();
  for (const { event, channel, data, except, id } of commands) {
    const topic = channelTopic(app.id, channel.name);
    if (underWay.has(topic)) {
      await Promise.all(underWay.values());
      underWay.clear();
    }
    const payload = Buffer.from(encodeEvent(event, channel.name, data));
    const message =
      except === undefined ? ({ kind: 'event', payload } as const) : ({ kind: 'event', payload, except } as const);
    const options =
      channel.isCache || id !== undefined
        ? { ...(channel.isCache && { retainSeconds: limits.cacheSeconds }), ...(id !== undefined && { id }) }
        : undefined;
    underWay.set(topic, deps.broker.publish(topic, message, options));
  }
  await Promise.all(underWay.values());
  deps.traffic.of(app.id).published += commands.length;
  return done;
}

const done = { ok: true, value: undefined } as const;
const nothing = new Uint8Array();

/** Closes every connection signed in as the user, on every node; none is an ordinary outcome. */
export async function terminateConnections(
  deps: { readonly broker: Pick<Broker, 'publish'> },
  app: App,
  userId: string,
): Promise<void> {
  await deps.broker.publish(userTopic(app.id, userId), { kind: 'terminate', payload: nothing });
}
