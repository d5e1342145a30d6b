/** Tokens and publishing as a real server takes them. */
import { Starling as Backend } from '@starling/server';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { openProgram, type Program, type Starling as Server } from '../../../infra/testing/program.ts';
import { type Options, Starling, StarlingError } from './index.ts';

let program: Program;
let server: Server;
let backend: Backend;
const clients: Starling[] = [];
beforeAll(async () => {
  program = openProgram();
  server = await program.start({ env: { STARLING_LOG_LEVEL: 'warn' } });
  const { id, key, secret } = server.app;
  backend = new Backend({ appId: id, key, secret, url: server.url });
});
afterEach(() => {
  for (const client of clients.splice(0)) client.disconnect();
});
afterAll(() => program?.close());

type Rights = Parameters<Backend['createToken']>[0];

function open(options: Partial<Options>): Starling {
  const client = new Starling(server.app.key, { host: server.url, WebSocket, ...options });
  clients.push(client);
  return client;
}
/** The next data told under this name. */
async function told(target: object, event: string): Promise<unknown> {
  const listeners = target as { bind(event: string, listener: (data: unknown) => void): unknown };
  const deadline = AbortSignal.timeout(15_000);
  return new Promise((resolve, reject) => {
    deadline.onabort = () => reject(new Error(`${event} was not told`));
    listeners.bind(event, resolve);
  });
}
const bearer = (rights: Rights) => ({ tokenProvider: () => backend.createToken(rights) });

test('a token joins what it may, publishes what it may, and is told why it may not', async () => {
  const capabilities = { 'private-room-*': ['subscribe', 'publish'], 'presence-room': ['presence'] } as const;
  const ada = open(bearer({ userId: 'ada', userInfo: { name: 'Ada' }, capabilities }));
  const bob = open(bearer({ userId: 'bob', capabilities }));
  const people = ada.subscribe('presence-room');
  await told(people, 'pusher:subscription_succeeded');
  expect(people.members.me).toEqual({ id: 'ada', info: { name: 'Ada' } });
  const room = bob.subscribe('private-room-7');
  await told(room, 'pusher:subscription_succeeded');
  expect(await told(bob.subscribe('private-other'), 'pusher:subscription_error')).toMatchObject({ status: 403 });

  const order = told(room, 'order');
  await ada.publish('private-room-7', 'order', { id: 7 });
  expect(await order).toEqual({ id: 7 });
  const refused = await ada.publish('public', 'order', 1).catch((err: unknown) => err);
  expect(refused).toBeInstanceOf(StarlingError);
  expect(refused).toMatchObject({ code: 'capability_missing', reason: expect.stringContaining('public') });

  const alert = told(ada.user, 'alert');
  await backend.sendToUser('ada', 'alert', 'hello');
  expect(await alert).toBe('hello');
});

test('a token is renewed before its end, and the connection outlives the first', async () => {
  const client = open(bearer({ capabilities: { 'private-room': ['subscribe'] }, expiresInSeconds: 2 }));
  const channel = client.subscribe('private-room');
  await told(channel, 'pusher:subscription_succeeded');
  const changes: string[] = [];
  client.connection.bind('state_change', ({ current, reason }) => changes.push(`${current}: ${reason}`));
  for (let renewal = 1; renewal <= 2; renewal++) {
    expect(await told(client, 'starling:auth_success')).toMatchObject({
      capabilities: { 'private-room': ['subscribe'] },
    });
  }
  const order = told(channel, 'order');
  await backend.trigger('private-room', 'order', 1);
  expect(await order).toBe(1);
  expect(changes).toEqual([]);
});

test('an expired token is replaced by a new one', async () => {
  const tokens = [await backend.createToken({ capabilities: {}, expiresInSeconds: 1 })];
  const client = open({
    // The first is given again and again, until the connection made with it has been ended.
    tokenProvider: () => tokens.at(-1) ?? '',
    retryMinMs: 10,
  });
  const error = (await told(client.connection, 'error')) as StarlingError;
  expect(error).toMatchObject({ code: 'token_expired', number: 4110, fix: expect.stringContaining('tokenProvider') });
  tokens.push(await backend.createToken({ capabilities: {} }));
  if (client.connection.state !== 'connected') await told(client.connection, 'connected');
  expect(client.connection.state).toBe('connected');
});

test('a bad token ends the matter, with the reason', async () => {
  const client = open({ token: 'a.b.c' });
  expect(await told(client.connection, 'error')).toMatchObject({ code: 'token_invalid', number: 4010 });
  expect(client.connection.state).toBe('disconnected');
});
