import { MemoryBroker } from '@starling/adapters/memory';
import { type BrokerMessage, channelTopic, later, type Topic } from '@starling/ports';
import { StarlingError } from '@starling/protocol';
import { describe, expect, test } from 'vitest';
import { app3, md5, sign, signQuery, startApi } from './started-api.ts';

const event = { name: 'order-created', channel: 'room-1', data: '{"id":9}' };
const events = '/apps/3/events';
const batchEvents = '/apps/3/batch_events';

describe('POST /events', () => {
  test('[RE7] delivers once to each distinct channel, one frame per channel, data verbatim', async () => {
    const { trigger, deliveries, subscribe } = await startApi();
    await subscribe('room-1', 'presence-room-2', '#server-to-user-u1');
    const data = '{ "odd" :\t"\\u00e9 é \u2028 😀" }';
    const channels = ['room-1', 'presence-room-2', 'room-1', '#server-to-user-u1', 'nobody-here'];
    expect(await trigger({ name: 'e', channels, data })).toMatchObject({ status: 200, json: {} });
    expect(deliveries).toMatchObject([
      { topic: '3:room-1', message: { kind: 'event' }, frame: { event: 'e', channel: 'room-1', data } },
      { topic: '3:presence-room-2', frame: { event: 'e', channel: 'presence-room-2', data } },
      { topic: '3:#server-to-user-u1', frame: { event: 'e', channel: '#server-to-user-u1', data } },
    ]);
    expect(deliveries.every(({ message }) => message.except === undefined)).toBe(true);
    expect(Object.keys(deliveries[0]!.frame as object)).toEqual(['event', 'channel', 'data']);
  });

  test('[RE7] `channel` names one; `channels` wins where both are given', async () => {
    const { trigger, deliveries, subscribe } = await startApi();
    await subscribe('room-1', 'room-2');
    expect((await trigger(event)).status).toBe(200);
    expect((await trigger({ ...event, channels: ['room-2'] })).status).toBe(200);
    expect(deliveries.map(({ topic }) => topic)).toEqual(['3:room-1', '3:room-2']);
  });

  test('[RE7] takes 1 to 100 channels and publishes nothing otherwise', async () => {
    const { trigger, deliveries, subscribe } = await startApi();
    const names = Array.from({ length: 101 }, (_, index) => `room-${index}`);
    await subscribe(...names);
    for (const channels of [names, [], 'room-1', {}, 7]) {
      const answer = await trigger({ name: 'e', channels, data: '' });
      expect(answer).toMatchObject({ status: 400, json: { code: 'request_malformed' } });
      expect(answer.text).toContain('1 to 100');
    }
    expect(deliveries).toEqual([]);
    expect((await trigger({ name: 'e', channels: names.slice(1), data: '' })).status).toBe(200);
    expect(deliveries.map(({ topic }) => topic)).toEqual(names.slice(1).map((name) => `3:${name}`));
  });

  test('[RE7] passes the excluded socket id on for every channel; null is none', async () => {
    const { trigger, deliveries, subscribe } = await startApi();
    await subscribe('a', 'b');
    const channels = ['a', 'b'];
    expect((await trigger({ ...event, channels, socket_id: '81243.9027731' })).status).toBe(200);
    expect((await trigger({ ...event, channels, socket_id: null })).status).toBe(200);
    const excluded = deliveries.map(({ message }) => message.except);
    expect(excluded).toEqual(['81243.9027731', '81243.9027731', undefined, undefined]);
  });

  test.each(['', '1', '1.', '1.2.3', 'a.b', ' 1.2', 1.2, {}])('[RE7] refuses the socket id %j', async (socketId) => {
    const { trigger } = await startApi();
    const answer = await trigger({ ...event, socket_id: socketId });
    expect(answer).toMatchObject({ status: 400, json: { code: 'request_malformed' } });
    expect(answer.text).toContain('socket_id');
  });

  test.each([
    ['no name', { name: undefined }, 400, 'event_name_invalid'],
    ['an empty name', { name: '' }, 400, 'event_name_invalid'],
    ['a name that is a number', { name: 7 }, 400, 'event_name_invalid'],
    ['a name of 201 characters', { name: 'n'.repeat(201) }, 400, 'event_name_invalid'],
    ['a reserved name', { name: 'pusher:error' }, 400, 'event_name_invalid'],
    ['an internal name', { name: 'pusher_internal:member_added' }, 400, 'event_name_invalid'],
    ['no channel', { channel: undefined }, 400, 'request_malformed'],
    ['a channel that is a number', { channel: 7 }, 400, 'channel_name_invalid'],
    ['a channel with a space', { channel: 'a b' }, 400, 'channel_name_invalid'],
    ['a channel with a colon', { channel: '4:room' }, 400, 'channel_name_invalid'],
    ['a channel of 201 characters', { channel: 'c'.repeat(201) }, 400, 'channel_name_invalid'],
    ['one bad channel among good ones', { channels: ['room-1', 'a/b'] }, 400, 'channel_name_invalid'],
    ['no data', { data: undefined }, 400, 'request_malformed'],
    ['data that is an object', { data: { id: 9 } }, 400, 'request_malformed'],
    ['data that is null', { data: null }, 400, 'request_malformed'],
    ['data of 10,241 bytes', { data: `${'é'.repeat(5_120)}x` }, 413, 'data_too_large'],
  ])('[RE8] refuses %s before anything is published', async (_what, change, status, code) => {
    const { trigger, deliveries, subscribe, traffic } = await startApi();
    await subscribe('room-1');
    expect(await trigger({ ...event, ...change })).toMatchObject({ status, json: { code } });
    expect(deliveries).toEqual([]);
    expect(traffic.of('3').refusals.get(code as 'data_too_large')).toBe(1);
    expect(traffic.of('3').published).toBe(0);
  });

  test('[RE8] takes empty data, data of exactly the limit in bytes, and names of 200 characters', async () => {
    const { trigger, deliveries, subscribe } = await startApi();
    const channel = 'c'.repeat(200);
    await subscribe(channel);
    const data = 'é'.repeat(5_120);
    expect((await trigger({ name: 'n'.repeat(200), channel, data: '' })).status).toBe(200);
    expect((await trigger({ name: 'client-x', channel, data })).status).toBe(200);
    expect(deliveries).toMatchObject([{ frame: { data: '' } }, { frame: { data } }]);
  });

  test("[RE8] the limit is the app's own", async () => {
    const limits = { ...app3.limits, eventDataBytes: 4 };
    const { trigger } = await startApi({ apps: [{ ...app3, limits }] });
    expect((await trigger({ ...event, data: '1234' })).status).toBe(200);
    const answer = await trigger({ ...event, data: '12345' });
    expect(answer.status).toBe(413);
    expect(answer.text).toContain('has 5 bytes: the limit is 4 bytes');
  });

  test('[RE9] tells the counts of each channel after the publish, leaving out what does not apply', async () => {
    const { trigger, join } = await startApi();
    await join('room-1', '1.1');
    await join('presence-room-2', '1.1', 'u1');
    await join('presence-room-2', '1.2', 'u1');
    await join('presence-room-2', '1.3', 'u2');
    const channels = ['room-1', 'presence-room-2', '__proto__'];
    const answer = await trigger({ ...event, channels, info: 'user_count, subscription_count' });
    expect(answer.status).toBe(200);
    expect(answer.text).toBe(
      '{"channels":{"room-1":{"subscription_count":1},"presence-room-2":{"user_count":2,"subscription_count":3},"__proto__":{"subscription_count":0}}}',
    );
  });

  test('[RE9] tells no subscription counts where the app has them off', async () => {
    const { trigger } = await startApi({ apps: [{ ...app3, hasSubscriptionCounts: false }] });
    const answer = await trigger({ ...event, channels: ['a', 'presence-b'], info: 'user_count,subscription_count' });
    expect(answer.json).toEqual({ channels: { a: {}, 'presence-b': { user_count: 0 } } });
  });

  test('[RE9] an unknown attribute gets 400 with the known ones, and nothing is published', async () => {
    const { trigger, deliveries, subscribe } = await startApi();
    await subscribe('room-1');
    const answer = await trigger({ ...event, info: 'user_count,cache' });
    expect(answer).toMatchObject({ status: 400, json: { code: 'request_malformed' } });
    expect(answer.text).toContain('user_count, subscription_count');
    expect((await trigger({ ...event, info: ['user_count'] })).status).toBe(400);
    expect(deliveries).toEqual([]);
  });

  test('[RE16] a broken body gets 400', async () => {
    const { call } = await startApi();
    // As Latin-1 the data is no UTF-8: repaired, it would not be delivered verbatim.
    const latin1 = Buffer.from(JSON.stringify({ ...event, data: 'é' }), 'latin1');
    for (const body of ['', '{', '[]', '"x"', 'null', '7', 'name=x', latin1]) {
      expect(await call('POST', events, { body })).toMatchObject({ status: 400, json: { code: 'request_malformed' } });
    }
    const { text } = await call('POST', events, { body: '{"name": <script>alert(1)</script>' });
    expect(text).toContain('not valid JSON');
    expect(text).not.toContain('script');
  });

  test('[FR8] a body nested deeper than 32 gets 400 before it is parsed, however long it is; 32 is taken', async () => {
    const { call, traffic, clock } = await startApi();
    let ms = clock.elapsed();
    clock.elapsed = () => {
      ms = later(ms, 1);
      return ms;
    };
    const nested = (depth: number) =>
      `{"name":"a","channel":"b","data":"c","x":${'['.repeat(depth)}${']'.repeat(depth)}}`;
    expect((await call('POST', events, { body: nested(31) })).status).toBe(200);
    for (const depth of [32, 1_000_000]) {
      expect(await call('POST', events, { body: nested(depth) })).toMatchObject({
        status: 400,
        json: { code: 'json_too_deep' },
      });
    }
    // Brackets inside a text are no nesting.
    expect((await call('POST', events, { body: JSON.stringify({ ...event, data: '['.repeat(500) }) })).status).toBe(
      200,
    );
    expect(traffic.of('3').spentMs).toBeGreaterThan(0);
  });

  test('[RE16] a body over 2 MiB gets 413, whether announced or found out', async () => {
    const { call, send, nowSeconds } = await startApi();
    const body = 'x'.repeat(2 * 1024 * 1024 + 1);
    expect(await call('POST', events, { body })).toMatchObject({ status: 413, json: { code: 'request_too_large' } });
    const chunked = { 'transfer-encoding': 'chunked' };
    const target = sign({ timestamp: nowSeconds(), method: 'POST', path: events, body });
    expect(await send('POST', target, body, chunked)).toMatchObject({
      status: 413,
      json: { code: 'request_too_large' },
    });
  });

  test('[RE16] a body of megabytes is read when each event is within its limit', async () => {
    const limits = { ...app3.limits, eventDataBytes: 2 * 1024 * 1024 };
    const { trigger } = await startApi({ apps: [{ ...app3, limits }] });
    expect((await trigger({ ...event, data: 'x'.repeat(2 * 1024 * 1024 - 200) })).status).toBe(200);
  });

  test('[CA1] keeps the last event of a cache channel for 30 minutes, subscribed or not', async () => {
    const { trigger, broker, clock } = await startApi();
    const topic = channelTopic('3', 'private-cache-x');
    await trigger({ ...event, channels: ['private-cache-x', 'private-x'] });
    await trigger({ ...event, channel: 'private-cache-x', data: 'second' });
    const retained = await broker.retained(topic);
    expect(retained?.ttlSeconds).toBe(1_800);
    expect(Buffer.from(retained!.message.payload).toString()).toContain('"second"');
    expect(await broker.retained(channelTopic('3', 'private-x'))).toBeUndefined();
    clock.advance(1_800_000);
    expect(await broker.retained(topic)).toBeUndefined();
  });

  test('[CA4] keeps an event that excludes a socket', async () => {
    const { trigger, broker } = await startApi();
    await trigger({ ...event, channel: 'cache-x', socket_id: '1.1' });
    expect(await broker.retained(channelTopic('3', 'cache-x'))).toBeDefined();
  });
});

