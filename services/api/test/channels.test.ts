import { channelTopic, userTopic } from '@starling/ports';
import { describe, expect, test } from 'vitest';
import { app3, startApi } from './started-api.ts';

const base = '/apps/3/channels';

describe('GET /channels', () => {
  test('[RE11] lists occupied channels, and {} when there are none', async () => {
    const { call, join, presenceStore } = await startApi();
    expect(await call('GET', base)).toMatchObject({ status: 200, text: '{"channels":{}}' });
    await join('room-1', '1.1');
    await join('presence-a', '1.1', 'u1');
    await join('__proto__', '1.1');
    expect((await call('GET', base)).text).toBe('{"channels":{"room-1":{},"presence-a":{},"__proto__":{}}}');
    await presenceStore.leave({ topic: channelTopic('3', 'room-1'), socketId: '1.1' });
    expect((await call('GET', base)).text).toBe('{"channels":{"presence-a":{},"__proto__":{}}}');
  });

  test('[RE11] filters by prefix and tells what is asked', async () => {
    const { call, join } = await startApi();
    await join('presence-a', '1.1', 'u1');
    await join('presence-a', '1.2', 'u1');
    await join('presence-b', '1.1', 'u1');
    await join('room-1', '1.1');
    const get = (...query: Array<[string, string]>) => call('GET', base, { query });
    expect((await get(['filter_by_prefix', 'presence-'], ['info', 'user_count'])).json).toEqual({
      channels: { 'presence-a': { user_count: 1 }, 'presence-b': { user_count: 1 } },
    });
    expect((await get(['filter_by_prefix', 'presence-a'], ['info', 'user_count,subscription_count'])).json).toEqual({
      channels: { 'presence-a': { user_count: 1, subscription_count: 2 } },
    });
    expect((await get(['filter_by_prefix', 'none'])).json).toEqual({ channels: {} });
    expect((await get(['info', 'subscription_count'], ['filter_by_prefix', 'room'])).json).toEqual({
      channels: { 'room-1': { subscription_count: 1 } },
    });
  });

  test('[RE11] user_count needs a prefix that begins with presence-', async () => {
    const { call } = await startApi();
    for (const prefix of ['', 'room', 'presence', 'private-presence-']) {
      const query = [
        ['info', 'user_count'],
        ['filter_by_prefix', prefix],
      ] as const;
      expect(await call('GET', base, { query })).toMatchObject({ status: 400, json: { code: 'request_malformed' } });
    }
    expect((await call('GET', base, { query: [['info', 'user_count']] })).status).toBe(400);
    expect((await call('GET', base, { query: [['info', 'cache']] })).status).toBe(400);
  });

  test("[RE11] shows no other app's channels", async () => {
    const other = { ...app3, id: '4', keys: [{ key: 'k4', secret: 's4', isEnabled: true }] };
    const { call, join } = await startApi({ apps: [app3, other] });
    await join('room-1', '1.1');
    expect((await call('GET', '/apps/4/channels', { key: 'k4', secret: 's4' })).json).toEqual({ channels: {} });
  });

  test('[US9] user channels are not listed and have no subscription count', async () => {
    const { call, join, trigger } = await startApi();
    const channel = '#server-to-user-u1';
    await join(channel, '1.1');
    expect((await call('GET', base)).json).toEqual({ channels: {} });
    expect((await call('GET', base, { query: [['filter_by_prefix', '#']] })).json).toEqual({ channels: {} });
    const path = `${base}/${encodeURIComponent(channel)}`;
    expect(await call('GET', path)).toMatchObject({ status: 200, json: { occupied: true } });
    expect((await call('GET', path, { query: [['info', 'subscription_count']] })).status).toBe(400);
    const answer = await trigger({ name: 'e', channel, data: '', info: 'subscription_count' });
    expect(answer.json).toEqual({ channels: { [channel]: {} } });
  });
});

