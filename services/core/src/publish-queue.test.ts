/** `starling:publish`: the same as over HTTP, in the order sent, answered. */
import { channelTopic } from '@starling/ports';
import { limits, StarlingError } from '@starling/protocol';
import { describe, expect, it } from 'vitest';
import { gatedWorld } from './gate.test-kit.ts';
import { createWorld, type Received, type TestPeer, type World } from './world.test-kit.ts';

const cap = { '*': ['subscribe', 'publish'] };
const frame = (id: string, changes: Record<string, unknown> = {}) => ({
  event: 'starling:publish',
  data: { id, channels: ['room'], name: 'news', data: id, ...changes },
});
const answers = (frames: readonly Received[]) =>
  frames
    .filter(({ event }) => event.startsWith('starling:publish_'))
    .map(({ data }) => data as { id: string; code?: string });
const numbers = (count: number) => Array.from({ length: count }, (_, index) => String(index));

async function joined(world: World, ...channels: string[]): Promise<TestPeer> {
  const peer = await world.connect();
  for (const channel of channels) await world.subscribe(peer, channel);
  peer.take();
  return peer;
}

describe('publishing over the socket', () => {
  it('[SP2] [SP3] delivers once to each distinct channel, not to the socket named, and answers', async () => {
    const world = createWorld();
    const [publisher, other] = [await world.connectWith({ cap }), await joined(world, 'room', 'private-room')];
    await world.subscribe(publisher, 'room');
    const channels = ['room', 'private-room', 'room'];
    publisher.say(frame('1', { channels, socket_id: publisher.session.socketId }));
    await world.settle();
    expect(other.take()).toEqual([
      { event: 'news', channel: 'room', data: 1 },
      { event: 'news', channel: 'private-room', data: 1 },
    ]);
    expect(publisher.take()).toEqual([{ event: 'starling:publish_ack', data: { id: '1' } }]);
    expect(world.traffic.of('1001').published).toBe(2);
  });

  it('[SP2] keeps the last event of a cache channel', async () => {
    const world = createWorld();
    const publisher = await world.connectWith({ cap });
    for (const id of ['1', '2']) publisher.say(frame(id, { channels: ['cache-room'] }));
    await world.settle();
    const peer = await world.connect();
    expect((await world.subscribe(peer, 'cache-room')).map(({ data }) => data)).toEqual([{}, 2]);
  });

  it.each([
    [{ channels: [] }, 'request_malformed', /1 to 100/],
    [{ channels: Array(101).fill('a') }, 'request_malformed', /1 to 100/],
    [{ channels: 'room' }, 'request_malformed', /got a string/],
    [{ channels: ['no/name'] }, 'channel_name_invalid', /no\/name/],
    [{ name: 'pusher:x' }, 'event_name_invalid', /reserved/],
    [{ name: 'starling:auth_success' }, 'event_name_invalid', /reserved/],
    [{ name: undefined }, 'event_name_invalid', /name/],
    [{ data: { a: 1 } }, 'request_malformed', /got an object/],
    [{ socket_id: 'mine' }, 'request_malformed', /socket_id/],
  ])('[SP2] refuses %o as HTTP does', async (changes, code, text) => {
    const world = createWorld();
    const publisher = await world.connectWith({ cap });
    publisher.say(frame('1', changes));
    await world.settle();
    expect(answers(publisher.take())).toEqual([{ id: '1', code, message: expect.stringMatching(text) }]);
    expect(publisher.closedWith).toBeNull();
  });

  it('[SP2] [LI4] tells the limit of what is too large', async () => {
    const world = createWorld();
    const publisher = await world.connectWith({ cap });
    publisher.say(frame('1', { data: 'x'.repeat(10_241) }));
    await world.settle();
    const message = 'The data of this event has 10241 bytes: the limit is 10240 bytes, waiting does not help';
    const limit = { limit: 10_240, remaining: 10_240, reset: null };
    expect(answers(publisher.take())).toEqual([{ id: '1', code: 'data_too_large', message, limit }]);
  });

  it('[LI4] tells the budget that refused, and no time to come back to what never fits', async () => {
    const world = createWorld({ app: { limits: { ...createWorld().app.limits, publishesPerSecond: 5 } } });
    const publisher = await world.connectWith({ cap });
    publisher.say(frame('1', { channels: numbers(6).map((number) => `room-${number}`) }));
    await world.settle();
    const never = { limit: { limit: 5, remaining: 5, reset: null } };
    const [first] = answers(publisher.take());
    expect(first).toMatchObject({ id: '1', code: 'rate_limited', ...never });
    expect(first).not.toHaveProperty('retry_after');
    for (const id of numbers(4)) publisher.say(frame(id, { channels: ['a', 'b'] }));
    await world.settle();
    expect(answers(publisher.take()).slice(2)).toMatchObject([
      { id: '2', code: 'rate_limited', retry_after: 1, limit: { limit: 5, remaining: 1, reset: 1 } },
      { id: '3', code: 'rate_limited', retry_after: 1, limit: { limit: 5, remaining: 1, reset: 1 } },
    ]);
  });

  it('[SP1] needs the capability on every channel', async () => {
    const world = createWorld();
    const some = await world.connectWith({ cap: { 'private-*': ['subscribe'], 'room*': ['publish'] } });
    const none = await world.connect();
    const user = await world.connectWith({ cap });
    const listener = await joined(world, 'room', 'room-2', 'private-room');
    some.say(frame('1', { channels: ['room', 'room-2'] }));
    some.say(frame('2', { channels: ['room', 'private-room'] }));
    none.say(frame('3'));
    user.say(frame('4', { channels: ['#server-to-user-u'] }));
    await world.settle();
    expect(answers([...some.take(), ...none.take(), ...user.take()])).toMatchObject([
      { id: '2', code: 'capability_missing', message: expect.stringContaining('"publish" for "private-room"') },
      { id: '1' },
      { id: '3', code: 'capability_missing' },
      { id: '4', code: 'capability_missing' },
    ]);
    expect(listener.take().map(({ channel }) => channel)).toEqual(['room', 'room-2']);
  });

  it('[SP3] [FR1] tells who gives no id that the frame is malformed', async () => {
    const world = createWorld();
    const publisher = await world.connectWith({ cap });
    publisher.say({ event: 'starling:publish', data: { channels: ['room'], name: 'e', data: '' } });
    await world.settle();
    expect(publisher.take()).toMatchObject([{ event: 'pusher:error', data: { code: null } }]);
  });

  it.each(['change first', 'change last'] as const)('[SP4] keeps the order, whatever waits (%s)', async (order) => {
    const world = gatedWorld(order);
    const [publisher, listener] = [await world.connectWith({ cap }), await joined(world, 'room', 'cache-room')];
    world.gate.isOpen = false;
    const ids = numbers(60);
    for (const id of ids) {
      publisher.say(frame(id, { channels: Number(id) % 3 === 0 ? ['cache-room', 'room'] : ['room'] }));
      if (Number(id) % 7 === 0) {
        await world.settle();
        world.gate.pass();
      }
    }
    for (let step = 0; step < 500; step++) {
      await world.settle();
      world.gate.pass();
    }
    const received = listener.take();
    expect(received.filter(({ channel }) => channel === 'room').map(({ data }) => String(data))).toEqual(ids);
    const kept = ids.filter((id) => Number(id) % 3 === 0);
    expect(received.filter(({ channel }) => channel === 'cache-room').map(({ data }) => String(data))).toEqual(kept);
    expect(answers(publisher.take()).map(({ id }) => id)).toEqual(ids);
  });

  it('[SP4] asks the limiter once for all that waited for it', async () => {
    let asked = 0;
    const world = createWorld({
      wrapRateLimiter: (limiter) => ({
        take: (...given) => {
          asked++;
          return limiter.take(...given);
        },
      }),
    });
    const publisher = await world.connectWith({ cap });
    for (const id of numbers(100)) publisher.say(frame(id));
    await world.settle();
    expect(answers(publisher.take())).toHaveLength(100);
    expect(asked).toBe(2);
  });

  it('[SP2] publishes what the budget holds, in order, and says when to come back with the rest', async () => {
    const world = createWorld({ app: { limits: { ...createWorld().app.limits, publishesPerSecond: 5 } } });
    const [publisher, listener] = [await world.connectWith({ cap }), await joined(world, 'room')];
    for (const id of numbers(8)) publisher.say(frame(id));
    await world.settle();
    expect(listener.take().map(({ data }) => data)).toEqual([0, 1, 2, 3, 4]);
    expect(answers(publisher.take())).toMatchObject([
      ...numbers(5).map((id) => ({ id })),
      ...['5', '6', '7'].map((id) => ({ id, code: 'rate_limited', retry_after: 1 })),
    ]);
    world.clock.advance(1_000);
    publisher.say(frame('9'));
    await world.settle();
    expect(answers(publisher.take())).toEqual([{ id: '9' }]);
  });

  it('[SP5] takes no more than so much without an answer, and goes on when there is room', async () => {
    const world = gatedWorld('change first');
    const publisher = await world.connectWith({ cap });
    world.gate.isOpen = false;
    const channels = numbers(64).map((number) => `room-${number}`);
    const fits = limits.publishesUnderWay / channels.length;
    for (const id of numbers(fits + 2)) publisher.say(frame(id, { channels }));
    await world.settle();
    expect(answers(publisher.take())).toMatchObject([
      { id: String(fits), code: 'publish_backlog', retry_after: 1, limit: { limit: 4_096, remaining: 0, reset: 1 } },
      { id: String(fits + 1), code: 'publish_backlog' },
    ]);
    world.gate.open();
    await world.settle();
    expect(answers(publisher.take())).toEqual(numbers(fits).map((id) => ({ id })));
    publisher.say(frame('again', { channels }));
    await world.settle();
    expect(answers(publisher.take())).toEqual([{ id: 'again' }]);
  });

  it('[SP5] counts the data, too', async () => {
    const world = gatedWorld('change first', { limits: { ...createWorld().app.limits, eventDataBytes: 2 ** 21 } });
    const publisher = await world.connectWith({ cap });
    world.gate.isOpen = false;
    for (const id of numbers(3)) publisher.say(frame(id, { data: 'x'.repeat(2 ** 21) }));
    await world.settle();
    expect(answers(publisher.take())).toMatchObject([
      { id: '2', code: 'publish_backlog', limit: { limit: 2 ** 22, remaining: 0, reset: 1 } },
    ]);
  });

  it('[SP3] answers what fails, and what is behind it', async () => {
    const world = gatedWorld('change first');
    const publisher = await world.connectWith({ cap });
    world.gate.refusals = 1;
    publisher.say(frame('limiter'));
    await world.settle();
    world.gate.isOpen = false;
    publisher.say(frame('broker'));
    await world.settle();
    world.gate.refusals = 1;
    world.gate.open();
    publisher.say(frame('behind'));
    await world.settle();
    expect(answers(publisher.take())).toMatchObject([
      { id: 'limiter', code: 'unavailable', retry_after: 1 },
      { id: 'broker', code: 'unavailable', retry_after: 1 },
      { id: 'behind' },
    ]);
    expect(world.problems.every(({ err }) => err instanceof StarlingError)).toBe(true);
    expect(publisher.closedWith).toBeNull();
  });

  it('[SP6] publishes what a connection sent before it left, and not what waits when it is closed', async () => {
    for (const isClosedByUs of [false, true]) {
      const world = gatedWorld('change first');
      const [publisher, listener] = [await world.connectWith({ sub: 'u', cap }), await joined(world, 'room')];
      world.gate.isOpen = false;
      publisher.say(frame('1'));
      publisher.say(frame('2'));
      if (isClosedByUs) await world.appStore.revoke('1001', { by: 'user', id: 'u', at: world.clock.now() });
      else publisher.session.ended();
      world.gate.open();
      await world.settle();
      expect(listener.take().map(({ data }) => data)).toEqual(isClosedByUs ? [1] : [1, 2]);
      expect(answers(publisher.take())).toEqual([]);
    }
  });

  it('[CL8] lets a token to publish send as much more as its app may publish', async () => {
    const app = { limits: { ...createWorld().app.limits, publishesPerSecond: 5_000, channelsPerConnection: 1 } };
    const send = async (token: Record<string, unknown>): Promise<number> => {
      const world = createWorld({ app });
      const peer = await world.connectWith(token);
      let sent = 0;
      while (peer.closedWith === null && sent < 20_000) {
        peer.say({ event: 'pusher:ping' });
        sent++;
      }
      expect(peer.closedWith?.code).toBe(4_100);
      return sent;
    };
    const more = (await send({ cap })) - (await send({ cap: { '*': ['subscribe'] } }));
    // The rate is kept in fractions of milliseconds.
    expect(Math.abs(more - 5_000)).toBeLessThan(5);
  });

  it('[SP4] reaches a node as it reaches the broker: nothing of a channel overtakes', async () => {
    const world = createWorld();
    const publisher = await world.connectWith({ cap });
    const texts: string[] = [];
    const topic = channelTopic('1001', 'room');
    const publish = world.broker.publish.bind(world.broker);
    world.broker.publish = (to, message, options) => {
      if (to === topic) texts.push(JSON.parse(Buffer.from(message.payload).toString()).data);
      return publish(to, message, options);
    };
    for (const id of numbers(500)) {
      publisher.say(frame(id));
      if (Number(id) % 9 === 0) await Promise.resolve();
    }
    await world.settle();
    expect(texts).toEqual(numbers(500));
  });
});