describe('POST /batch_events', () => {
  const batchOf = (...batch: unknown[]) => ({ body: JSON.stringify({ batch }) });

  test('[RE10] publishes up to 10 events in their order and answers {}', async () => {
    const { call, deliveries, subscribe } = await startApi();
    await subscribe('a', 'b');
    const batch = Array.from({ length: 10 }, (_, index) => ({
      name: 'e',
      channel: index % 3 === 0 ? 'b' : 'a',
      data: String(index),
      ...(index === 4 ? { socket_id: '1.2' } : {}),
    }));
    expect(await call('POST', batchEvents, batchOf(...batch))).toMatchObject({ status: 200, text: '{}' });
    expect(deliveries.map(({ frame }) => (frame as { data: string }).data)).toEqual([...'0123456789']);
    expect(deliveries.map(({ message }) => message.except ?? '')).toEqual(
      batch.map((_, index) => (index === 4 ? '1.2' : '')),
    );
  });

  test('[RE10] takes an empty batch', async () => {
    const { call } = await startApi();
    expect(await call('POST', batchEvents, batchOf())).toMatchObject({ status: 200, text: '{}' });
  });

  test.each([
    ['eleven events', Array.from({ length: 11 }, () => event), 400],
    ['an event that is no object', [event, 7], 400],
    ['an event without channel', [event, { ...event, channel: undefined }], 400],
    ['an event with channels in place of channel', [event, { ...event, channel: undefined, channels: ['a'] }], 400],
    ['a bad name', [event, { ...event, name: '' }], 400],
    ['data that is no string', [event, { ...event, data: {} }], 400],
    ['an unknown attribute', [event, { ...event, info: 'colour' }], 400],
    ['an event that is too large', [event, { ...event, data: 'x'.repeat(10_241) }], 413],
  ])('[RE10] refuses %s before it publishes any', async (_what, batch, status) => {
    const { call, deliveries, subscribe } = await startApi();
    await subscribe('room-1');
    const answer = await call('POST', batchEvents, batchOf(...batch));
    expect(answer.status).toBe(status);
    if (batch.length === 2) expect(answer.text).toContain('batch[1]');
    expect(deliveries).toEqual([]);
  });

  test.each([{}, { batch: {} }, { batch: null }])('[RE10] refuses the body %j', async (body) => {
    const { call } = await startApi();
    expect((await call('POST', batchEvents, { body: JSON.stringify(body) })).status).toBe(400);
  });

  test("[RE10] [RE9] answers an array of the request's length when any event asks info", async () => {
    const { call, join } = await startApi();
    await join('presence-x', '1.1', 'u1');
    const answer = await call(
      'POST',
      batchEvents,
      batchOf(
        { ...event, info: 'subscription_count' },
        event,
        { ...event, channel: 'presence-x', info: 'user_count,subscription_count' },
        { ...event, info: 'user_count' },
      ),
    );
    expect(answer.status).toBe(200);
    expect(answer.json).toEqual({
      batch: [{ subscription_count: 0 }, {}, { user_count: 1, subscription_count: 1 }, {}],
    });
  });
});

