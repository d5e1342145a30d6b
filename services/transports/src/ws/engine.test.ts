/** The transport under the real engine: several peers of one app, one of whom misbehaves. */
import type { AddressInfo } from 'node:net';
import { MemoryAppStore, MemoryBroker, MemoryPresenceStore } from '@starling/adapters/memory';
import { SystemClock } from '@starling/adapters/system-clock';
import { Hub, Sessions, Traffic } from '@starling/core';
import { channelTopic } from '@starling/ports';
import { appOf } from '@starling/ports/contract';
import { encodeEvent } from '@starling/protocol';
import Fastify, { type FastifyInstance } from 'fastify';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { clientFrame, closePayload, opcodes, RawClient } from './raw-client.test-kit.ts';
import { wsRoutes } from './routes.ts';

const app = appOf('1', { keys: [{ key: 'key', secret: 'secret', isEnabled: true }], hasClientEvents: true });

let server: FastifyInstance;
let sessions: Sessions;
let broker: MemoryBroker;
let problems: string[];
const clients: RawClient[] = [];

beforeEach(async () => {
  const clock = new SystemClock();
  broker = new MemoryBroker(clock);
  problems = [];
  const observer = { notes: false, note: () => {}, problem: (what: string) => problems.push(what) };
  const hub = new Hub({ broker, clock, observer, nodeId: 'node' });
  hub.start();
  sessions = new Sessions(
    {
      appStore: new MemoryAppStore([app]),
      broker,
      presenceStore: new MemoryPresenceStore(broker),
      hub,
      clock,
      observer,
      traffic: new Traffic(),
    },
    undefined,
    { maxBytes: 200_000, maxStallMs: 60_000 },
  );
  sessions.start();
  server = Fastify();
  await server.register(wsRoutes({ sessions, observer, limits: { closeTimeoutMs: 300 } }));
  await server.listen({ host: '127.0.0.1', port: 0 });
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  await server.close();
  expect(problems).toEqual([]);
});

async function open(path = '/app/key?protocol=7'): Promise<RawClient> {
  const client = await RawClient.open((server.server.address() as AddressInfo).port, path);
  clients.push(client);
  return client;
}

async function subscribed(channel = 'news'): Promise<RawClient> {
  const client = await open();
  expect(await event(client)).toBe('pusher:connection_established');
  client.send(clientFrame(JSON.stringify({ event: 'pusher:subscribe', data: { channel } })));
  expect(await event(client)).toBe('pusher_internal:subscription_succeeded');
  return client;
}

async function event(client: RawClient): Promise<string> {
  return JSON.parse(await client.text()).event;
}

function publish(name: string, data = '{}'): Promise<unknown> {
  const payload = Buffer.from(encodeEvent(name, 'news', data));
  return broker.publish(channelTopic(app.id, 'news'), { kind: 'event', payload });
}

describe('under the engine', () => {
  it('[HS4] refuses by completing the upgrade, saying why, and closing with the same code', async () => {
    const client = await open('/app/no-such-key');
    const error = JSON.parse(await client.text());
    expect(error).toMatchObject({ event: 'pusher:error', data: { code: 4001 } });
    expect(await client.close()).toEqual({ code: 4001, reason: error.data.message });
  });

  it('[HS7] answers a command that came with the handshake', async () => {
    const client = await RawClient.connect((server.server.address() as AddressInfo).port);
    clients.push(client);
    const hello = client.shakeHands('/app/key');
    client.send(clientFrame('{"event":"pusher:ping"}'));
    await hello;
    expect(await event(client)).toBe('pusher:connection_established');
    expect(await event(client)).toBe('pusher:pong');
  });

  it('delivers the events of one turn to every subscriber, in order and whole', async () => {
    const all = await Promise.all([subscribed(), subscribed(), subscribed()]);
    const sizes = [0, 10, 200, 9_000, 70_000];
    await Promise.all(sizes.map((size) => publish(`event-${size}`, 'x'.repeat(size))));
    for (const client of all) {
      for (const size of sizes) {
        const frame = JSON.parse(await client.text());
        expect([frame.event, frame.data.length]).toEqual([`event-${size}`, size]);
      }
    }
  });

  it.each<[string, Buffer]>([
    ['garbage', Buffer.alloc(1_000, 0xa5)],
    ['an unmasked frame', clientFrame('{}', { isMasked: false })],
    ['a frame over the limit', clientFrame('x'.repeat(200_000))],
    ['a binary message', clientFrame('{}', { opcode: opcodes.binary })],
    ['bad UTF-8', clientFrame(Buffer.from([0xff]))],
    ['a thousand pings', Buffer.concat(Array.from({ length: 1_000 }, () => clientFrame('', { opcode: opcodes.ping })))],
    [
      'deeply nested JSON',
      clientFrame(`{"event":"client-x","channel":"c","data":${'['.repeat(60_000)}${']'.repeat(60_000)}}`),
    ],
    [
      'ten thousand commands',
      Buffer.concat(Array.from({ length: 10_000 }, () => clientFrame('{"event":"pusher:ping"}'))),
    ],
    ['a close with a code that does not exist', clientFrame(closePayload(1006), { opcode: opcodes.close })],
  ])('[WS9] %s from one subscriber keeps nothing from the others', async (_what, bytes) => {
    const good = await subscribed();
    const bad = await subscribed();
    bad.send(bytes);
    await publish('first');
    expect(await event(good)).toBe('first');
    bad.destroy();
    const next = await subscribed();
    await publish('second');
    expect(await event(good)).toBe('second');
    expect(await event(next)).toBe('second');
  });

  it('[CL6] a subscriber that does not read is cut, and the others miss nothing', async () => {
    const good = await subscribed();
    const deaf = await subscribed();
    deaf.socket.pause();
    let sent = 0;
    while (sessions.size === 2) {
      await publish(`event-${sent++}`, 'x'.repeat(60_000));
      expect(await event(good)).toBe(`event-${sent - 1}`);
    }
    await publish('after');
    expect(await event(good)).toBe('after');
  });

  it('[CL7] a peer that vanishes in the middle of a command leaves nothing behind', async () => {
    const client = await subscribed();
    client.send(clientFrame('{"event":"pusher:subscribe","data":{"channel":"other"}}'));
    client.socket.resetAndDestroy();
    const other = await subscribed();
    while (sessions.size > 1) {
      other.send(clientFrame('{"event":"pusher:ping"}'));
      await other.text();
    }
  });
});
