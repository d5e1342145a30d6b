/** Every program in one process, over the memory of that process. The only file that names adapters. */
import { randomUUID } from 'node:crypto';
import { MemoryAppStore, MemoryBroker, MemoryPresenceStore, MemoryRateLimiter } from '@starling/adapters/memory';
import { SystemClock } from '@starling/adapters/system-clock';
import { api } from '@starling/api';
import { Hub, Sessions, Traffic } from '@starling/core';
import { edge } from '@starling/edge';
import type { App } from '@starling/ports';
import { Lifecycle, type Log, Metrics, openHttpServer, PinoObserver, Readiness } from '@starling/runtime';
import type { StartSettings } from './config.ts';

/** Nothing has started when it returns. `onReady` is told the address, such as `http://127.0.0.1:6001`. */
export function compose(settings: StartSettings, app: App, log: Log, onReady: (url: string) => void): Lifecycle {
  const { STARLING_TLS_CERT: certFile, STARLING_TLS_KEY: keyFile, STARLING_PATH_PREFIX: pathPrefix } = settings;
  const drainMs = settings.STARLING_DRAIN_SECONDS * 1_000;
  const lifecycle = new Lifecycle(log);
  const observer = new PinoObserver(log);
  const clock = new SystemClock();
  const traffic = new Traffic();
  const metrics = new Metrics();
  metrics.watchTraffic(traffic);

  const broker = new MemoryBroker(clock);
  const presenceStore = new MemoryPresenceStore(broker);
  const rateLimiter = new MemoryRateLimiter(clock);
  const appStore = new MemoryAppStore([app]);

  const hub = new Hub({ broker, clock, observer, nodeId: randomUUID() });
  lifecycle.add('hub', () => hub.start());
  const sessions = new Sessions({ appStore, broker, presenceStore, hub, clock, observer, traffic });
  lifecycle.add('sessions', () => sessions.start());

  const readiness = new Readiness(
    [
      { name: 'broker', run: () => hub.probe(2_000), limitMs: 2_500 },
      { name: 'apps', run: () => appStore.byId(app.id), limitMs: 2_500 },
    ],
    observer,
  );
  const server = openHttpServer({
    log,
    readiness,
    metrics,
    pathPrefix,
    trustProxy: settings.STARLING_TRUST_PROXY,
    ...(certFile === undefined || keyFile === undefined ? {} : { tls: { certFile, keyFile } }),
  });
  lifecycle.add('server', async () => {
    await server.app.register(edge({ sessions, observer }));
    await server.app.register(
      api({ appStore, broker, presenceStore, rateLimiter, traffic, clock, observer, pathPrefix }),
    );
    onReady(await server.listen(settings.STARLING_HOST, settings.STARLING_PORT));
    return () => server.close();
  });

  // Last to open and so first to close: while connections are told to go elsewhere, the rest still works.
  lifecycle.add('connections', () => () => sessions.drain(drainMs), drainMs + 5_000);
  lifecycle.add('readiness', () => () => readiness.stop());
  return lifecycle;
}
