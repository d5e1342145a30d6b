import { channelTopic, defaultAppLimits, type Topic, userTopic } from '@starling/ports';
import { describe, expect, it } from 'vitest';
import { createWorld, type TestPeer, type World } from './world.test-kit.ts';

const succeeded = (channel: string, data: unknown = {}) => ({
  event: 'pusher_internal:subscription_succeeded',
  channel,
  data,
});
const refused = (channel: string, status: number, type: string, error: unknown = expect.any(String), more = {}) => [
  { event: 'pusher:subscription_error', channel, data: { type, error, status, ...more } },
  { event: 'pusher_internal:subscription_error', channel, data: { type, error, status, ...more } },
];
const full = (limit: number) => ({ limit: { limit, remaining: 0, reset: null } });
const publish = (world: World, channel: string, data: string, options?: { retainSeconds: number }) =>
  world.broker.publish(
    channelTopic('1001', channel),
    { kind: 'event', payload: Buffer.from(JSON.stringify({ event: 'e', channel, data })) },
    options,
  );

describe('joining a channel', () => {
  it.each(['', 'anything', null, 5, undefined])('[SU2] ignores auth %j on a public channel', async (auth) => {
    const { connect, settle } = createWorld();
    const peer = await connect();
    peer.say({ event: 'pusher:subscribe', data: { channel: 'room', auth, channel_data: '{"user_id":1}' } });
    await settle();
    expect(peer.take()).toEqual([succeeded('room')]);
    expect(peer.closedWith).toBeNull();
  });

  it('[FR2] takes the data of a subscribe as a string of JSON too', async () => {
    const { connect, settle } = createWorld();
    const peer = await connect();
    peer.say({ event: 'pusher:subscribe', data: '{"channel":"room"}', extra: 1 });
    await settle();
    expect(peer.take()).toEqual([succeeded('room')]);
  });

  it.each(['private-a', 'private-encrypted-a', 'private-cache-a', 'private-encrypted-cache-a', 'presence-a'])(
    '[SU3] demands a good signature on %s, and says which part is not',
    async (channel) => {
      const world = createWorld();
      const { connect, settle, subscribeFrame } = world;
      const peer = await connect();
      const good = subscribeFrame(peer, channel, { user_id: 'u1' });
      const withAuth = async (auth: unknown) => {
        peer.say({ ...good, data: { ...good.data, auth } });
        await settle();
        return peer.take();
      };
      const signature = good.data.auth.slice('app-key:'.length);
      expect(await withAuth(undefined)).toEqual(refused(channel, 401, 'AuthError', expect.stringMatching(/required/)));
      expect(await withAuth('')).toEqual(refused(channel, 401, 'AuthError', expect.stringMatching(/required/)));
      for (const auth of ['x', 'app-key', ':abc', 'app-key:', signature]) {
        expect(await withAuth(auth)).toEqual(
          refused(channel, 401, 'AuthError', expect.stringMatching(/key:signature/)),
        );
      }
      for (const key of ['nobody', 'old-key']) {
        expect(await withAuth(`${key}:${signature}`)).toEqual(
          refused(channel, 401, 'AuthError', expect.stringMatching(/Invalid key/)),
        );
      }
      for (const bad of [
        signature.toUpperCase(),
        signature.slice(1),
        `${signature}0`,
        `0${signature.slice(1)}x`,
        'é',
      ]) {
        const answer = await withAuth(`app-key:${bad}`);
        expect(answer).toEqual(refused(channel, 401, 'AuthError', expect.stringMatching(/Invalid signature/)));
        expect(JSON.stringify(answer)).not.toContain(signature);
      }
      expect(await world.presenceStore.channels('1001', '')).toEqual(new Map());
      expect(peer.closedWith).toBeNull();
      expect((await withAuth(good.data.auth))[0]?.event).toBe('pusher_internal:subscription_succeeded');
    },
  );

  it('[SU3] takes any enabled key of the app, not only the one that connected', async () => {
    const { connect, settle, subscribeFrame } = createWorld();
    const peer = await connect();
    peer.say(subscribeFrame(peer, 'private-a', undefined, 'next-secret', 'next-key'));
    await settle();
    expect(peer.take()).toEqual([succeeded('private-a')]);
    peer.say(subscribeFrame(peer, 'private-b', undefined, 'next-secret', 'app-key'));
    await settle();
    expect(peer.take()).toEqual(refused('private-b', 401, 'AuthError'));
  });

  it('[SU4] signs channel_data wherever it is given, and refuses it where it was not signed', async () => {
    const { connect, settle, subscribe, subscribeFrame } = createWorld();
    const peer = await connect();
    expect(await subscribe(peer, 'private-a', { any: 'thing' })).toEqual([succeeded('private-a')]);
    const frame = subscribeFrame(peer, 'private-b');
    peer.say({ ...frame, data: { ...frame.data, channel_data: '{"any":"thing"}' } });
    await settle();
    expect(peer.take()).toEqual(refused('private-b', 401, 'AuthError'));
  });

  it('[SU5] answers a channel_data that is no string on the channel it came for', async () => {
    const { connect, settle } = createWorld();
    const peer = await connect();
    peer.say({
      event: 'pusher:subscribe',
      data: { channel: 'presence-a', auth: 'app-key:x', channel_data: { user_id: 1 } },
    });
    await settle();
    expect(peer.take()).toEqual(
      refused('presence-a', 400, 'ValidationError', expect.stringMatching(/must be a string/)),
    );
  });

  it('[SU5] [CH4] refuses a bad name on that name, and stays open', async () => {
    const { connect, settle } = createWorld();
    const peer = await connect();
    for (const channel of ['', 'a b', 'a/b', '#room', '#server-to-user-', 'x'.repeat(201), 'ü']) {
      peer.say({ event: 'pusher:subscribe', data: { channel } });
      await settle();
      expect(peer.take()).toEqual(refused(channel.slice(0, 200), 400, 'ValidationError'));
    }
    expect(peer.closedWith).toBeNull();
    expect(peer.session.channelSubscriptions.size).toBe(0);
  });

  it('[SU6] answers a repeated subscribe again, and changes nothing by it', async () => {
    const world = createWorld({ app: { hasSubscriptionCounts: true } });
    const { connect, subscribe, presenceStore, settle } = world;
    const [peer, other] = [await connect(), await connect()];
    await subscribe(other, 'presence-room', { user_id: 'other' });
    await subscribe(peer, 'room');
    expect(await subscribe(peer, 'room')).toEqual([succeeded('room')]);
    await subscribe(peer, 'presence-room', { user_id: 'me', user_info: { n: 1 } });
    other.take();
    const again = await subscribe(peer, 'presence-room', { user_id: 'someone else', user_info: { n: 2 } });
    expect(again).toEqual([
      succeeded('presence-room', {
        presence: { ids: ['other', 'me'], hash: { other: null, me: { n: 1 } }, count: 2 },
      }),
    ]);
    expect(other.take()).toEqual([]);
    await publish(world, 'room', '1');
    await settle();
    expect(peer.take()).toEqual([{ event: 'e', channel: 'room', data: 1 }]);
    expect((await presenceStore.channels('1001', '')).get('room')).toMatchObject({ connectionCount: 1 });
  });

  it('[SU7] stops delivery at once on unsubscribe, silently, and ignores one for a channel not joined', async () => {
    const world = createWorld();
    const { connect, subscribe, settle, clock, presenceStore } = world;
    const peer = await connect();
    await subscribe(peer, 'room');
    peer.say({ event: 'pusher:unsubscribe', data: { channel: 'room' } });
    await publish(world, 'room', '1');
    peer.say({ event: 'pusher:unsubscribe', data: { channel: 'room' } });
    peer.say({ event: 'pusher:unsubscribe', data: { channel: 'never joined' } });
    await settle();
    clock.advance(5_000);
    await settle();
    expect(peer.take()).toEqual([]);
    expect(await presenceStore.channels('1001', '')).toEqual(new Map());
    expect(peer.session.channelSubscriptions.size).toBe(0);
  });

  it('[SU10] [LI4] refuses one channel too many, and takes another after one was left', async () => {
    const { connect, subscribe, settle } = createWorld({
      app: { limits: { ...defaultAppLimits, channelsPerConnection: 2 } },
    });
    const peer = await connect();
    await subscribe(peer, 'a');
    await subscribe(peer, 'b');
    expect(await subscribe(peer, 'c')).toEqual(
      refused('c', 429, 'LimitReached', expect.stringMatching(/2 channels, 0 left, waiting/), full(2)),
    );
    peer.say({ event: 'pusher:unsubscribe', data: { channel: 'a' } });
    await settle();
    expect(await subscribe(peer, 'c')).toEqual([succeeded('c')]);
  });

  it('[CL7] gives everything back when the conversation ends', async () => {
    const world = createWorld();
    const { connect, subscribe, signin, settle, presenceStore, clock } = world;
    const [peer, other] = [await connect(), await connect()];
    await subscribe(other, 'presence-room', { user_id: 'other' });
    await subscribe(peer, 'presence-room', { user_id: 'me' });
    await subscribe(peer, 'room');
    await signin(peer, { id: 'me', watchlist: ['other'] });
    other.take();
    peer.session.ended();
    peer.session.ended();
    await settle();
    expect(other.take()).toEqual([
      { event: 'pusher_internal:member_removed', channel: 'presence-room', data: { user_id: 'me' } },
    ]);
    expect([...(await presenceStore.channels('1001', '')).keys()]).toEqual(['presence-room']);
    expect(world.traffic.of('1001')).toMatchObject({ connections: 1, subscriptions: 1 });
    other.session.ended();
    await settle();
    clock.advance(5_000);
    await settle();
    expect(await presenceStore.channels('1001', '')).toEqual(new Map());
    expect(clock.timerCount).toBe(0);
  });
});

