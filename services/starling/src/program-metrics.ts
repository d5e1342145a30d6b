/** The metrics of this program, and of all workers where there are several. */
import type { MemoryBudget, Sessions } from '@starling/core';
import { StarlingError } from '@starling/protocol';
import {
  type Lifecycle,
  type Metrics,
  type MetricsSnapshot,
  type MetricsText,
  mergeMetrics,
  openMetricsServer,
  type PinoObserver,
  type Supervisor,
} from '@starling/runtime';
import type { Settings } from './config.ts';

/** What the supervisor asks a worker, and a worker the supervisor. */
export const [metricsOfOne, metricsOfAll] = ['metrics', 'metrics of all'] as const;

/** On the port of their own, if they have one. */
export function serveMetrics(
  settings: Settings,
  text: MetricsText,
  { lifecycle, logged: observer }: { readonly lifecycle: Lifecycle; readonly logged: PinoObserver },
): void {
  const { STARLING_METRICS_PORT: port, STARLING_METRICS_HOST: host, STARLING_METRICS_TOKEN: token } = settings;
  if (port === undefined) return;
  lifecycle.add('metrics', async () => {
    const server = await openMetricsServer({ text, token, host, port, observer });
    observer.log.info({ metrics: `${server.url}/metrics` }, 'Metrics are served');
    return () => server.close();
  });
}

/** Of this program, or of a worker and all others. */
export function metricsTextOf(metrics: Metrics, supervisor: Supervisor | undefined): MetricsText {
  if (supervisor === undefined) return metrics;
  return { contentType: metrics.contentType, read: () => readAll(supervisor) };
}

export function watchSessions(metrics: Metrics, sessions: Sessions, memory: MemoryBudget): void {
  metrics.watchNumber(
    'starling_held_bytes',
    'Memory that connections, and all that belongs to them, are counted to hold',
    () => sessions.heldBytes,
  );
  metrics.watchNumber('starling_held_limit_bytes', 'Beyond how much of that newcomers are refused', () => memory.bytes);
}

/** Whichever worker is asked shows all of them. */
async function readAll({ channel }: Supervisor): Promise<string> {
  const snapshots = await channel.ask(metricsOfAll);
  if (!Array.isArray(snapshots)) throw new StarlingError('internal', 'The supervisor answered with no metrics');
  // A worker that answered with something else is missing, rather than all.
  return mergeMetrics(snapshots.filter((snapshot): snapshot is MetricsSnapshot => Array.isArray(snapshot)));
}