describe('POST /channels/CHANNEL/events', () => {
  const path = '/apps/3/channels/room-1/events';

  test('[RE15] publishes its body, whatever it is, and answers 202', async () => {
    const { call, deliveries, subscribe } = await startApi();
    await subscribe('room-1');
    const query = [
      ['name', 'e'],
      ['socket_id', '1.2'],
    ] as const;
    const body = 'not {JSON';
    expect(await call('POST', path, { query, body })).toMatchObject({ status: 202, json: {} });
    expect(await call('POST', path, { query: [['name', 'e']] })).toMatchObject({ status: 202 });
    expect(deliveries).toMatchObject([
      { message: { except: '1.2' }, frame: { event: 'e', channel: 'room-1', data: body } },
      { frame: { event: 'e', channel: 'room-1', data: '' } },
    ]);
  });

  test('[RE15] is checked like any trigger', async () => {
    const { call, deliveries, subscribe } = await startApi();
    await subscribe('room-1');
    const query = [['name', 'e']] as const;
    expect((await call('POST', path, { body: 'x' })).status).toBe(400);
    expect((await call('POST', '/apps/3/channels/a%20b/events', { query, body: 'x' })).status).toBe(400);
    expect((await call('POST', path, { query, body: 'x'.repeat(10_241) })).status).toBe(413);
    expect((await call('POST', path, { query, body: Buffer.from([0xff]) })).status).toBe(400);
    expect((await call('POST', path, { query, body: 'x', secret: 'wrong' })).status).toBe(401);
    expect((await call('POST', '/apps/9/channels/a/events', { query, body: 'x' })).status).toBe(404);
    expect(deliveries).toEqual([]);
  });
});

