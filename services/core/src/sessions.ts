/** All sessions of this node: the door that transports open them through, and the place from which they are drained. */

import {
  type App,
  type AppStore,
  appIdOfTopic,
  type Broker,
  type Clock,
  channelOfTopic,
  fence,
  type Observer,
  type PresenceStore,
  type RateLimiter,
  type TokenVerifier,
  type Topic,
  type Transport,
} from '@starling/ports';
import { parseChannelName, problems, type Refusal, refuseByLimit } from '@starling/protocol';
import { addressGroup } from './address-group.ts';
import { Capacity, connectionBytes, type MemoryBudget } from './capacity.ts';
import type { Hub } from './hub.ts';
import { Flusher, type OutboxLimits } from './outbox.ts';
import { publishBudget } from './publish.ts';
import { resync } from './resync.ts';
import {
  type ConnectionLimiter,
  type ConnectRequest,
  defaultSessionSettings,
  Session,
  type SessionSettings,
} from './session.ts';
import { SubscriptionCounts } from './subscription-counts.ts';
import { TimingWheel } from './timing-wheel.ts';
import type { Traffic } from './traffic.ts';

export interface SessionsDeps {
  readonly appStore: AppStore;
  readonly broker: Broker;
  readonly presenceStore: PresenceStore;
  readonly rateLimiter: RateLimiter;
  readonly tokenVerifier: TokenVerifier;
  readonly hub: Hub;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly traffic: Traffic;
  /** An app's connections on other nodes, as far as this one knows: its limit is on all of them together. */
  readonly connectionsElsewhere?: (appId: string) => number;
  /** What connections may hold of this process's memory; without it there is no bound on all of them together. */
  readonly memory?: MemoryBudget;
}

/**
 * A message or two of the largest size always fits; a peer that reads at all never meets either bound. All together: 256
 * that do not read, each with all it may have.
 */
export const defaultOutboxLimits: OutboxLimits = {
  maxBytes: 1_048_576,
  maxStallMs: 30_000,
  maxTotalBytes: 256 * 1_048_576,
};

/** How often a drain closes some more. */
const drainStepMs = 50;
/** A second. A successor can take so many, however few there are. */
const drainRateMin = 200;

export interface Drain {
  /** Whether another node takes those that leave. */
  readonly hasSuccessor: boolean;
  readonly overMs: number;
}
/** How soon sessions that could not be told anew are tried again. */
const resyncPauseMs = 1_000;

export class Sessions {
  readonly #deps: ConstructorParameters<typeof Session>[0];
  readonly #connectionsElsewhere: (appId: string) => number;
  readonly #open = new Set<Session>();
  readonly #capacity: Capacity;
  /** By address group: all conversations, admitted or not, of whichever app. */
  readonly #conversations = new Map<string, number>();
  /** By app and address group. */
  readonly #byAddress = new Map<string, number>();
  readonly #byApp = new Map<string, number>();
  /** What newcomers are refused with, from the moment a drain begins. */
  #drainCode: 'going_away' | 'restarting' | undefined;
  /** Gaps after which sessions have not all been told yet. */
  #gaps = 0;
  #isResyncing = false;

