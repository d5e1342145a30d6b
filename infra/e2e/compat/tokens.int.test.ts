/** Capability tokens against the program as it is started: by hand, and beside the official libraries. */
import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectPeer, openProgram, type Peer, type Program, type Starling, signedPath } from '../../testing/program.ts';
import { type Backend, openBackend } from './backend.ts';
import { nodePlace, type Place } from './client.ts';

let program: Program;
let starling: Starling;
let backend: Backend;
let place: Place;
beforeAll(async () => {
  program = openProgram();
  starling = await program.start({ env: { STARLING_LOG_LEVEL: 'debug' } });
  backend = await openBackend(starling);
  place = await nodePlace(starling, backend);
});
afterAll(async () => {
  await place?.close();
  await backend?.close();
  await program?.close();
});

const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

function mint(claims: Readonly<Record<string, unknown>>): string {
  const iat = Math.floor(Date.now() / 1_000);
  const text = `${part({ alg: 'HS256', kid: starling.app.key })}.${part({ iat, exp: iat + 600, cap: {}, ...claims })}`;
  return `${text}.${createHmac('sha256', starling.app.secret).update(text).digest('base64url')}`;
}

const connect = (token: string): Promise<Peer> => connectPeer(starling.url, starling.app.key, token);
const dataOf = (frame: { data: unknown }) => JSON.parse(frame.data as string);

async function revoke(fields: unknown): Promise<number> {
  const body = JSON.stringify(fields);
  const path = signedPath(starling.app, 'POST', `/apps/${starling.app.id}/revocations`, body);
  return (await fetch(starling.url + path, { method: 'POST', body })).status;
}

test('[TK7] [TK13] a member by token and one by the official library see each other', async () => {
  const cap = { 'presence-lobby': ['presence'] };
  const peer = await connect(mint({ sub: 'ada', info: { name: 'Ada' }, cap }));
  expect(dataOf(await peer.received('starling:auth_success'))).toMatchObject({ user_id: 'ada', capabilities: cap });
  peer.socket.send(JSON.stringify({ event: 'pusher:subscribe', data: { channel: 'presence-lobby' } }));
  await peer.received('pusher_internal:subscription_succeeded');
  const client = await place.open({ user: 'bob' });
  const { data } = await client.join('presence-lobby');
  expect((data as { members: unknown }).members).toMatchObject({ ada: { name: 'Ada' }, bob: { name: 'User bob' } });
  expect(dataOf(await peer.received('pusher_internal:member_added'))).toMatchObject({ user_id: 'bob' });
  peer.socket.close();
  expect((await client.told('pusher:member_removed', 'presence-lobby')).data).toMatchObject({ id: 'ada' });
});

test('[SP2] [SP4] what is published over the connection reaches the official client, in order', async () => {
  const client = await place.open();
  await client.join('room');
  const peer = await connect(mint({ cap: { room: ['publish'] } }));
  const ids = Array.from({ length: 2_000 }, (_, index) => String(index));
  for (const id of ids) {
    const data = { id, channels: ['room'], name: 'order', data: id };
    peer.socket.send(JSON.stringify({ event: 'starling:publish', data }));
  }
  const told = await client.toldAll(ids.length, 'order', 'room');
  expect(told.map(({ data }) => String(data))).toEqual(ids);
  expect(dataOf(await peer.received('starling:publish_ack'))).toEqual({ id: '0' });
  peer.socket.close();
});

test('[TK11] a connection ends with its token', async () => {
  const exp = Math.floor(Date.now() / 1_000) + 2;
  const peer = await connect(mint({ exp }));
  expect(await peer.closed).toBe(4_110);
  expect(Date.now()).toBeGreaterThanOrEqual(exp * 1_000);
});

test('[TK12] [TK15] a revoked user is gone within 2 s, and does not come back with that token', async () => {
  const token = mint({ sub: 'eve' });
  const [peer, other] = await Promise.all([connect(token), connect(mint({ sub: 'ada' }))]);
  const before = Date.now();
  expect(await revoke({ user_id: 'eve' })).toBe(200);
  expect(await peer.closed).toBe(4_011);
  expect(Date.now() - before).toBeLessThan(2_000);
  await expect(connect(token)).rejects.toThrow('Closed with 4011');
  other.socket.close();
  expect(await other.closed).not.toBe(4_011);
});

test('[OP3] no token is in the log', async () => {
  const token = mint({ jti: 'in-no-log' });
  const peer = await connect(token);
  peer.socket.send(JSON.stringify({ event: 'starling:auth', data: { token } }));
  peer.socket.send(JSON.stringify({ event: 'starling:auth', data: { token: `${token}x` } }));
  await peer.received('starling:auth_error');
  await expect(connect(`${token}x`)).rejects.toThrow('Closed with 4010');
  peer.socket.close();
  await starling.said('token refused');
  const signature = token.split('.')[2] ?? '';
  expect(starling.stdout() + starling.stderr()).not.toContain(signature.slice(0, 20));
});