describe('cache channels', () => {
  it('[CA2] replays the last event to the newcomer only, or says there is none', async () => {
    const world = createWorld();
    const { connect, subscribe } = world;
    const [early, late] = [await connect(), await connect()];
    const miss = { event: 'pusher:cache_miss', channel: 'cache-a', data: {} };
    expect(await subscribe(early, 'cache-a')).toEqual([succeeded('cache-a'), miss]);
    await publish(world, 'cache-a', '1', { retainSeconds: 1_800 });
    await publish(world, 'cache-a', '2', { retainSeconds: 1_800 });
    await world.settle();
    early.take();
    expect(await subscribe(late, 'cache-a')).toEqual([
      succeeded('cache-a'),
      { event: 'e', channel: 'cache-a', data: 2 },
    ]);
    expect(early.take()).toEqual([]);
    world.clock.advance(1_801_000);
    expect(await subscribe(await connect(), 'cache-a')).toEqual([succeeded('cache-a'), miss]);
  });

  it.each(['private-cache-a', 'private-encrypted-cache-a', 'presence-cache-a'])(
    '[CA2] does so on %s too',
    async (channel) => {
      const world = createWorld();
      await publish(world, channel, '7', { retainSeconds: 60 });
      const answer = await world.subscribe(await world.connect(), channel, { user_id: 'u' });
      expect(answer.map((frame) => [frame.event, frame.channel])).toEqual([
        ['pusher_internal:subscription_succeeded', channel],
        ['e', channel],
      ]);
    },
  );

  it('[CE7] keeps no client event', async () => {
    const world = createWorld();
    const { connect, subscribe, settle } = world;
    const [peer, late] = [await connect(), await connect()];
    await subscribe(peer, 'private-cache-a');
    peer.say({ event: 'client-x', channel: 'private-cache-a', data: 'no' });
    await settle();
    expect((await subscribe(late, 'private-cache-a')).map((frame) => frame.event)).toEqual([
      'pusher_internal:subscription_succeeded',
      'pusher:cache_miss',
    ]);
  });
});