test.each([events, batchEvents])(
  '[RE4] %s publishes nothing for the unauthenticated or for another app',
  async (path) => {
    const other = { ...app3, id: '4', keys: [{ key: 'k4', secret: 's4', isEnabled: true }] };
    const { call, send, deliveries, subscribe, nowSeconds } = await startApi({ apps: [app3, other] });
    await subscribe('room-1');
    const body = JSON.stringify({ ...event, batch: [event] });
    expect((await send('POST', path, body)).status).toBe(401);
    expect((await call('POST', path, { body, secret: 'wrong' })).status).toBe(401);
    expect((await call('POST', path, { body, key: 'k4', secret: 's4' })).status).toBe(401);
    expect((await call('POST', path.replace('/3/', '/9/'), { body })).status).toBe(404);
    const unsigned = [
      ['auth_key', app3.keys[0]!.key],
      ['auth_version', '1.0'],
      ['auth_timestamp', String(nowSeconds())],
    ] as const;
    expect(
      (await send('POST', `${signQuery({ method: 'POST', path }, unsigned)}&body_md5=${md5(body)}`, body)).status,
    ).toBe(401);
    expect(deliveries).toEqual([]);
  },
);

test("[RE18] more messages per second than the app's limit get 429, and publish nothing", async () => {
  const limits = { ...app3.limits, publishesPerSecond: 4 };
  const { trigger, call, deliveries, subscribe, clock } = await startApi({ apps: [{ ...app3, limits }] });
  await subscribe('a', 'b', 'c', 'd', 'e');
  const limited = { status: 429, json: { code: 'rate_limited' }, headers: { 'retry-after': '1' } };
  const never = await trigger({ ...event, channels: ['a', 'b', 'c', 'd', 'e'] });
  expect(never).toMatchObject({ status: 429, json: { code: 'rate_limited' } });
  expect(never.headers['retry-after']).toBeUndefined();
  expect((await trigger({ ...event, channels: ['a', 'b', 'c'] })).status).toBe(200);
  const two = JSON.stringify({ batch: [event, event] });
  expect(await call('POST', batchEvents, { body: two })).toMatchObject(limited);
  expect((await trigger({ ...event, channel: 'd' })).status).toBe(200);
  expect(await trigger({ ...event, channel: 'e' })).toMatchObject(limited);
  clock.advance(1_000);
  expect((await trigger({ ...event, channel: 'e' })).status).toBe(200);
  expect(deliveries.map(({ topic }) => topic)).toEqual(['3:a', '3:b', '3:c', '3:d', '3:e']);
});

