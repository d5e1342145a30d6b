/** A real server behind a network that refuses, delays, cuts in the middle of a frame and falls silent. */
import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { FlakyNetwork } from '../../../infra/testing/flaky-network.ts';
import { openProgram, type Program, type Starling as Server, signedPath } from '../../../infra/testing/program.ts';
import { fuzzInTurn, type Random, seedsOf } from '../../../infra/testing/random.ts';
import { type PresenceChannel, Starling } from './index.ts';

let program: Program;
let server: Server;
beforeAll(async () => {
  program = openProgram();
  server = await program.start({ env: { STARLING_LOG_LEVEL: 'warn' } });
});
afterAll(() => program?.close());

const users = ['ada', 'bob', 'eve', 'mallory', 'trent'];
const limitMs = 30_000;

function openClient(url: string, user: string): Starling {
  const { key, secret } = server.app;
  return new Starling(key, {
    host: url,
    WebSocket,
    activityTimeout: 400,
    pongTimeout: 300,
    handshakeTimeoutMs: 500,
    retryMinMs: 20,
    retryMaxMs: 200,
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, callback) => {
        const channel_data = JSON.stringify({ user_id: user });
        const text = channelName.startsWith('presence-')
          ? `${socketId}:${channelName}:${channel_data}`
          : `${socketId}:${channelName}`;
        const auth = `${key}:${createHmac('sha256', secret).update(text).digest('hex')}`;
        callback(null, channelName.startsWith('presence-') ? { auth, channel_data } : { auth });
      },
    },
  });
}

/** Looks again whenever a client tells anything. */
async function until(clients: readonly Starling[], isSo: () => boolean, otherwise: () => unknown): Promise<void> {
  const deadline = AbortSignal.timeout(limitMs);
  while (!isSo()) {
    if (deadline.aborted) throw new Error(JSON.stringify(otherwise()));
    await new Promise<void>((resolve) => {
      const wake = () => {
        for (const client of clients) {
          client.connection.unbind_global(wake);
          for (const channel of client.allChannels()) channel.unbind_global(wake);
        }
        resolve();
      };
      deadline.onabort = wake;
      for (const client of clients) {
        client.connection.bind_global(wake);
        for (const channel of client.allChannels()) channel.bind_global(wake);
      }
    });
  }
}

let serial = 0;

async function live(random: Random): Promise<void> {
  const round = ++serial;
  const [room, secret, presence] = [`room-${round}`, `private-room-${round}`, `presence-room-${round}`] as const;
  const network = await FlakyNetwork.open(Number(new URL(server.url).port), random);
  const clients = users.map((user) => openClient(network.url, user));
  try {
    let connected = 0;
    for (const client of clients) {
      client.connection.bind('connected', () => connected++);
      for (const name of [room, secret, presence]) client.subscribe(name);
    }
    const members = (client: Starling) =>
      Object.keys((client.channel(presence) as PresenceChannel).members.members).sort();
    const seen = () =>
      clients.map((client) => ({
        state: client.connection.state,
        joined: client.allChannels().map(({ subscribed }) => subscribed),
        members: members(client),
      }));
    await until(
      clients,
      () => connected >= 12,
      () => ({ connected, fates: network.done }),
    );
    const before = clients.map(({ connection }) => connection.socket_id);
    network.mend();
    const isRight = () =>
      clients.every(
        (client, index) =>
          client.connection.socket_id !== before[index] &&
          client.allChannels().every(({ subscribed }) => subscribed) &&
          members(client).join() === users.join(),
      );
    await until(clients, isRight, seen);

    // Joined once, and alive: each hears an event once, on each channel.
    const heard: string[] = [];
    for (const [index, client] of clients.entries()) {
      for (const name of [room, secret])
        client.channel(name)?.bind('order', (id) => heard.push(`${users[index]} ${name} ${id}`));
    }
    const body = JSON.stringify({ name: 'order', channels: [room, secret], data: String(round) });
    const response = await fetch(
      `${server.url}${signedPath(server.app, 'POST', `/apps/${server.app.id}/events`, body)}`,
      {
        method: 'POST',
        body,
      },
    );
    expect(response.status).toBe(200);
    const expected = users.flatMap((user) => [room, secret].map((name) => `${user} ${name} ${round}`));
    await until(
      clients,
      () => heard.length >= expected.length,
      () => heard,
    );
    expect(heard.sort()).toEqual(expected.sort());
  } finally {
    for (const client of clients) client.disconnect();
    await network.close();
  }
}

test('whatever the network did, all channels are joined again, and all agree on who is there', async () => {
  await fuzzInTurn(seedsOf([], 4), live);
}, 240_000);