describe('presence', () => {
  it('[PR1] tells the newcomer who is there, itself among them', async () => {
    const { connect, subscribe } = createWorld();
    await subscribe(await connect(), 'presence-a', { user_id: 10, user_info: { name: 'Ada' } });
    const answer = await subscribe(await connect(), 'presence-a', { user_id: '__proto__' });
    const presence = (answer[0]!.data as { presence: { ids: string[]; hash: object; count: number } }).presence;
    expect(presence.ids).toEqual(['10', '__proto__']);
    expect(presence.count).toBe(2);
    expect(Object.entries(presence.hash)).toEqual([
      ['10', { name: 'Ada' }],
      ['__proto__', null],
    ]);
  });

  it('[PR2] [PR3] three tabs of two users: one addition and one removal per user, from the first tab to the last', async () => {
    const { connect, subscribe, settle } = createWorld();
    const watcher = await connect();
    await subscribe(watcher, 'presence-a', { user_id: 'w' });
    const [a1, a2, b] = [await connect(), await connect(), await connect()];
    const added = (id: string) => ({
      event: 'pusher_internal:member_added',
      channel: 'presence-a',
      data: { user_id: id, user_info: { n: id } },
    });
    const removed = (id: string) => ({
      event: 'pusher_internal:member_removed',
      channel: 'presence-a',
      data: { user_id: id },
    });
    const join = (peer: TestPeer, id: string) => subscribe(peer, 'presence-a', { user_id: id, user_info: { n: id } });
    expect((await join(a1, 'a')).map((frame) => frame.event)).toEqual(['pusher_internal:subscription_succeeded']);
    expect(watcher.take()).toEqual([added('a')]);
    await join(a2, 'a');
    expect(watcher.take()).toEqual([]);
    await join(b, 'b');
    expect(watcher.take()).toEqual([added('b')]);
    expect(a1.take()).toEqual([added('b')]);
    a1.session.ended();
    await settle();
    expect(watcher.take()).toEqual([]);
    a2.say({ event: 'pusher:unsubscribe', data: { channel: 'presence-a' } });
    await settle();
    expect(a2.take()).toEqual([added('b')]);
    expect(watcher.take()).toEqual([removed('a')]);
    expect(b.take()).toEqual([removed('a')]);
    b.session.ended();
    await settle();
    expect(watcher.take()).toEqual([removed('b')]);
  });

  it('[PR4] keeps the user_info of the first connection until the user is wholly gone', async () => {
    const { connect, subscribe, settle } = createWorld();
    const [first, second, third] = [await connect(), await connect(), await connect()];
    const hash = (frames: Awaited<ReturnType<typeof subscribe>>) =>
      (frames[0]!.data as { presence: { hash: unknown } }).presence.hash;
    await subscribe(first, 'presence-a', { user_id: 'u', user_info: { v: 1 } });
    expect(hash(await subscribe(second, 'presence-a', { user_id: 'u', user_info: { v: 2 } }))).toEqual({ u: { v: 1 } });
    first.session.ended();
    await settle();
    expect(hash(await subscribe(third, 'presence-a', { user_id: 'u', user_info: { v: 3 } }))).toEqual({ u: { v: 1 } });
    second.session.ended();
    third.session.ended();
    await settle();
    expect(hash(await subscribe(await connect(), 'presence-a', { user_id: 'u', user_info: { v: 4 } }))).toEqual({
      u: { v: 4 },
    });
  });

  it.each([
    ['no text', null],
    ['no user', {}],
    ['an array', []],
    ['a number', 5],
    ['an empty user id', { user_id: '' }],
    ['a broken number', { user_id: 1.5 }],
    ['an object as user id', { user_id: {} }],
    ['a user id too long', { user_id: 'x'.repeat(129) }],
    ['user_info that is no object', { user_id: 'u', user_info: 'text' }],
    ['user_info too large', { user_id: 'u', user_info: { text: 'é'.repeat(600) } }],
  ])('[PR5] refuses channel_data with %s', async (_what, data) => {
    const { connect, subscribe } = createWorld();
    expect(await subscribe(await connect(), 'presence-a', data)).toEqual(refused('presence-a', 400, 'ValidationError'));
  });

  it('[PR6] takes the signed-in user where there is no channel_data, and refuses where there is neither', async () => {
    const { connect, subscribe, signin } = createWorld();
    const peer = await connect();
    expect(await subscribe(peer, 'presence-a')).toEqual(refused('presence-a', 401, 'AuthError'));
    await signin(peer, { id: 'u1', user_info: { name: 'Ada' } });
    expect(await subscribe(peer, 'presence-a')).toEqual([
      succeeded('presence-a', { presence: { ids: ['u1'], hash: { u1: { name: 'Ada' } }, count: 1 } }),
    ]);
    expect((await subscribe(peer, 'presence-b', { user_id: 'u2' }))[0]?.data).toMatchObject({
      presence: { ids: ['u2'] },
    });
  });

  it('[PR7] [LI4] refuses one user too many, but no further connection of a user who is there', async () => {
    const { connect, subscribe } = createWorld({ app: { limits: { ...defaultAppLimits, presenceMembers: 2 } } });
    await subscribe(await connect(), 'presence-a', { user_id: 'a' });
    await subscribe(await connect(), 'presence-a', { user_id: 'b' });
    expect(await subscribe(await connect(), 'presence-a', { user_id: 'c' })).toEqual(
      refused('presence-a', 403, 'LimitReached', expect.stringMatching(/2 members, 0 left, waiting/), full(2)),
    );
    expect((await subscribe(await connect(), 'presence-a', { user_id: 'a' }))[0]?.event).toMatch(/succeeded/);
  });

  it('[PR7] [SU10] a channel that was full takes no place among those that the connection may join', async () => {
    const limits = { ...defaultAppLimits, presenceMembers: 1, channelsPerConnection: 1 };
    const { connect, subscribe, sessions } = createWorld({ app: { limits } });
    await subscribe(await connect(), 'presence-a', { user_id: 'a' });
    const peer = await connect();
    const before = sessions.heldBytes;
    expect((await subscribe(peer, 'presence-a', { user_id: 'b' }))[0]?.data).toMatchObject({ type: 'LimitReached' });
    expect(peer.session.channelSubscriptions.size).toBe(0);
    expect(sessions.heldBytes).toBe(before);
    expect((await subscribe(peer, 'room'))[0]?.event).toMatch(/succeeded/);
  });
});

