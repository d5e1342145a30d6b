/** For tests: the transport under the real engine, on a port, with one app and clients that shake hands with it. */
import type { AddressInfo, Socket } from 'node:net';
import {
  MemoryAppStore,
  MemoryBroker,
  MemoryPresenceStore,
  MemoryRateLimiter,
  MemoryTokenVerifier,
} from '@starling/adapters/memory';
import { SystemClock } from '@starling/adapters/system-clock';
import {
  defaultSessionSettings,
  Hub,
  type OutboxLimits,
  type SessionSettings,
  Sessions,
  Traffic,
} from '@starling/core';
import type { SocketWriter } from '@starling/fanout';
import { type App, channelTopic } from '@starling/ports';
import { appOf } from '@starling/ports/contract';
import { encodeEvent } from '@starling/protocol';
import Fastify from 'fastify';
import { expect } from 'vitest';
import { sseRoutes } from './sse/routes.ts';
import { clientFrame, RawClient } from './ws/raw-client.test-kit.ts';
import { wsRoutes } from './ws/routes.ts';

const defaultApp = appOf('1', { keys: [{ key: 'key', secret: 'secret', isEnabled: true }], hasClientEvents: true });

export interface EngineOptions {
  readonly outbox?: Partial<OutboxLimits>;
  readonly closeTimeoutMs?: number;
  readonly writer?: SocketWriter;
  readonly compresses?: boolean;
  readonly settings?: Partial<SessionSettings>;
  readonly app?: Partial<App>;
  /** What the app store waits for before it answers. */
  readonly beforeApp?: () => Promise<void>;
}

export type Engine = Awaited<ReturnType<typeof startEngine>>;

export async function startEngine(options: EngineOptions = {}) {
  const {
    outbox = { maxBytes: 200_000, maxStallMs: 60_000 },
    closeTimeoutMs = 300,
    writer,
    compresses = false,
    beforeApp,
  } = options;
  const settings = { ...defaultSessionSettings, ...options.settings };
  const app: App = { ...defaultApp, ...options.app };
  const clock = new SystemClock();
  const broker = new MemoryBroker(clock);
  const traffic = new Traffic();
  const problems: string[] = [];
  const observer = {
    notes: false,
    note: () => {},
    problem: (what: string) => problems.push(what),
    defect: (kind: string) => problems.push(`defect: ${kind}`),
  };
  const hub = new Hub({ broker, clock, observer, nodeId: 'node' });
  hub.start();
  const presenceStore = new MemoryPresenceStore(broker);
  const appStore = new MemoryAppStore([app]);
  if (beforeApp !== undefined) {
    const byKey = appStore.byKey.bind(appStore);
    appStore.byKey = (key) => beforeApp().then(() => byKey(key));
  }
  const [rateLimiter, tokenVerifier] = [new MemoryRateLimiter(clock), new MemoryTokenVerifier()];
  const stores = { appStore, broker, presenceStore, rateLimiter, tokenVerifier };
  const sessions = new Sessions({ ...stores, hub, clock, observer, traffic }, settings, outbox);
  sessions.start();
  const server = Fastify();
  /** How often the kernel was given something for each connection, the first connection first. */
  const writes: number[] = [];
  server.server.on('connection', (socket) => countWrites(socket, writes));
  const limits = { closeTimeoutMs };
  await server.register(
    wsRoutes({ sessions, observer, limits, compresses, ...(writer === undefined ? {} : { writer }) }),
  );
  await server.register(sseRoutes({ sessions, observer, limits }));
  await server.listen({ host: '127.0.0.1', port: 0 });
  const { port } = server.server.address() as AddressInfo;
  const clients: RawClient[] = [];

  /** Connected, and nothing said yet. */
  async function connect(): Promise<RawClient> {
    const client = await RawClient.connect(port);
    clients.push(client);
    return client;
  }

  async function open(
    path = '/app/key?protocol=7',
    headers: Readonly<Record<string, string>> = {},
  ): Promise<RawClient> {
    const client = await connect();
    await client.shakeHands(path, headers);
    return client;
  }

  async function subscribed(channel = 'news', headers: Readonly<Record<string, string>> = {}): Promise<RawClient> {
    const client = await open(undefined, headers);
    expect(await event(client)).toBe('pusher:connection_established');
    client.send(clientFrame(JSON.stringify({ event: 'pusher:subscribe', data: { channel } })));
    expect(await event(client)).toBe('pusher_internal:subscription_succeeded');
    return client;
  }

  function publish(name: string, data = '{}', channel = 'news'): Promise<unknown> {
    const payload = Buffer.from(encodeEvent(name, channel, data));
    return broker.publish(channelTopic(app.id, channel), { kind: 'event', payload });
  }

  async function stop(): Promise<void> {
    for (const client of clients.splice(0)) client.destroy();
    await server.close();
    expect(problems).toEqual([]);
  }

  /** TCP connections that the server has. */
  function connections(): Promise<number> {
    return new Promise((resolve, reject) => {
      server.server.getConnections((err, count) => (err === null ? resolve(count) : reject(err)));
    });
  }

  return {
    app,
    connect,
    connections,
    open,
    port,
    presenceStore,
    problems,
    publish,
    sessions,
    stop,
    subscribed,
    traffic: traffic.of(app.id),
    writes,
  };
}

/** Counts where Node hands what a socket has to write over to libuv, which tries it at once. */
function countWrites(socket: Socket, writes: number[]): void {
  const { _handle: handle } = socket as unknown as { _handle: Record<string, (...args: unknown[]) => unknown> };
  const index = writes.push(0) - 1;
  for (const name of ['writev', 'writeBuffer', 'writeUtf8String', 'writeLatin1String', 'writeAsciiString']) {
    const write = handle[name]?.bind(handle);
    handle[name] = (...args) => {
      writes[index] = (writes[index] ?? 0) + 1;
      return write?.(...args);
    };
  }
}

/** The name of the next event. */
export async function event(client: RawClient): Promise<string> {
  return JSON.parse(await client.text()).event;
}
