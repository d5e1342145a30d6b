/** All transports as an app's browser meets them: through the stock client library. */
import type { AddressInfo } from 'node:net';
import {
  MemoryAppStore,
  MemoryBroker,
  MemoryPresenceStore,
  MemoryRateLimiter,
  MemoryTokenVerifier,
} from '@starling/adapters/memory';
import { SystemClock } from '@starling/adapters/system-clock';
import { Hub, Sessions, Traffic } from '@starling/core';
import { channelTopic } from '@starling/ports';
import { appOf } from '@starling/ports/contract';
import { encodeEvent } from '@starling/protocol';
import Fastify from 'fastify';
import PusherJs from 'pusher-js';
import { expect, it } from 'vitest';
import { transports } from './mount.ts';

/** Its types tell of a `default` that its CommonJS build is itself. */
const Pusher = PusherJs as unknown as typeof PusherJs.default;

const app = appOf('1', { keys: [{ key: 'key', secret: 'secret', isEnabled: true }] });

it('lets pusher-js connect, subscribe, receive, and leave when it stops', { timeout: 10_000 }, async () => {
  const clock = new SystemClock();
  const observer = {
    notes: false,
    note: () => {},
    problem: (what: string) => expect.unreachable(what),
    defect: (kind: string) => expect.unreachable(kind),
  };
  const broker = new MemoryBroker(clock);
  const hub = new Hub({ broker, clock, observer, nodeId: 'node' });
  hub.start();
  const presenceStore = new MemoryPresenceStore(broker);
  const appStore = new MemoryAppStore([app]);
  const [rateLimiter, tokenVerifier, traffic] = [
    new MemoryRateLimiter(clock),
    new MemoryTokenVerifier(),
    new Traffic(),
  ];
  const stores = { appStore, broker, presenceStore, rateLimiter, tokenVerifier };
  const sessions = new Sessions({ ...stores, hub, clock, observer, traffic });
  const server = Fastify();
  server.register(transports({ sessions, observer }));
  await server.listen({ host: '127.0.0.1', port: 0 });
  const { port } = server.server.address() as AddressInfo;

  const client = new Pusher('key', {
    cluster: '',
    wsHost: '127.0.0.1',
    wsPort: port,
    forceTLS: false,
    enabledTransports: ['ws'],
  });
  try {
    const channel = client.subscribe('news');
    await new Promise((resolve) => channel.bind('pusher:subscription_succeeded', resolve));
    const received = new Promise((resolve) => channel.bind('greeting', resolve));
    const payload = Buffer.from(encodeEvent('greeting', 'news', '{"text":"grüße"}'));
    await broker.publish(channelTopic(app.id, 'news'), { kind: 'event', payload });
    expect(await received).toEqual({ text: 'grüße' });

    const left = new Promise((resolve) => client.connection.bind('error', resolve));
    const closed = server.close();
    expect(await left).toMatchObject({ data: { code: 4200 } });
    await closed;
    expect(sessions.size).toBe(0);
  } finally {
    client.disconnect();
    await server.close();
  }
});