describe('GET /channels/CHANNEL', () => {
  const info = (attributes: string) => ({ query: [['info', attributes]] as const });

  test('[RE12] tells whether it is occupied, and 200 when nobody ever was there', async () => {
    const { call, join } = await startApi();
    await join('room-1', '1.1');
    expect(await call('GET', `${base}/room-1`)).toMatchObject({ status: 200, text: '{"occupied":true}' });
    expect(await call('GET', `${base}/room-2`)).toMatchObject({ status: 200, text: '{"occupied":false}' });
  });

  test('[RE12] tells the counts asked for, 0 when unoccupied', async () => {
    const { call, join } = await startApi();
    await join('presence-a', '1.1', 'u1');
    await join('presence-a', '1.2', 'u1');
    const both = info('user_count,subscription_count');
    expect((await call('GET', `${base}/presence-a`, both)).json).toEqual({
      occupied: true,
      user_count: 1,
      subscription_count: 2,
    });
    expect((await call('GET', `${base}/presence-b`, both)).json).toEqual({
      occupied: false,
      user_count: 0,
      subscription_count: 0,
    });
    expect((await call('GET', `${base}/presence-a`, info('subscription_count'))).json).toEqual({
      occupied: true,
      subscription_count: 2,
    });
  });

  test('[RE12] tells the last event of a cache channel and its seconds left, null when there is none', async () => {
    const { call, trigger, clock } = await startApi();
    const data = '{"usd":"é\\n"}';
    await trigger({ name: 'price', channel: 'cache-btc', data });
    clock.advance(257_500);
    expect((await call('GET', `${base}/cache-btc`, info('cache'))).json).toEqual({
      occupied: false,
      cache: { data, ttl: 1_543 },
    });
    expect((await call('GET', `${base}/cache-eth`, info('cache'))).json).toEqual({ occupied: false, cache: null });
    expect((await call('GET', `${base}/presence-cache-x`, info('cache,user_count'))).json).toEqual({
      occupied: false,
      user_count: 0,
      cache: null,
    });
  });

  test.each([
    ['room-1', 'user_count', 'presence channel'],
    ['private-cache-x', 'user_count', 'presence channel'],
    ['room-1', 'cache', 'cache channel'],
    ['presence-a', 'cache', 'cache channel'],
    ['room-1', 'colour', 'user_count, subscription_count, cache'],
  ])('[RE12] %s refuses info=%s', async (channel, attribute, text) => {
    const { call } = await startApi();
    const answer = await call('GET', `${base}/${channel}`, info(attribute));
    expect(answer).toMatchObject({ status: 400, json: { code: 'request_malformed' } });
    expect(answer.text).toContain(text);
  });

  test('[RE12] [RE11] subscription_count is refused where the app has it off', async () => {
    const { call } = await startApi({ apps: [{ ...app3, hasSubscriptionCounts: false }] });
    for (const path of [`${base}/room-1`, base]) {
      const answer = await call('GET', path, info('subscription_count'));
      expect(answer.status).toBe(400);
      expect(answer.text).toContain('not enabled');
    }
  });

  test('[RE12] a name that is none gets 400 with the rule', async () => {
    const { call } = await startApi();
    for (const name of ['a%20b', 'a:b', 'c'.repeat(201), 'a%2Fb']) {
      expect(await call('GET', `${base}/${name}`)).toMatchObject({
        status: 400,
        json: { code: 'channel_name_invalid' },
      });
    }
  });
});

describe('GET /channels/CHANNEL/users', () => {
  test('[RE13] tells distinct user ids as strings, [] when empty', async () => {
    const { call, join } = await startApi();
    await join('presence-a', '1.1', 'u1');
    await join('presence-a', '1.2', '10');
    await join('presence-a', '1.3', 'u1');
    expect(await call('GET', `${base}/presence-a/users`)).toMatchObject({
      status: 200,
      text: '{"users":[{"id":"u1"},{"id":"10"}]}',
    });
    expect((await call('GET', `${base}/presence-b/users`)).text).toBe('{"users":[]}');
    expect((await call('GET', `${base}/presence-b/users`, { query: [['info', 'x']] })).status).toBe(200);
  });

  test('[RE13] is refused for channels without presence, and for names that are none', async () => {
    const { call } = await startApi();
    for (const name of ['room-1', 'private-presence-x', 'cache-x', '%23server-to-user-u', 'a:b']) {
      expect((await call('GET', `${base}/${name}/users`)).status).toBe(400);
    }
  });
});

describe('POST /users/USER/terminate_connections', () => {
  const path = (userId: string) => `/apps/3/users/${userId}/terminate_connections`;

  test("[RE14] orders the user's connections closed, and answers {} whether or not there are any", async () => {
    const { call, broker, deliveries } = await startApi();
    await broker.subscribe(userTopic('3', 'u-1'));
    expect(await call('POST', path('u-1'), { body: '{}' })).toMatchObject({ status: 200, text: '{}' });
    expect(await call('POST', path('u-1'))).toMatchObject({ status: 200, text: '{}' });
    expect(await call('POST', path('nobody'))).toMatchObject({ status: 200, text: '{}' });
    expect(deliveries).toMatchObject([
      { topic: userTopic('3', 'u-1'), message: { kind: 'terminate', payload: new Uint8Array() } },
      { topic: userTopic('3', 'u-1'), message: { kind: 'terminate' } },
    ]);
  });

  test('[RE14] a user id that is none gets 400', async () => {
    const { call } = await startApi();
    expect(await call('POST', path('u'.repeat(129)))).toMatchObject({ status: 400, json: { code: 'user_id_invalid' } });
  });

  test('[RE17] the user id may be percent-encoded or raw', async () => {
    const { call, broker, deliveries } = await startApi();
    const userId = 'a@b,c;d=e';
    await broker.subscribe(userTopic('3', userId));
    await broker.subscribe(userTopic('3', 'ü/:~ %'));
    expect((await call('POST', path(userId))).status).toBe(200);
    expect((await call('POST', path(encodeURIComponent(userId)))).status).toBe(200);
    expect((await call('POST', path(encodeURIComponent('ü/:~ %')))).status).toBe(200);
    expect(deliveries).toHaveLength(3);
  });
});