describe('client events', () => {
  const pair = async (channel = 'private-a', app = {}) => {
    const world = createWorld({ app });
    const [sender, other] = [await world.connect(), await world.connect()];
    await world.subscribe(sender, channel, { user_id: 's' });
    await world.subscribe(other, channel, { user_id: 'o' });
    sender.take();
    return { ...world, sender, other };
  };

  it.each(['private-a', 'presence-a', 'private-cache-a', 'presence-cache-a'])(
    '[CE2] relays on %s to the others and never back',
    async (channel) => {
      const { sender, other, settle } = await pair(channel);
      sender.say({ event: 'client-x', channel, data: { on: true } });
      await settle();
      expect(sender.take()).toEqual([]);
      expect(other.take()).toEqual([
        { event: 'client-x', channel, data: { on: true }, ...(channel.startsWith('presence') ? { user_id: 's' } : {}) },
      ]);
    },
  );

  it('[CE3] builds the frame anew: what the client added is gone, the user id is the membership’s', async () => {
    const { sender, other, settle } = await pair('presence-a');
    sender.say({
      event: 'client-x',
      channel: 'presence-a',
      data: '1',
      user_id: 'root',
      extra: true,
      __proto__: { a: 1 },
    });
    await settle();
    expect(other.raw.map((line) => JSON.parse(line))).toEqual([
      { event: 'client-x', channel: 'presence-a', data: '1', user_id: 's' },
    ]);
  });

  it.each([
    ['{"a":1}', '{"a":1}'],
    ['', ''],
    [{ a: [1] }, '{"a":[1]}'],
    [0, '0'],
    [false, 'false'],
    [null, 'null'],
  ])('[CE4] turns the data %j into the string %j', async (data, text) => {
    const { sender, other, settle } = await pair();
    sender.say({ event: 'client-x', channel: 'private-a', data });
    await settle();
    expect(JSON.parse(other.raw[0]!).data).toBe(text);
  });

  it.each([
    ['the setting off', { app: { hasClientEvents: false } }, {}, /not enabled/],
    ['no data', {}, { data: undefined }, /channel and data/],
    ['no channel', {}, { channel: undefined }, /channel and data/],
    ['a channel it has not joined', {}, { channel: 'private-b' }, /not subscribed/],
    ['a public channel', {}, { channel: 'room' }, /private or presence/],
    ['an encrypted channel', {}, { channel: 'private-encrypted-a' }, /not encrypted/],
    ['a user channel', {}, { channel: '#server-to-user-s' }, /private or presence/],
    ['a bad channel name', {}, { channel: 'private a' }, /characters/],
    ['a name too long', {}, { event: `client-${'x'.repeat(200)}` }, /limit is 200/],
    ['data too large', {}, { data: 'é'.repeat(5_121) }, /10240 bytes/],
  ])('[CE1] [CE6] refuses %s, with code null, and stays open', async (_what, options, frame, message) => {
    const { sender, other, settle } = await pair('private-a', (options as { app?: object }).app);
    sender.say({ event: 'client-x', channel: 'private-a', data: '1', ...frame });
    await settle();
    expect(sender.take()).toEqual([
      { event: 'pusher:error', data: { code: null, message: expect.stringMatching(message) } },
    ]);
    expect(other.take()).toEqual([]);
    expect(sender.closedWith).toBeNull();
  });

  it('[LI5] an app that allows no client events at all says that waiting does not help', async () => {
    const { sender, other, settle } = await pair('private-a', {
      limits: { ...defaultAppLimits, clientEventsPerSecond: 0 },
    });
    sender.say({ event: 'client-x', channel: 'private-a', data: '1' });
    await settle();
    expect(other.take()).toEqual([]);
    const message = expect.stringMatching(/limit is 0 client events per second, waiting does not help/);
    expect(sender.take()).toEqual([{ event: 'pusher:error', data: { code: 4301, message } }]);
  });

  it('[CE6] takes data of exactly the limit', async () => {
    const { sender, other, settle } = await pair();
    sender.say({ event: 'client-x', channel: 'private-a', data: 'é'.repeat(5_120) });
    await settle();
    expect(other.take()).toHaveLength(1);
  });

  it('[CE5] [LI5] refuses the eleventh of a second with 4301, and takes more a moment later', async () => {
    const { sender, other, settle, clock } = await pair();
    const send = () => sender.say({ event: 'client-x', channel: 'private-a', data: '1' });
    for (let count = 0; count < 12; count++) send();
    await settle();
    expect(other.take()).toHaveLength(10);
    const told = 'the limit is 10 client events per second, 0 left, try again in 1 s';
    const message = `Client event rejected due to rate limit: ${told}`;
    const no = { event: 'pusher:error', data: { code: 4301, message } };
    expect(sender.take()).toEqual([no, no]);
    clock.advance(100);
    send();
    send();
    await settle();
    expect(other.take()).toHaveLength(1);
    expect(sender.closedWith).toBeNull();
  });
});