test('[LI2] [LI3] an answer of HTTP tells the limit, what is left and when to come back', async () => {
  const limits = { ...app3.limits, publishesPerSecond: 4, eventDataBytes: 4 };
  const { trigger, call } = await startApi({ apps: [{ ...app3, limits }] });
  const small = { ...event, data: '1' };
  const over = await trigger({ ...small, channels: ['a', 'b', 'c', 'd', 'e'] });
  expect(over.json).toEqual({
    error: 'The request makes 5 messages: the limit is 4 messages per second for the app, waiting does not help',
    code: 'rate_limited',
    limit: { limit: 4, remaining: 4, reset: null },
  });
  expect(over.headers).toMatchObject({ 'ratelimit-limit': '4', 'ratelimit-remaining': '4' });
  expect(Object.keys(over.headers)).not.toEqual(expect.arrayContaining(['ratelimit-reset']));
  expect(over.headers['retry-after']).toBeUndefined();

  expect((await trigger({ ...small, channels: ['a', 'b', 'c'] })).status).toBe(200);
  const later = await trigger({ ...small, channels: ['a', 'b'] });
  expect(later.json).toEqual({
    error: 'The request makes 2 messages: the limit is 4 messages per second for the app, 1 left, try again in 1 s',
    code: 'rate_limited',
    limit: { limit: 4, remaining: 1, reset: 1 },
  });
  const told = { 'ratelimit-limit': '4', 'ratelimit-remaining': '1', 'ratelimit-reset': '1', 'retry-after': '1' };
  expect(later.headers).toMatchObject(told);

  const size = { code: 'data_too_large', limit: { limit: 4, remaining: 4, reset: null } };
  expect(await trigger({ ...event, data: '12345' })).toMatchObject({
    status: 413,
    json: size,
    headers: { 'ratelimit-limit': '4' },
  });
  const batch = JSON.stringify({ batch: [small, { ...event, data: '12345' }] });
  const inBatch = await call('POST', batchEvents, { body: batch });
  expect(inBatch).toMatchObject({ status: 413, json: size });
  expect(inBatch.text).toContain('batch[1]: The data of this event has 5 bytes');
  expect((await trigger({ ...event, name: '' })).json).not.toHaveProperty('limit');
});

