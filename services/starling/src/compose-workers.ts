/** The program that has workers. */
import { randomUUID } from 'node:crypto';
import { SystemClock } from '@starling/adapters/system-clock';
import { BrokerControlBus, Hub } from '@starling/core';
import {
  Lifecycle,
  Metrics,
  type MetricsSnapshot,
  mergeMetrics,
  type OwnPort,
  openMemoryGauge,
  Workers,
} from '@starling/runtime';
import { appsOf, settleSecrets } from './apps.ts';
import { leaveLimitMs } from './leave.ts';
import { metricsOfAll, metricsOfOne, serveMetrics } from './program-metrics.ts';
import type { ProgramOptions } from './program-options.ts';
import { memoryStores } from './stores.ts';

/**
 * The process that keeps what only one process may keep, and has workers that serve. It holds no connections itself.
 * Nothing has started when it returns. `onReady` is told when all of them are ready, `onGivenUp` that none is left.
 */
export function composeWorkers(
  { settings, parts, observer, onReady }: ProgramOptions,
  port: OwnPort,
  onGivenUp: () => void,
): Lifecycle {
  const { log } = observer;
  const lifecycle = new Lifecycle(log);
  lifecycle.add('port', () => () => port.close());
  const metrics = new Metrics({ worker: 'supervisor' });
  metrics.watchDefects(observer.defects);
  const clock = new SystemClock(observer);
  const nodeId = randomUUID();
  // Nobody but this process changes what it keeps: who can, has a database of its own to do it in.
  const { broker } = memoryStores(clock, openMemoryGauge(settings.STARLING_WORKERS + 1).limitBytes);
  const hub = new Hub({ broker, clock, observer, nodeId });
  lifecycle.add('hub', () => hub.start());
  const controlBus = new BrokerControlBus({ broker, hub, observer });
  lifecycle.add('control bus', () => controlBus.start());
  const { first, appDatabase } = appsOf(settings, undefined, {
    nodeId,
    lifecycle,
    clock,
    observer,
    metrics,
    log,
    controlBus,
  });
  // What a worker needs to stop in order: its drain, and then each of its steps its own limit.
  const stopLimitMs = leaveLimitMs(settings.STARLING_DRAIN_SECONDS * 1_000) + 30_000;
  const workers = new Workers({
    port,
    count: settings.STARLING_WORKERS,
    observer,
    stopLimitMs,
    onGivenUp,
    onStarted: (channel) => {
      channel.answer(metricsOfAll, snapshotAll);
      return () => {};
    },
  });
  const snapshotAll = async (): Promise<MetricsSnapshot[]> => {
    // One that does not answer is missing, rather than all.
    const asked = workers.channels.map((each) =>
      each.ask(metricsOfOne, undefined, 2_000).then(
        (snapshot) => snapshot as MetricsSnapshot,
        () => [],
      ),
    );
    return [await metrics.snapshot(), ...(await Promise.all(asked))];
  };
  const text = { contentType: metrics.contentType, read: async () => mergeMetrics(await snapshotAll()) };
  serveMetrics(settings, text, { lifecycle, logged: observer });
  lifecycle.onCrash(() => workers.crash());
  metrics.watchNumber('starling_workers', 'Workers that serve now', () => workers.channels.length);
  metrics.watchNumber(
    'starling_worker_restarts_total',
    'Workers that died and had another take their place',
    () => workers.restartCount,
  );
  lifecycle.add(
    'workers',
    async () => {
      const url = String(await workers.start());
      if (appDatabase !== undefined) {
        await settleSecrets(appDatabase, { settings, hasAdmin: parts.includes('control'), clock }, first);
      }
      onReady(url, first);
      return () => workers.stop();
    },
    stopLimitMs + 5_000,
  );
  return lifecycle;
}
