/** What each program is made of, in the order in which it starts: the way back is its stop. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { JoseTokenVerifier } from '@starling/adapters/jose';
import { SystemClock } from '@starling/adapters/system-clock';
import { api } from '@starling/api';
import {
  BrokerControlBus,
  ClusterView,
  DebugTap,
  defaultSessionSettings,
  Hub,
  type MemoryBudget,
  Sessions,
  Traffic,
} from '@starling/core';
import { openSocketWriter } from '@starling/fanout';
import { Lifecycle, Metrics, openMemoryGauge, type Port, type Supervisor } from '@starling/runtime';
import { transports } from '@starling/transports';
import { adminOf, startAdmin } from './admin.ts';
import { appsOf, revokerOf, settleSecrets } from './apps.ts';
import { demo } from './demo.ts';
import { startFairness } from './fairness.ts';
import { readinessOf, serverOf } from './http.ts';
import { leave, leaveLimitMs } from './leave.ts';
import { metricsOfOne, metricsTextOf, serveMetrics, watchSessions } from './program-metrics.ts';
import type { ProgramOptions } from './program-options.ts';
import { memoryShares, memoryStores, redisStores } from './stores.ts';
import { version } from './version.ts';

/** Nothing has started when it returns. What only one process may have, a worker has from its `supervisor`. */
export function compose(
  { settings, parts, observer: logged, onReady }: ProgramOptions,
  port: Port,
  supervisor?: Supervisor,
): Lifecycle {
  const { log } = logged;
  const nodeId = randomUUID();
  const lifecycle = new Lifecycle(log);
  const clock = new SystemClock(logged);
  const observer = new DebugTap(logged, { clock, nodeId });
  const traffic = new Traffic();
  const metrics = new Metrics(supervisor && { worker: String(supervisor.number) });
  metrics.watchTraffic(traffic);
  metrics.watchDefects(logged.defects);
  supervisor?.channel.answer(metricsOfOne, () => metrics.snapshot());
  const gauge = openMemoryGauge(settings.STARLING_WORKERS);

  // Open already, and last to close: who comes while nothing can serve yet, or any more, is not refused.
  lifecycle.add('port', () => () => port.close());
  const stores =
    settings.REDIS_URL === undefined
      ? memoryStores(clock, gauge.limitBytes)
      : redisStores(settings.REDIS_URL, { nodeId, lifecycle, clock, observer, metrics });
  const { broker, presenceStore, rateLimiter } = stores;
  // In a program that serves no connections too: it asks itself whether messages come back, and tells the subscribers
  // of other nodes their count when this one has released the memberships of a node that died.
  const hub = new Hub({ broker, clock, observer, nodeId });
  lifecycle.add('hub', () => hub.start());
  const controlBus = new BrokerControlBus({ broker, hub, observer });
  lifecycle.add('control bus', () => controlBus.start());
  lifecycle.add('debug', () => observer.start({ broker, controlBus }));
  const common = { nodeId, lifecycle, clock, observer, metrics, log, controlBus };
  const { appStore, first, appDatabase } = appsOf(settings, supervisor, common);

  const clusterView = new ClusterView({
    directory: stores.nodeDirectory,
    traffic,
    clock,
    observer,
    about: {
      nodeId,
      host: hostname(),
      parts,
      version,
      ...(supervisor !== undefined && { startedBy: supervisor.id }),
      startedAt: clock.now(),
      memoryBytes: () => process.memoryUsage.rss(),
    },
  });
  const mayBePrivate = settings.STARLING_ALLOW_PRIVATE_TARGETS;
  const tokenVerifier = new JoseTokenVerifier(clock, observer, { mayBePrivate });
  const memory: MemoryBudget = {
    bytes: (settings.STARLING_CONNECTION_MEMORY_MB ?? 0) * 1_048_576 || gauge.limitBytes * memoryShares.connections,
    isShort: () => gauge.isShort(),
  };
  const connectionsElsewhere = (appId: string): number => clusterView.connectionsElsewhere(appId);
  const sessions = new Sessions(
    { ...stores, appStore, tokenVerifier, hub, clock, observer, traffic, connectionsElsewhere, memory },
    {
      ...defaultSessionSettings,
      activityTimeoutSeconds: settings.STARLING_ACTIVITY_TIMEOUT_SECONDS,
      connectionsPerAddress: settings.STARLING_MAX_CONNECTIONS_PER_ADDRESS,
    },
    { maxTotalBytes: gauge.limitBytes * memoryShares.waiting },
  );
  watchSessions(metrics, sessions, memory);
  lifecycle.add('sessions', () => sessions.start());

  const isAdmin = parts.includes('control') && appDatabase !== undefined;
  const admin = isAdmin ? adminOf(settings, appDatabase, { ...common, ...stores, hub }) : undefined;
  if (admin !== undefined) lifecycle.add('admin', () => startAdmin(admin.control, settings));

  const readiness = readinessOf({ nodeId, hub, stores, appStore, appDatabase, observer });
  const text = metricsTextOf(metrics, supervisor);
  const server = serverOf(settings, { log, readiness, observer, text, metrics });
  // Of workers the process that started them has the port.
  if (supervisor === undefined) serveMetrics(settings, text, { lifecycle, logged });
  lifecycle.onCrash(() => {
    void port.close();
    // Those of a worker find the others, or the one that takes its place.
    return sessions.drain({ hasSuccessor: supervisor !== undefined || clusterView.hadSuccessor, overMs: 0 });
  });
  const lateAfterMs = settings.STARLING_FAIRNESS_LAG_MS;
  if (lateAfterMs > 0) lifecycle.add('fairness', () => startFairness({ traffic, clock }, lateAfterMs));
  lifecycle.add('cluster view', () => clusterView.start());

  const drainMs = settings.STARLING_DRAIN_SECONDS * 1_000;
  const { STARLING_PATH_PREFIX: pathPrefix, STARLING_COMPRESSION: compresses } = settings;
  // Last to open and so first to close: while connections are told to go elsewhere, the rest still works.
  lifecycle.add(
    'server',
    async () => {
      const { app } = server;
      if (parts.includes('edge')) {
        const writer = openSocketWriter(settings.STARLING_FANOUT);
        log.info({ path: writer.path, reason: writer.reason }, 'How events reach many sockets');
        await app.register(transports({ sessions, observer, ws: { writer, compresses } }));
      }
      if (parts.includes('api')) {
        const revoker = revokerOf(settings, appStore);
        const engine = { appStore, revoker, broker, presenceStore, rateLimiter, traffic, clock, observer };
        await app.register(api({ ...engine, pathPrefix }));
      }
      if (admin !== undefined) await app.register(admin.control.routes);
      if (parts.includes('edge') && parts.includes('api')) await app.register(demo);
      const url = await server.serve(port);
      admin?.listensAt(url);
      if (supervisor === undefined && appDatabase !== undefined) {
        await settleSecrets(appDatabase, { settings, hasAdmin: admin !== undefined, clock }, first);
      }
      onReady(url, first);
      return async () => {
        await leave({ readiness, clusterView, server, port, sessions, clock, overMs: drainMs });
        await server.close();
      };
    },
    leaveLimitMs(drainMs) + 5_000,
  );
  return lifecycle;
}
