/** What each program is made of: memory or Redis beneath, the engine, the parts that were asked for. Names the adapters. */
import { randomUUID } from 'node:crypto';
import { JoseTokenVerifier } from '@starling/adapters/jose';
import { MemoryAppStore, MemoryBroker, MemoryPresenceStore, MemoryRateLimiter } from '@starling/adapters/memory';
import { LineAppStore, serveApps } from '@starling/adapters/process';
import { parseRedisUrl, RedisBroker, RedisLink, RedisPresenceStore, RedisRateLimiter } from '@starling/adapters/redis';
import { SystemClock } from '@starling/adapters/system-clock';
import { api } from '@starling/api';
import { Hub, Sessions, Traffic } from '@starling/core';
import { edge } from '@starling/edge';
import { openSocketWriter } from '@starling/fanout';
import {
  type App,
  type Broker,
  type Clock,
  type Observer,
  type PresenceStore,
  probeTopic,
  type RateLimiter,
} from '@starling/ports';
import { StarlingError } from '@starling/protocol';
import {
  Lifecycle,
  type Log,
  Metrics,
  type MetricsSnapshot,
  mergeMetrics,
  openHttpServer,
  PinoObserver,
  Readiness,
  StartError,
  type Supervisor,
  Workers,
} from '@starling/runtime';
import type { PartSettings, StartSettings } from './config.ts';

/** What a program may serve: connections, the HTTP API. */
export type Part = 'edge' | 'api';

/**
 * Nothing has started when it returns. `onReady` is told the address, such as `http://127.0.0.1:6001`. In a worker the
 * apps are those of its supervisor.
 */
export function compose(
  settings: StartSettings | PartSettings,
  parts: readonly Part[],
  apps: App | Supervisor,
  log: Log,
  onReady: (url: string) => void,
): Lifecycle {
  const { STARLING_TLS_CERT: certFile, STARLING_TLS_KEY: keyFile, STARLING_PATH_PREFIX: pathPrefix } = settings;
  const drainMs = settings.STARLING_DRAIN_SECONDS * 1_000;
  const nodeId = randomUUID();
  const lifecycle = new Lifecycle(log);
  const observer = new PinoObserver(log);
  const clock = new SystemClock();
  const traffic = new Traffic();
  const supervisor = 'line' in apps ? apps : undefined;
  const metrics = new Metrics(supervisor && { worker: String(supervisor.number) });
  metrics.watchTraffic(traffic);
  supervisor?.line.answer(metricsOfOne, () => metrics.snapshot());

  const { broker, presenceStore, rateLimiter, ping } =
    settings.REDIS_URL === undefined
      ? inProcess(clock)
      : overRedis(settings.REDIS_URL, { nodeId, lifecycle, clock, observer, metrics });
  const appStore = 'line' in apps ? new LineAppStore(apps.line) : new MemoryAppStore([apps]);

  // Programs that meet in Redis keep no apps together yet: what one of them revoked, the others would go on taking.
  const revoker = settings.REDIS_URL === undefined ? appStore : { revoke: revokeNowhere };

  // In a program that serves no connections too: it asks itself whether messages come back, and tells the subscribers
  // of other nodes their count when this one has given back the seats of a node that died.
  const hub = new Hub({ broker, clock, observer, nodeId });
  lifecycle.add('hub', () => hub.start());
  const tokenVerifier = new JoseTokenVerifier(observer, { mayBePrivate: settings.STARLING_ALLOW_PRIVATE_TARGETS });
  const stores = { appStore, broker, presenceStore, rateLimiter, tokenVerifier };
  const sessions = new Sessions({ ...stores, hub, clock, observer, traffic });
  lifecycle.add('sessions', () => sessions.start());

  const seat = { topic: probeTopic(nodeId), socketId: nodeId };
  const readiness = new Readiness(
    [
      { name: 'broker', run: () => Promise.all([hub.probe(2_000), ping()]), limitMs: 2_500 },
      // A seat taken and given back: a store that can be read need not be one that can be written.
      { name: 'presence', run: () => presenceStore.join(seat).then(() => presenceStore.leave(seat)), limitMs: 2_500 },
      // An id that no app has: one that is known would be answered from memory.
      { name: 'apps', run: () => appStore.byId('0'), limitMs: 2_500 },
    ],
    observer,
  );
  const server = openHttpServer({
    log,
    readiness,
    metrics: supervisor === undefined ? metrics : { contentType: metrics.contentType, read: () => readAll(supervisor) },
    pathPrefix,
    trustProxy: settings.STARLING_TRUST_PROXY,
    ...(certFile === undefined || keyFile === undefined ? {} : { tls: { certFile, keyFile } }),
  });
  lifecycle.add('server', async () => {
    if (parts.includes('edge')) {
      const writer = openSocketWriter(settings.STARLING_FANOUT);
      log.info({ path: writer.path, reason: writer.reason }, 'How events reach many sockets');
      await server.app.register(
        edge({ sessions, observer, ws: { writer, compresses: settings.STARLING_COMPRESSION } }),
      );
    }
    if (parts.includes('api')) {
      await server.app.register(
        api({ appStore, revoker, broker, presenceStore, rateLimiter, traffic, clock, observer, pathPrefix }),
      );
    }
    onReady(await server.listen(settings.STARLING_HOST, settings.STARLING_PORT));
    return () => server.close();
  });

  // Last to open and so first to close: while connections are told to go elsewhere, the rest still works.
  lifecycle.add('connections', () => () => sessions.drain(drainMs), drainMs + 5_000);
  lifecycle.add('readiness', () => () => readiness.stop());
  return lifecycle;
}