  constructor(
    deps: SessionsDeps,
    settings: SessionSettings = defaultSessionSettings,
    outboxLimits: Partial<OutboxLimits> = {},
  ) {
    const { clock } = deps;
    this.#capacity = new Capacity(deps.memory);
    this.#connectionsElsewhere = deps.connectionsElsewhere ?? (() => 0);
    const connectionLimiter: ConnectionLimiter = {
      admit: (session) => this.#admit(session),
      dismiss: (session) => this.#dismiss(session),
      forget: (session) => this.#forget(session),
    };
    this.#deps = {
      ...deps,
      settings,
      connectionLimiter,
      flusher: new Flusher(clock, { ...defaultOutboxLimits, ...outboxLimits }, deps.observer),
      wheel: new TimingWheel<Session>(
        clock,
        (session) => session.check(),
        (session, err) => session.broken(err),
      ),
      counts: new SubscriptionCounts(deps),
    };
  }

  /** Follows changes of apps, repairs of the presence store and gaps of the broker. Returns the function that ends it. */
  start(): () => void {
    const { appStore, broker, presenceStore, observer } = this.#deps;
    const ends = [
      appStore.onChange(fence(observer, 'listener', (appId, app) => this.#appChanged(appId, app))),
      presenceStore.onRepair(fence(observer, 'listener', (topic, count) => this.#recount(topic, count))),
      broker.onGap(fence(observer, 'listener', () => this.#resync())),
    ];
    return () => {
      for (const end of ends) end();
    };
  }

  /**
   * Never throws; a refusal is sent through the transport. `token`: the capability token of the address; beside the
   * connect request, which is kept as long as the connection.
   */
  open(transport: Transport, connectRequest: ConnectRequest, token?: string): Session {
    const group = addressGroup(connectRequest.address);
    const session = new Session(this.#deps, transport, connectRequest, this.#capacity.open(group));
    const refusal = this.#count(session, group);
    if (this.#drainCode !== undefined) session.refuse(this.#drainCode, problems[this.#drainCode].text);
    else if (refusal !== null) session.refuse(refusal.code, refusal.message);
    else void session.open(token);
    return session;
  }

  /** Bytes that connections and all that belongs to them hold, as far as they are counted. */
  get heldBytes(): number {
    return this.#capacity.heldBytes;
  }

  get size(): number {
    return this.#open.size;
  }

  /**
   * Closes every session, and refuses those that come meanwhile with the same words. With a successor: "reconnect now",
   * 200 a second, or as many as it takes to be done in `overMs`. Without: all at once, "wait a second and reconnect", so
   * that they find the next process rather than nobody. Resolves when the last has been told.
   */
  async drain({ hasSuccessor, overMs }: Drain): Promise<void> {
    const code = hasSuccessor ? 'going_away' : 'restarting';
    this.#drainCode = code;
    const { clock } = this.#deps;
    const startedAt = clock.elapsed();
    const total = this.#open.size;
    const perSecond = hasSuccessor ? Math.max(drainRateMin, (total * 1_000) / overMs) : Number.POSITIVE_INFINITY;
    while (this.#open.size > 0) {
      const mayRemain = total - (perSecond * (clock.elapsed() - startedAt + drainStepMs)) / 1_000;
      let surplus = this.#open.size - Math.max(0, Math.floor(mayRemain));
      for (const session of this.#open) {
        if (surplus-- <= 0) break;
        try {
          session.refuse(code, problems[code].text);
        } catch (err) {
          session.broken(err);
        }
      }
      if (this.#open.size > 0) await new Promise<void>((resolve) => clock.after(drainStepMs, resolve));
    }
  }

  /** Counted whatever is answered: one that is refused is there until it has gone. */
  #count({ charge }: Session, group: string): Refusal | null {
    add(this.#conversations, group, 1);
    const full = charge.take(connectionBytes);
    if (full !== null) charge.force(connectionBytes);
    const { connectionsPerAddress } = this.#deps.settings;
    const count = this.#conversations.get(group) ?? 0;
    return full ?? (count > connectionsPerAddress ? atMost('address_limit', connectionsPerAddress) : null);
  }

  #forget({ charge, connectRequest }: Session): void {
    charge.end();
    add(this.#conversations, addressGroup(connectRequest.address), -1);
  }

  #admit(session: Session): Refusal | null {
    const { id, limits } = session.app;
    const elsewhere = this.#connectionsElsewhere(id);
    if ((this.#byApp.get(id) ?? 0) + elsewhere >= limits.connections)
      return atMost('connection_limit', limits.connections);
    const address = addressKey(session);
    if ((this.#byAddress.get(address) ?? 0) >= limits.connectionsPerAddress)
      return atMost('address_limit', limits.connectionsPerAddress);
    add(this.#byApp, id, 1);
    add(this.#byAddress, address, 1);
    this.#open.add(session);
    return null;
  }

  #dismiss(session: Session): void {
    if (!this.#open.delete(session)) return;
    add(this.#byApp, session.app.id, -1);
    add(this.#byAddress, addressKey(session), -1);
  }

  #appChanged(appId: string, app: App | undefined): void {
    // A copy: a session that is closed by the change takes itself out of the set.
    for (const session of [...this.#open]) {
      if (session.app.id !== appId) continue;
      try {
        session.appChanged(app);
      } catch (err) {
        session.broken(err);
      }
    }
    if (app !== undefined) return;
    const { broker, rateLimiter, traffic } = this.#deps;
    traffic.remove(appId);
    rateLimiter.forget?.(publishBudget(appId));
    broker.forgetApp?.(appId);
  }

  /** One round at a time; a gap during one makes another. */
  async #resync(): Promise<void> {
    this.#gaps++;
    if (this.#isResyncing) return;
    this.#isResyncing = true;
    const { clock, observer } = this.#deps;
    try {
      while (this.#gaps > 0) {
        const gaps = this.#gaps;
        if (await resync(this.#deps, [...this.#open])) this.#gaps -= gaps;
        else await new Promise<void>((resolve) => clock.after(resyncPauseMs, resolve));
      }
    } catch (err) {
      this.#gaps = 0;
      observer.defect('listener', err);
    } finally {
      this.#isResyncing = false;
    }
  }

  /** Those who are left are told how many they are, as after any leave. */
  async #recount(topic: Topic, connectionCount: number): Promise<void> {
    const { appStore, counts, observer } = this.#deps;
    try {
      const name = channelOfTopic(topic);
      const channel = name === undefined ? undefined : parseChannelName(name);
      const app = await appStore.byId(appIdOfTopic(topic));
      if (app !== undefined && channel?.ok) counts.changed(app, channel.value, connectionCount);
    } catch (err) {
      // The next change brings the next count.
      observer.problem('subscription count after a repair not sent', { err, topic });
    }
  }
}

/** Others must go before one more may come, and nobody knows when they will. */
function atMost(code: 'connection_limit' | 'address_limit', limit: number): Refusal {
  return refuseByLimit(code, problems[code].text, 'connections', { limit, remaining: 0, reset: null }).refusal;
}

function addressKey(session: Session): string {
  return `${session.app.id} ${addressGroup(session.connectRequest.address)}`;
}

function add(counts: Map<string, number>, key: string, amount: number): void {
  const count = (counts.get(key) ?? 0) + amount;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
