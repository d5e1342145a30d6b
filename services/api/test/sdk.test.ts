/** The official server library for Node, against the API. */
import { channelTopic, userTopic } from '@starling/ports';
import Pusher from 'pusher';
import { expect, test } from 'vitest';
import { key, secret, startApi } from './started-api.ts';

async function start() {
  const started = await startApi();
  const pusher = new Pusher({ appId: '3', key, secret, host: '127.0.0.1', port: String(started.port), useTLS: false });
  return { ...started, pusher };
}

test('[RE7] pusher.trigger delivers to one channel and to several, except to a socket', async () => {
  const { pusher, subscribe, deliveries } = await start();
  await subscribe('room-1', 'private-room-2');
  const one = await pusher.trigger('room-1', 'order', { id: 9, text: 'é' });
  expect(one.status).toBe(200);
  expect(await one.json()).toEqual({});
  await pusher.trigger(['room-1', 'private-room-2'], 'order', 'plain', { socket_id: '12.34' });
  expect(deliveries.map(({ frame, message }) => [frame, message.except])).toEqual([
    [{ event: 'order', channel: 'room-1', data: '{"id":9,"text":"é"}' }, undefined],
    [{ event: 'order', channel: 'room-1', data: 'plain' }, '12.34'],
    [{ event: 'order', channel: 'private-room-2', data: 'plain' }, '12.34'],
  ]);
});

test('[RE9] pusher.trigger with info', async () => {
  const { pusher, join } = await start();
  await join('presence-a', '1.1', 'u1');
  const answer = await pusher.trigger(['presence-a', 'b'], 'e', {}, { info: 'user_count,subscription_count' });
  expect(await answer.json()).toEqual({
    channels: { 'presence-a': { user_count: 1, subscription_count: 1 }, b: { subscription_count: 0 } },
  });
});

test('[RE10] pusher.triggerBatch', async () => {
  const { pusher, subscribe, deliveries } = await start();
  await subscribe('a', 'b');
  const answer = await pusher.triggerBatch([
    { channel: 'a', name: 'first', data: { n: 1 } },
    { channel: 'b', name: 'second', data: 'two', socket_id: '1.2', info: 'subscription_count' },
  ]);
  expect(await answer.json()).toEqual({ batch: [{}, { subscription_count: 0 }] });
  expect(deliveries).toMatchObject([
    { frame: { event: 'first', channel: 'a', data: '{"n":1}' } },
    { frame: { event: 'second', channel: 'b', data: 'two' }, message: { except: '1.2' } },
  ]);
});

test('[RE7] pusher.sendToUser', async () => {
  const { pusher, subscribe, deliveries } = await start();
  await subscribe('#server-to-user-u1');
  await pusher.sendToUser('u1', 'alert', 'hello');
  expect(deliveries).toMatchObject([{ frame: { event: 'alert', channel: '#server-to-user-u1', data: 'hello' } }]);
});

test('[RE14] pusher.terminateUserConnections', async () => {
  const { pusher, broker, deliveries } = await start();
  await broker.subscribe(userTopic('3', 'u@1'));
  expect((await pusher.terminateUserConnections('u@1')).status).toBe(200);
  expect(deliveries).toMatchObject([{ message: { kind: 'terminate' } }]);
});

test('[RE11] [RE12] [RE13] pusher.get', async () => {
  const { pusher, join } = await start();
  await join('presence-a,b;c=d@e', '1.1', 'u1');
  await join('room-1', '1.1');
  const read = async (path: string, params?: Record<string, string>) => {
    const answer = await pusher.get(params === undefined ? { path } : { path, params });
    expect(answer.status).toBe(200);
    return (await answer.json()) as unknown;
  };
  expect(await read('/channels')).toEqual({ channels: { 'presence-a,b;c=d@e': {}, 'room-1': {} } });
  expect(
    await read('/channels', { filter_by_prefix: 'presence-a,b;c=d@', info: 'user_count,subscription_count' }),
  ).toEqual({ channels: { 'presence-a,b;c=d@e': { user_count: 1, subscription_count: 1 } } });
  expect(await read('/channels/room-1', { info: 'subscription_count' })).toEqual({
    occupied: true,
    subscription_count: 1,
  });
  expect(await read('/channels/presence-a,b;c=d@e/users')).toEqual({ users: [{ id: 'u1' }] });
});

test('[RE15] pusher.post, to the deprecated endpoint', async () => {
  const { pusher, subscribe, deliveries } = await start();
  await subscribe('room-1');
  const answer = await pusher.post({ path: '/channels/room-1/events', params: { name: 'e' }, body: 'old' });
  expect(answer.status).toBe(202);
  expect(deliveries).toMatchObject([{ frame: { event: 'e', data: '"old"' } }]);
});

test('[SG4] a request signed by pusher.createSignedQueryString is accepted', async () => {
  const { pusher, send } = await start();
  const body = '{"name":"e","channel":"c","data":"d"}';
  const path = '/apps/3/events';
  const query = pusher.createSignedQueryString({ method: 'POST', path, body, params: {} });
  expect((await send('POST', `${path}?${query}`, body)).status).toBe(200);
});

test('[RE6] errors reach the caller with status and body', async () => {
  const { pusher, port } = await start();
  await expect(pusher.trigger('a', 'e', 'x'.repeat(10_241))).rejects.toMatchObject({
    name: 'PusherRequestError',
    status: 413,
    body: expect.stringContaining('"code":"data_too_large"'),
  });
  const stranger = new Pusher({
    appId: '3',
    key,
    secret: 'wrong',
    host: '127.0.0.1',
    port: String(port),
    useTLS: false,
  });
  await expect(stranger.trigger('a', 'e', '')).rejects.toMatchObject({ status: 401 });
  await expect(stranger.get({ path: '/channels' })).rejects.toMatchObject({ status: 401 });
});

test('[RE7] Pusher.forURL, with an encrypted channel passed through as it is', async () => {
  const { port, subscribe, deliveries } = await startApi();
  const pusher = Pusher.forURL(`http://${key}:${secret}@127.0.0.1:${port}/apps/3`, {
    encryptionMasterKeyBase64: 'MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=',
  });
  await subscribe('private-encrypted-lab');
  expect((await pusher.trigger('private-encrypted-lab', 'e', 'secret')).status).toBe(200);
  const { data } = deliveries[0]!.frame as { data: string };
  expect(JSON.parse(data)).toEqual({ nonce: expect.any(String), ciphertext: expect.any(String) });
  expect(deliveries[0]!.topic).toBe(channelTopic('3', 'private-encrypted-lab'));
});
