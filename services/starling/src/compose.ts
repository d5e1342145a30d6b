/** What each program is made of: memory or Redis beneath, the engine, the parts that were asked for. Names the adapters. */
import { randomUUID } from 'node:crypto';
import { MemoryAppStore, MemoryBroker, MemoryPresenceStore, MemoryRateLimiter } from '@starling/adapters/memory';
import { SystemClock } from '@starling/adapters/system-clock';
import { api } from '@starling/api';
import { Hub, Sessions, Traffic } from '@starling/core';
import { edge } from '@starling/edge';
import { type App, type Broker, type Clock, type PresenceStore, probeTopic, type RateLimiter } from '@starling/ports';
import { Lifecycle, type Log, Metrics, openHttpServer, PinoObserver, Readiness } from '@starling/runtime';
import type { PartSettings, StartSettings } from './config.ts';

/** What a program may serve: connections, the HTTP API. */
export type Part = 'edge' | 'api';

/** Nothing has started when it returns. `onReady` is told the address, such as `http://127.0.0.1:6001`. */
export function compose(
  settings: StartSettings | PartSettings,
  parts: readonly Part[],
  app: App,
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
  const metrics = new Metrics();
  metrics.watchTraffic(traffic);

  const { broker, presenceStore, rateLimiter } = inProcess(clock);
  const appStore = new MemoryAppStore([app]);

  // In a program that serves no connections too: it asks itself whether messages come back, and tells the subscribers
  // of other nodes their count when this one has given back the seats of a node that died.
  const hub = new Hub({ broker, clock, observer, nodeId });
  lifecycle.add('hub', () => hub.start());
  const sessions = new Sessions({ appStore, broker, presenceStore, hub, clock, observer, traffic });
  lifecycle.add('sessions', () => sessions.start());

  const readiness = new Readiness(
    [
      { name: 'broker', run: () => hub.probe(2_000), limitMs: 2_500 },
      { name: 'presence', run: () => presenceStore.occupancies([probeTopic(nodeId)]), limitMs: 2_500 },
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
    if (parts.includes('edge')) await server.app.register(edge({ sessions, observer }));
    if (parts.includes('api')) {
      await server.app.register(
        api({ appStore, broker, presenceStore, rateLimiter, traffic, clock, observer, pathPrefix }),
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

interface Stores {
  readonly broker: Broker;
  readonly presenceStore: PresenceStore;
  readonly rateLimiter: RateLimiter;
}

function inProcess(clock: Clock): Stores {
  const broker = new MemoryBroker(clock);
  return { broker, presenceStore: new MemoryPresenceStore(broker), rateLimiter: new MemoryRateLimiter(clock) };
}
