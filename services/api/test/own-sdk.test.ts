/** Our own server library, against the API. */
import { userTopic } from '@starling/ports';
import { EncryptionKey, Starling, StarlingError } from '@starling/server';
import { expect, test } from 'vitest';
import { key, secret, startApi } from './started-api.ts';

type Events = { order: { id: number; text?: string } | string; note: string };

const encryptionMasterKey = 'MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=';

async function start() {
  const started = await startApi();
  const url = `http://127.0.0.1:${started.port}`;
  const starling = new Starling<Events>({ appId: '3', key, secret, url, encryptionMasterKey, retries: 0 });
  return { ...started, starling };
}

test('[RE7] triggers on one channel and on several, except to a socket', async () => {
  const { starling, subscribe, deliveries } = await start();
  await subscribe('room-1', 'private-room-2');
  expect(await starling.trigger('room-1', 'order', { id: 9, text: 'é' })).toEqual({});
  await starling.trigger(['room-1', 'private-room-2'], 'order', 'plain', { socketId: '12.34' });
  expect(deliveries.map(({ frame, message }) => [frame, message.except])).toEqual([
    [{ event: 'order', channel: 'room-1', data: '{"id":9,"text":"é"}' }, undefined],
    [{ event: 'order', channel: 'room-1', data: 'plain' }, '12.34'],
    [{ event: 'order', channel: 'private-room-2', data: 'plain' }, '12.34'],
  ]);
});

test('[RE20] an event triggered twice under one id is delivered once', async () => {
  const { starling, subscribe, deliveries } = await start();
  await subscribe('a');
  await starling.trigger('a', 'note', 'x', { messageId: 'order-7' });
  await starling.trigger('a', 'note', 'x', { messageId: 'order-7' });
  await starling.trigger('a', 'note', 'x');
  await starling.trigger('a', 'note', 'x');
  expect(deliveries).toHaveLength(3);
});

test('[RE9] [RE10] tells what was asked of each channel', async () => {
  const { starling, join, subscribe, deliveries } = await start();
  await subscribe('b');
  await join('presence-a', '1.1', 'u1');
  expect(
    await starling.trigger(['presence-a', 'b'], 'note', '', { info: ['user_count', 'subscription_count'] }),
  ).toEqual({
    'presence-a': { userCount: 1, subscriptionCount: 1 },
    b: { subscriptionCount: 0 },
  });
  const batch = await starling.triggerBatch([
    { channel: 'b', event: 'note', data: 'one' },
    { channel: 'b', event: 'order', data: { id: 2 }, socketId: '1.2', info: ['subscription_count'] },
  ]);
  expect(batch).toEqual([{}, { subscriptionCount: 0 }]);
  expect(deliveries.slice(-2)).toMatchObject([
    { frame: { event: 'note', channel: 'b', data: 'one' } },
    { frame: { event: 'order', channel: 'b', data: '{"id":2}' }, message: { except: '1.2' } },
  ]);
});

test('seals what goes to an encrypted channel, so that its key opens it', async () => {
  const { starling, subscribe, deliveries } = await start();
  await subscribe('private-encrypted-lab');
  await starling.trigger('private-encrypted-lab', 'note', 'hello');
  const { data } = deliveries[0]!.frame as { data: string };
  expect(data).not.toContain('hello');
  const key = new EncryptionKey(encryptionMasterKey);
  expect(await key.decrypt('private-encrypted-lab', JSON.parse(data))).toBe('"hello"');
});

test('[RE7] [RE14] reaches a user, and closes the connections of one whose id is odd', async () => {
  const { starling, subscribe, broker, deliveries } = await start();
  await subscribe('#server-to-user-u1');
  await starling.sendToUser('u1', 'note', 'hello');
  expect(deliveries).toMatchObject([{ frame: { event: 'note', channel: '#server-to-user-u1', data: 'hello' } }]);
  await broker.subscribe(userTopic('3', 'u/1 é'));
  await starling.terminateUserConnections('u/1 é');
  expect(deliveries[1]?.message.kind).toBe('terminate');
});

test('[RE11] [RE12] [RE13] reads channels and their users', async () => {
  const { starling, join } = await start();
  expect(await starling.channels()).toEqual({});
  await join('presence-a', '1.1', 'u1');
  await join('room-1', '1.2');
  expect(await starling.channels()).toEqual({ 'presence-a': {}, 'room-1': {} });
  expect(await starling.channels({ prefix: 'presence-', info: ['user_count'] })).toEqual({
    'presence-a': { userCount: 1 },
  });
  expect(await starling.channel('room-1', { info: ['subscription_count'] })).toEqual({
    isOccupied: true,
    subscriptionCount: 1,
  });
  expect(await starling.channel('room-2')).toEqual({ isOccupied: false });
  expect(await starling.users('presence-a')).toEqual(['u1']);
});

test('[RE4] [RE6] a refusal is an error with the code of the rule', async () => {
  const { port, starling } = await start();
  const url = `http://127.0.0.1:${port}`;
  const stranger = new Starling({ appId: '3', key, secret: 'wrong', url, retries: 0 });
  await expect(stranger.trigger('a', 'e', {})).rejects.toThrow(StarlingError);
  await expect(stranger.trigger('a', 'e', {})).rejects.toMatchObject({ code: 'auth_signature', status: 401 });
  await expect(starling.users('room-1')).rejects.toMatchObject({ code: 'request_malformed', status: 400 });
  await expect(starling.trigger('a', 'note', 'x'.repeat(10_241))).rejects.toMatchObject({
    code: 'data_too_large',
    status: 413,
  });
});