describe('subscription counts', () => {
  const count = (channel: string, value: number) => ({
    event: 'pusher_internal:subscription_count',
    channel,
    data: { subscription_count: value },
  });

  it('[SC1] sends the count to everyone on each subscribe and leave, after the newcomer’s success', async () => {
    const { connect, subscribe, settle } = createWorld({ app: { hasSubscriptionCounts: true } });
    const [first, second] = [await connect(), await connect()];
    expect(await subscribe(first, 'room')).toEqual([succeeded('room'), count('room', 1)]);
    expect(await subscribe(second, 'room')).toEqual([succeeded('room'), count('room', 2)]);
    expect(first.take()).toEqual([count('room', 2)]);
    second.session.ended();
    await settle();
    expect(first.take()).toEqual([count('room', 1)]);
    expect((await subscribe(first, 'presence-a', { user_id: 'u' })).map((frame) => frame.event)).toEqual([
      'pusher_internal:subscription_succeeded',
    ]);
  });

  it('[SC1] sends the count when the store releases the memberships of a node that died', async () => {
    let repair: (topic: Topic, connectionCount: number) => void = () => undefined;
    const { connect, subscribe, settle } = createWorld({
      app: { hasSubscriptionCounts: true },
      wrapPresence: (store) =>
        Object.assign(store, {
          onRepair: (listener: typeof repair) => {
            repair = listener;
            return () => undefined;
          },
        }),
    });
    const peer = await connect();
    await subscribe(peer, 'room');
    for (const topic of [channelTopic('1001', 'room'), userTopic('1001', 'u'), channelTopic('9', 'room')]) {
      repair(topic, 41);
    }
    await settle();
    expect(peer.take()).toEqual([count('room', 41)]);
  });

  it('[SC1] sends none where the app has them off', async () => {
    const { connect, subscribe } = createWorld();
    expect(await subscribe(await connect(), 'room')).toEqual([succeeded('room')]);
  });

  it('[SC2] sends a crowd its count at most every five seconds, and the last one always', async () => {
    const { connect, subscribe, settle, clock } = createWorld({ app: { hasSubscriptionCounts: true } });
    const watcher = await connect();
    await subscribe(watcher, 'room');
    const crowd: TestPeer[] = [];
    for (let index = 0; index < 150; index++) {
      const peer = await connect();
      await subscribe(peer, 'room');
      crowd.push(peer);
    }
    const counts = () =>
      watcher.take().map((frame) => (frame.data as { subscription_count: number }).subscription_count);
    expect(counts()).toEqual(Array.from({ length: 100 }, (_, index) => index + 2));
    clock.advance(5_000);
    await settle();
    expect(counts()).toEqual([151]);
    clock.advance(5_000);
    await settle();
    expect(counts()).toEqual([]);
    for (const peer of crowd.slice(0, 20)) peer.session.ended();
    await settle();
    expect(counts()).toEqual([150]);
    clock.advance(5_000);
    await settle();
    expect(counts()).toEqual([131]);
  });
});