test('[RE17] the channel in a path may be percent-encoded or raw, up to 200 encoded characters', async () => {
  const { call, join } = await startApi();
  const name = `presence-${'@=,;.'.repeat(38)}x`;
  expect(name).toHaveLength(200);
  await join(name, '1.1', 'u1');
  for (const written of [name, encodeURIComponent(name)]) {
    expect((await call('GET', `${base}/${written}`)).json).toEqual({ occupied: true });
    expect((await call('GET', `${base}/${written}/users`)).json).toEqual({ users: [{ id: 'u1' }] });
  }
  const everyCharacterEncoded = name.replace(/./g, (character) => `%${character.charCodeAt(0).toString(16)}`);
  expect((await call('GET', `${base}/${everyCharacterEncoded}`)).json).toEqual({ occupied: true });
});

test('[RE15] GET /channels/CHANNEL/stats works', async () => {
  const { call, join } = await startApi({ apps: [{ ...app3, hasSubscriptionCounts: false }] });
  await join('presence-a', '1.1', 'u1');
  await join('presence-a', '1.2', 'u1');
  await join('room-1', '1.1');
  expect((await call('GET', `${base}/presence-a/stats`)).json).toEqual({
    occupied: true,
    connection_count: 2,
    user_count: 1,
  });
  expect((await call('GET', `${base}/room-1/stats`)).json).toEqual({ occupied: true, connection_count: 1 });
  expect((await call('GET', `${base}/room-2/stats`)).json).toEqual({ occupied: false, connection_count: 0 });
  expect((await call('GET', `${base}/a:b/stats`)).status).toBe(400);
});

test.each([
  ['GET', base],
  ['GET', `${base}/room-1`],
  ['GET', `${base}/presence-a/users`],
  ['GET', `${base}/room-1/stats`],
  ['POST', '/apps/3/users/u-1/terminate_connections'],
])('[RE4] %s %s answers 401 to the unauthenticated and to another app, 404 to an unknown one', async (method, path) => {
  const other = { ...app3, id: '4', keys: [{ key: 'k4', secret: 's4', isEnabled: true }] };
  const { call, send, broker, deliveries } = await startApi({ apps: [app3, other] });
  await broker.subscribe(userTopic('3', 'u-1'));
  expect((await send(method, path)).status).toBe(401);
  expect((await call(method, path, { secret: 'wrong' })).status).toBe(401);
  expect((await call(method, path, { key: 'k4', secret: 's4' })).status).toBe(401);
  expect((await call(method, path.replace('/3/', '/9/'))).status).toBe(404);
  expect(deliveries).toEqual([]);
  expect((await call(method, path)).status).toBe(200);
});

test('[RE6] success is 200 and application/json, an error an object with error and code', async () => {
  const { call, send } = await startApi();
  const good = await call('GET', base);
  expect(good.status).toBe(200);
  expect(good.headers['content-type']).toMatch(/^application\/json\b/);
  const bad = await send('GET', base);
  expect(bad.headers['content-type']).toMatch(/^application\/json\b/);
  expect(bad.json).toEqual({ error: expect.any(String), code: 'request_unauthenticated' });
});

test.each([
  ['GET', '/apps'],
  ['GET', '/apps/3'],
  ['GET', '/apps/3/nothing'],
  ['GET', '/apps/3/events'],
  ['POST', '/apps/3/channels'],
  ['HEAD', '/apps/3/channels'],
  ['PUT', '/apps/3/events'],
  ['DELETE', '/apps/3/channels/room-1'],
  ['POST', '/apps/3/events/'],
  ['POST', '/apps/3/users/u-1'],
])('[RE16] %s %s gets 404', async (method, path) => {
  const { call, send } = await startApi();
  expect((await call(method, path)).status).toBe(404);
  const answer = await send(method, path);
  expect(answer.status).toBe(404);
  if (method !== 'HEAD') expect(answer.json).toEqual({ error: expect.any(String), code: 'route_unknown' });
});
