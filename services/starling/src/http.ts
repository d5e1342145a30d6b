/** The HTTP server of a program, and what it calls itself ready by. */
import { addressGroup, type Hub } from '@starling/core';
import { type AppStore, type Observer, probeTopic } from '@starling/ports';
import {
  type HttpServer,
  type Log,
  type Metrics,
  type MetricsText,
  openHttpServer,
  Readiness,
} from '@starling/runtime';
import type { AppDatabase } from './apps.ts';
import type { Settings } from './config.ts';
import type { Stores } from './stores.ts';

export interface ReadinessDeps {
  readonly nodeId: string;
  readonly hub: Hub;
  readonly stores: Stores;
  readonly appStore: AppStore;
  readonly appDatabase: AppDatabase | undefined;
  readonly observer: Observer;
}

export function readinessOf({ nodeId, hub, stores, appStore, appDatabase, observer }: ReadinessDeps): Readiness {
  const { presenceStore } = stores;
  const membership = { topic: probeTopic(nodeId), socketId: nodeId };
  const checks = [
    { name: 'broker', run: () => Promise.all([hub.probe(2_000), stores.ping()]), limitMs: 2_500 },
    // A membership taken and released: a store that can be read need not be one that can be written.
    {
      name: 'presence',
      run: () => presenceStore.join(membership).then(() => presenceStore.leave(membership)),
      limitMs: 2_500,
    },
    // An id that no app has: a worker would answer one that it knows from memory.
    { name: 'apps', run: () => appStore.byId('0'), limitMs: 2_500 },
  ];
  if (appDatabase === undefined) return new Readiness(checks, observer);
  // A detail only: all that has to do with connections and events goes on without it.
  const database = { name: 'database', run: () => appDatabase.database.ping(1_000), limitMs: 1_500, isDetail: true };
  return new Readiness([...checks, database], observer);
}

export interface ServerDeps {
  readonly log: Log;
  readonly readiness: Readiness;
  readonly observer: Observer;
  readonly text: MetricsText;
  readonly metrics: Metrics;
}

export function serverOf(settings: Settings, { log, readiness, observer, text, metrics }: ServerDeps): HttpServer {
  const { STARLING_TLS_CERT: certFile, STARLING_TLS_KEY: keyFile, STARLING_MAX_SOCKETS: most } = settings;
  const { STARLING_METRICS_TOKEN: token, STARLING_METRICS_PORT: metricsPort } = settings;
  const server = openHttpServer({
    log,
    readiness,
    observer,
    ...(token !== undefined && metricsPort === undefined && { metrics: { text, token } }),
    sockets: { ...(most !== undefined && { most }), groupOf: addressGroup },
    maxHeaderBytes: settings.STARLING_MAX_HEADER_BYTES,
    pathPrefix: settings.STARLING_PATH_PREFIX,
    trustProxy: settings.STARLING_TRUST_PROXY,
    ...(certFile === undefined || keyFile === undefined ? {} : { tls: { certFile, keyFile } }),
  });
  metrics.watchNumber(
    'starling_sockets_refused_total',
    'Connections that were refused because the process, or their address, had too many',
    () => server.refusedSockets,
  );
  return server;
}