describe('message_id', () => {
  const trigger = (fields: object) => ({ body: JSON.stringify({ ...event, channel: undefined, ...fields }) });
  const channels = ['a', 'b'];

  test('[RE20] an event with a message_id reaches a channel once, and a repeat is answered like the first', async () => {
    const { call, deliveries, subscribe } = await startApi();
    await subscribe('a', 'b', 'c');
    const first = await call('POST', events, trigger({ channels, message_id: 'm1', info: 'subscription_count' }));
    const again = await call('POST', events, trigger({ channels, message_id: 'm1', info: 'subscription_count' }));
    expect(again).toMatchObject({ status: 200, text: first.text });
    expect(deliveries).toHaveLength(2);
    await call('POST', events, trigger({ channels: ['b', 'c'], message_id: 'm1' }));
    expect(deliveries.map(({ frame }) => (frame as { channel: string }).channel)).toEqual(['a', 'b', 'c']);
    await call('POST', events, trigger({ channels, message_id: 'm2' }));
    await call('POST', events, trigger({ channels }));
    await call('POST', events, trigger({ channels }));
    expect(deliveries).toHaveLength(9);
  });

  test('[RE20] each event of a batch has its own', async () => {
    const { call, deliveries, subscribe } = await startApi();
    await subscribe('room-1');
    const batch = ['m1', 'm2', 'm1', undefined].map((message_id) => ({ ...event, message_id }));
    await call('POST', batchEvents, { body: JSON.stringify({ batch }) });
    expect(deliveries).toHaveLength(3);
  });

  test('[RE20] an id may be used again after 5 minutes', async () => {
    const { call, deliveries, subscribe, clock } = await startApi();
    await subscribe('a', 'b');
    await call('POST', events, trigger({ channels, message_id: 'm1' }));
    clock.advance(299_999);
    await call('POST', events, trigger({ channels, message_id: 'm1' }));
    expect(deliveries).toHaveLength(2);
    clock.advance(1);
    await call('POST', events, trigger({ channels, message_id: 'm1' }));
    expect(deliveries).toHaveLength(4);
  });

  test.each([7, '', 'x'.repeat(65), {}, true])('[RE20] refuses %j', async (message_id) => {
    const { call, deliveries, subscribe } = await startApi();
    await subscribe('a');
    const answer = await call('POST', events, trigger({ channels, message_id }));
    expect(answer).toMatchObject({ status: 400 });
    expect(answer.text).toContain('message_id');
    expect(deliveries).toEqual([]);
  });
});