const [metricsOfOne, metricsOfAll] = ['metrics', 'metrics of all'] as const;

/** Whichever worker is asked shows all of them. */
async function readAll({ line }: Supervisor): Promise<string> {
  return mergeMetrics((await line.ask(metricsOfAll)) as MetricsSnapshot[]);
}

/**
 * The process that keeps what only one process may keep, and has workers that serve. It holds no connections itself.
 * Nothing has started when it returns. `onReady` is told the address when all of them are ready, `onGivenUp` that none
 * is left.
 */
export function composeWorkers(
  settings: StartSettings | PartSettings,
  app: App,
  log: Log,
  onReady: (url: string) => void,
  onGivenUp: () => void,
): Lifecycle {
  const lifecycle = new Lifecycle(log);
  const metrics = new Metrics({ worker: 'supervisor' });
  const appStore = new MemoryAppStore([app]);
  // What a worker needs to stop in order: its drain, and then each of its steps its own limit.
  const stopLimitMs = settings.STARLING_DRAIN_SECONDS * 1_000 + 30_000;
  const workers = new Workers({
    count: settings.STARLING_WORKERS,
    log,
    stopLimitMs,
    onGivenUp,
    onStarted: (line) => {
      line.answer(metricsOfAll, async () => {
        // One that does not answer is missing, rather than all.
        const asked = workers.lines.map((each) => each.ask(metricsOfOne, undefined, 2_000).catch(() => []));
        return [await metrics.snapshot(), ...(await Promise.all(asked))];
      });
      return serveApps(appStore, line);
    },
  });
  metrics.watchNumber('starling_workers', 'Workers that serve now', () => workers.lines.length);
  metrics.watchNumber(
    'starling_worker_restarts_total',
    'Workers that died and had another take their place',
    () => workers.restartCount,
  );
  lifecycle.add(
    'workers',
    async () => {
      onReady(String(await workers.start()));
      return () => workers.stop();
    },
    stopLimitMs + 5_000,
  );
  return lifecycle;
}

async function revokeNowhere(): Promise<never> {
  throw new StarlingError('unavailable', 'Tokens cannot be revoked where programs keep no apps together');
}

interface Stores {
  readonly broker: Broker;
  readonly presenceStore: PresenceStore;
  readonly rateLimiter: RateLimiter;
  /** Resolves when everything is subscribed that should be: a message that comes back shows no more than its own way. */
  ping(): Promise<void>;
}

function inProcess(clock: Clock): Stores {
  const broker = new MemoryBroker(clock);
  return {
    broker,
    presenceStore: new MemoryPresenceStore(broker),
    rateLimiter: new MemoryRateLimiter(clock),
    ping: async () => undefined,
  };
}

interface World {
  readonly nodeId: string;
  readonly lifecycle: Lifecycle;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly metrics: Metrics;
}

function overRedis(url: string, { nodeId, lifecycle, clock, observer, metrics }: World): Stores {
  const address = parseRedisUrl(url);
  if (!address.ok) throw new StartError(`REDIS_URL: ${address.message}`);
  const link = new RedisLink(address.value, { clock, observer });
  const presenceStore = new RedisPresenceStore({ link, clock, observer, nodeId });
  metrics.watchNumber('starling_redis_up', 'Whether commands reach Redis, 1 or 0', () => Number(link.isUp));
  metrics.watchNumber(
    'starling_redis_gaps_total',
    'How often subscriptions were cut and came back, each time with messages that may have been missed',
    () => link.gapCount,
  );
  lifecycle.add('redis', () => link.start().catch(explained));
  // Gives back the seats that are left and ends the lease: longer than a Redis that is gone takes to say so.
  lifecycle.add('presence', () => presenceStore.start().catch(explained), 10_000);
  return {
    broker: new RedisBroker(link, observer),
    presenceStore,
    rateLimiter: new RedisRateLimiter(link),
    ping: () => link.ping(),
  };
}

function explained(err: unknown): never {
  if (!(err instanceof StarlingError)) throw err;
  throw new StartError(`the Redis of REDIS_URL cannot be used. ${err.message}`);
}
