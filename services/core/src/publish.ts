/**
 * What backends, and clients with a token, ask for, handed to the broker.
 *
 * Hot path, as in hub.ts: no database, no schema library, no log line; each message is encoded here, once, and never
 * again on its way to any client.
 */

import {
  type App,
  type Broker,
  type Clock,
  channelTopic,
  type Observer,
  type RateAnswer,
  type RateLimiter,
  type Topic,
  userTopic,
} from '@starling/ports';
import { type Channel, type Checked, limits, type Refusal, refuseByLimit, resetSeconds } from '@starling/protocol';
import { payloadOf } from './delivery.ts';
import type { AppTraffic, Traffic } from './traffic.ts';

/** One event for one channel, already checked. */
export interface PublishCommand {
  readonly event: string;
  readonly channel: Channel;
  /** Verbatim to the subscribers. */
  readonly data: string;
  /** The socket id that must not receive it. */
  readonly except?: string;
  /** With this key a channel gets one message, however often it is published. */
  readonly idempotencyKey?: string;
}

export interface PublishDeps {
  readonly broker: Pick<Broker, 'publish'>;
  readonly rateLimiter: RateLimiter;
  readonly traffic: Traffic;
  readonly observer: Pick<Observer, 'note' | 'notes'>;
  readonly clock: Pick<Clock, 'elapsed'>;
}

/**
 * Resolved, every command is with the broker; refused (`rate_limited`), none is. It rejects when the broker fails, and
 * then some may have gone out.
 */
export async function publish(
  deps: PublishDeps,
  app: App,
  commands: readonly PublishCommand[],
): Promise<Checked<void>> {
  if (commands.length === 0) return done;
  // Before anything is awaited: the app may be gone afterwards, and its counters must not come back.
  const traffic = deps.traffic.of(app.id);
  const perSecond = app.limits.publishesPerSecond;
  const budget = await deps.rateLimiter.take(publishBudget(app.id), commands.length, perSecond);
  if (!budget.isAllowed) return overBudget(app, commands.length, budget);
  const [failure] = await send(deps, app, traffic, [commands]);
  if (failure !== undefined) throw failure;
  return done;
}

/** What became of one of several requests. */
export type Published =
  | { readonly ok: true }
  /** Not sent. */
  | { readonly ok: false; readonly refusal: Refusal }
  /** Some of it may have gone out. */
  | { readonly ok: false; readonly failure: unknown };

/**
 * Several requests, each with a command at least, taking effect in their order: as many of the first as the budget holds.
 * One call of the limiter, or two, whatever their number. Rejects when the limiter fails; then nothing was sent.
 */
export async function publishAll(
  deps: PublishDeps,
  app: App,
  requests: ReadonlyArray<readonly PublishCommand[]>,
): Promise<readonly Published[]> {
  const traffic = deps.traffic.of(app.id);
  const perSecond = app.limits.publishesPerSecond;
  const cost = requests.reduce((sum, commands) => sum + commands.length, 0);
  let budget = await deps.rateLimiter.take(publishBudget(app.id), cost, perSecond);
  let admitted = budget.isAllowed ? requests.length : 0;
  if (!budget.isAllowed) {
    let [some, next] = [0, requests[0]?.length ?? 0];
    while (admitted < requests.length && some + next <= budget.remaining) {
      some += next;
      next = requests[++admitted]?.length ?? 0;
    }
    if (some > 0) {
      const second = await deps.rateLimiter.take(publishBudget(app.id), some, perSecond);
      // Others may have taken it in the meantime.
      if (!second.isAllowed) admitted = 0;
      budget = { ...second, retryAfterMs: Math.max(budget.retryAfterMs, second.retryAfterMs) };
    }
  }
  const failures = await send(deps, app, traffic, requests.slice(0, admitted));
  return requests.map((commands, index) => {
    if (index >= admitted) {
      return overBudget(app, commands.length, budget);
    }
    const failure = failures[index];
    return failure === undefined ? done : { ok: false, failure };
  });
}

function noteEvent(
  observer: PublishDeps['observer'],
  app: App,
  channel: string,
  event: string,
  data: string,
  except: string | undefined,
): void {
  observer.note('event', { app: app.id, channel, event, except, ...(!app.hidesData && { data }) });
}

/** Where the rate limiter keeps an app's publishes. */
export const publishBudget = (appId: string): string => `publish:${appId}`;

function overBudget(app: App, cost: number, { remaining, retryAfterMs }: RateAnswer) {
  const limit = app.limits.publishesPerSecond;
  // More than a whole second's worth never fits, however long one waits.
  const reset = cost > limit ? null : resetSeconds(retryAfterMs);
  const state = { limit, remaining, reset };
  return refuseByLimit('rate_limited', `The request makes ${cost} messages`, 'messages per second for the app', state);
}

/**
 * Calls the broker in order, and waits for all together: it keeps the order of calls for one topic. Only not of what it
 * retains or knows by an id: that, and what follows it on its channel, waits until what went before has been taken. For
 * each request the failure of one of its messages, or undefined.
 */
async function send(
  deps: PublishDeps,
  app: App,
  traffic: AppTraffic,
  requests: ReadonlyArray<readonly PublishCommand[]>,
): Promise<readonly unknown[]> {
  const failures: unknown[] = new Array(requests.length).fill(undefined);
  let underWay: Array<Promise<unknown>> = [];
  /** By topic: whether anything of it under way has been one of those. */
  const isSlow = new Map<Topic, boolean>();
  let sent = 0;
  let stint = beginStint(deps.clock, traffic);
  for (const [index, commands] of requests.entries()) {
    const fail = (err: unknown): void => {
      failures[index] ??= err;
    };
    for (const { event, channel, data, except, idempotencyKey } of commands) {
      const topic = channelTopic(app.id, channel.name);
      const isSlowHere = channel.isCache || idempotencyKey !== undefined;
      const before = isSlow.get(topic);
      if (before === true || (before === false && isSlowHere)) {
        stint();
        await Promise.all(underWay);
        stint = beginStint(deps.clock, traffic);
        underWay = [];
        isSlow.clear();
      }
      isSlow.set(topic, isSlowHere);
      const payload = payloadOf({ type: 'event', channel: channel.name, event, data, userId: undefined });
      const message =
        except === undefined ? ({ kind: 'event', payload } as const) : ({ kind: 'event', payload, except } as const);
      const options = isSlowHere
        ? {
            ...(channel.isCache && { retainSeconds: limits.cacheSeconds }),
            ...(idempotencyKey !== undefined && { idempotencyKey }),
          }
        : undefined;
      if (deps.observer.notes) noteEvent(deps.observer, app, channel.name, event, data, except);
      underWay.push(deps.broker.publish(topic, message, options).catch(fail));
    }
    sent += commands.length;
  }
  stint();
  await Promise.all(underWay);
  for (const [index, failure] of failures.entries()) if (failure !== undefined) sent -= requests[index]?.length ?? 0;
  traffic.published += sent;
  return failures;
}

/**
 * Work at a stretch, for the app that asked for it. Returns what counts it at its end, but for what has been counted
 * meanwhile: a broker in this process delivers before it returns, and whoever delivers counts that.
 */
function beginStint(clock: PublishDeps['clock'], traffic: AppTraffic): () => void {
  const [beganMs, spentMs] = [clock.elapsed(), traffic.spentMs];
  return () => traffic.spent(clock.elapsed() - beganMs - (traffic.spentMs - spentMs));
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