test('[RE19] successive requests reach a subscriber in their order', async () => {
  const { trigger, deliveries, subscribe } = await startApi();
  await subscribe('a', 'b');
  for (let index = 0; index < 20; index++) {
    expect((await trigger({ ...event, channels: ['a', 'b'], data: String(index) })).status).toBe(200);
  }
  const seen = deliveries.map(({ topic, frame }) => `${topic} ${(frame as { data: string }).data}`);
  expect(seen).toEqual(Array.from({ length: 20 }, (_, index) => [`3:a ${index}`, `3:b ${index}`]).flat());
});

test('[RE19] a message that is kept is not handed over before the one ahead of it was taken', async () => {
  class SlowBroker extends MemoryBroker {
    readonly waiting: Array<() => void> = [];
    readonly asked: string[] = [];
    onAsked: (() => void) | null = null;
    override async publish(topic: Topic, message: BrokerMessage): Promise<undefined> {
      this.asked.push(`${topic} ${(JSON.parse(Buffer.from(message.payload).toString()) as { data: string }).data}`);
      this.onAsked?.();
      await new Promise<void>((taken) => this.waiting.push(taken));
    }
  }
  const brokers: SlowBroker[] = [];
  const { call } = await startApi({
    broker: (clock) => {
      const broker = new SlowBroker(clock);
      brokers.push(broker);
      return broker;
    },
  });
  const broker = brokers[0]!;
  const askedFor = (count: number) =>
    new Promise<void>((resolve) => {
      broker.onAsked = () => {
        if (broker.asked.length === count) resolve();
      };
    });
  const batch = ['cache-a', 'b', 'cache-a', 'c'].map((channel, index) => ({ name: 'e', channel, data: String(index) }));
  const two = askedFor(2);
  const answer = call('POST', batchEvents, { body: JSON.stringify({ batch }) });
  await two;
  expect(broker.asked).toEqual(['3:cache-a 0', '3:b 1']);
  const four = askedFor(4);
  for (const taken of broker.waiting.splice(0)) taken();
  await four;
  expect(broker.asked).toEqual(['3:cache-a 0', '3:b 1', '3:cache-a 2', '3:c 3']);
  for (const taken of broker.waiting.splice(0)) taken();
  expect((await answer).status).toBe(200);
});

describe('when the broker fails', () => {
  class FailingBroker extends MemoryBroker {
    failure: unknown = null;
    override async publish(...given: Parameters<MemoryBroker['publish']>): Promise<number | undefined> {
      if (this.failure !== null) throw this.failure;
      return super.publish(...given);
    }
  }

  test('[RE6] a broker out of reach gets 503 with Retry-After and no inner text, and the next request may succeed', async () => {
    const { trigger, broker, problems } = await startApi({ broker: (clock) => new FailingBroker(clock) });
    const failing = broker as FailingBroker;
    failing.failure = new StarlingError('unavailable', 'redis://user:pass@host is down', { retryAfterSeconds: 3 });
    const answer = await trigger({ ...event, channels: ['a', 'b'] });
    expect(answer).toMatchObject({ status: 503, headers: { 'retry-after': '3' }, json: { code: 'unavailable' } });
    expect(answer.text).not.toContain('redis');
    failing.failure = null;
    expect((await trigger(event)).status).toBe(200);
    expect(problems).toEqual([]);
  });

  test('[RE6] a defect gets 500 without its text, and the operator sees it without the signature', async () => {
    const { trigger, broker, problems } = await startApi({ broker: (clock) => new FailingBroker(clock) });
    const err = new TypeError('x is not a function');
    (broker as FailingBroker).failure = err;
    const answer = await trigger(event);
    expect(answer).toMatchObject({ status: 500, json: { error: 'Internal error', code: 'internal' } });
    expect(problems).toEqual([{ what: 'defect: request', err, method: 'POST', route: '/apps/:appId/events' }]);
  });
});
