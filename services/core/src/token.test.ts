/** A connection with a token: what it is told, what it may, and when it ends. */
import { channelTopic, type Revocation, userTopic } from '@starling/ports';
import { describe, expect, it } from 'vitest';
import { createWorld, type Received, TestPeer, testApp, type World } from './world.test-kit.ts';

const everything = { '*': ['subscribe', 'publish', 'presence'] };
const succeeded = 'pusher_internal:subscription_succeeded';
const names = (frames: readonly Received[]) => frames.map(({ event }) => event);
const hour = 3_600_000;

async function closeOf(world: World, token: string): Promise<number | undefined> {
  const peer = await world.connect({}, new TestPeer(), token);
  return peer.closedWith?.code;
}

describe('opening a connection with a token', () => {
  it('[TK7] says who it is right after the handshake, how long, and what it may', async () => {
    const world = createWorld();
    const cap = { 'private-*': ['subscribe'], room: ['publish'] };
    const peer = world.open({}, new TestPeer(), world.mint({ sub: 'u', cap }));
    await world.settle();
    expect(peer.take()).toMatchObject([
      { event: 'pusher:connection_established', data: { socket_id: peer.session.socketId } },
      { event: 'starling:auth_success', data: { user_id: 'u', expires_in: 3_600, capabilities: cap } },
    ]);
    expect((await world.connectWith({})).session.user).toBeNull();
  });

  it('[TK7] [HS4] refuses a bad one with an error and the close, before any handshake', async () => {
    const world = createWorld();
    for (const [token, code] of [
      [world.mint({}, 'app-key', 'wrong'), 4_010],
      [world.mint({}, 'old-key', 'old-secret'), 4_010],
      [world.mint({ cap: 1 }), 4_010],
      ['', 4_010],
      [world.mint({ exp: world.clock.now() / 1_000 }), 4_110],
    ] as const) {
      const peer = world.open({}, new TestPeer(), token);
      await world.settle();
      expect(peer.take()).toMatchObject([{ event: 'pusher:error', data: { code } }]);
      expect(peer.closedWith?.code).toBe(code);
    }
    expect(world.sessions.size).toBe(0);
    expect(world.problems).toEqual([]);
  });

  it('[TK7] answers what was sent early after both greetings', async () => {
    const world = createWorld();
    const peer = world.open({}, new TestPeer(), world.mint({ sub: 'u', cap: everything }));
    peer.say({ event: 'pusher:subscribe', data: { channel: 'private-a' } });
    await world.settle();
    expect(names(peer.take())).toEqual(['pusher:connection_established', 'starling:auth_success', succeeded]);
  });

  it('[TK8] signs in: the user channel, terminate, being watched', async () => {
    const world = createWorld();
    const watcher = await world.connect();
    await world.signin(watcher, { id: 'w', watchlist: ['u'] });
    const peer = await world.connectWith({ sub: 'u', info: { name: 'U' } });
    expect(watcher.take()[0]?.data).toEqual({ events: [{ name: 'online', user_ids: ['u'] }] });
    peer.say({ event: 'pusher:subscribe', data: { channel: '#server-to-user-u' } });
    await world.settle();
    expect(names(peer.take())).toEqual([succeeded]);
    expect(await world.signin(peer, { id: 'other' })).toMatchObject([{ event: 'pusher:error' }]);
    await world.broker.publish(userTopic('1001', 'u'), { kind: 'terminate', payload: new Uint8Array() });
    await world.settle();
    expect(peer.closedWith?.code).toBe(4_009);
    expect(watcher.take().at(-1)?.data).toEqual({ events: [{ name: 'offline', user_ids: ['u'] }] });
  });

  it('[US5] is authorised, where an app admits authorised connections only', async () => {
    const world = createWorld({ app: { admitsAuthorizedOnly: true } });
    const peer = await world.connectWith({});
    world.clock.advance(60_000);
    expect(peer.closedWith).toBeNull();
  });
});

describe('what a token allows', () => {
  const join = async (world: World, peer: TestPeer, channel: string): Promise<Received[]> => {
    peer.say({ event: 'pusher:subscribe', data: { channel } });
    await world.settle();
    return peer.take();
  };

  it('[TK13] joins private and presence channels, as sub with info', async () => {
    const world = createWorld();
    const cap = { 'private-a*': ['subscribe'], 'presence-a': ['presence'] };
    const peer = await world.connectWith({ sub: 'u', info: { name: 'U' }, cap });
    expect(names(await join(world, peer, 'private-abc'))).toEqual([succeeded]);
    expect((await join(world, peer, 'presence-a'))[0]?.data).toEqual({
      presence: { ids: ['u'], hash: { u: { name: 'U' } }, count: 1 },
    });
    expect(names(await join(world, peer, 'public'))).toEqual([succeeded]);
  });

  it.each([
    ['private-b', 403, '"subscribe" for "private-b"'],
    ['presence-b', 403, '"presence" for "presence-b"'],
    ['private-encrypted-a', 401, 'encrypted'],
    ['#server-to-user-u', 403, 'signed in as that user'],
  ])('[TK13] refuses %s with status %i and what it needs', async (channel, status, text) => {
    const world = createWorld();
    const cap = { 'private-encrypted-*': ['subscribe'], '#*': ['subscribe'], 'presence-b': ['subscribe'] };
    const peer = await world.connectWith({ cap });
    const [error] = await join(world, peer, channel);
    const message = expect.stringContaining(text);
    expect(error).toMatchObject({ event: 'pusher:subscription_error', data: { status, error: message } });
    expect(peer.closedWith).toBeNull();
  });

  it('[TK13] lets nobody without a name into presence', async () => {
    const world = createWorld();
    const peer = await world.connectWith({ cap: everything });
    expect((await join(world, peer, 'presence-a'))[0]).toMatchObject({ data: { status: 401 } });
  });

  it('[TK14] asks the token nothing where auth is given', async () => {
    const world = createWorld();
    const peer = await world.connectWith({ sub: 'u', cap: everything });
    expect(names(await world.subscribe(peer, 'private-encrypted-a'))).toEqual([succeeded]);
    const [joined] = await world.subscribe(peer, 'presence-a', { user_id: 'another' });
    expect(joined?.data).toMatchObject({ presence: { ids: ['another'] } });
    peer.say(world.subscribeFrame(peer, 'private-a', undefined, 'wrong'));
    await world.settle();
    expect(peer.take()[0]).toMatchObject({ event: 'pusher:subscription_error', data: { status: 401 } });
  });
});

describe('another token in place', () => {
  it('[TK9] takes over on a connection opened without one, and signs it in', async () => {
    const world = createWorld();
    const peer = await world.connect();
    expect(await world.renew(peer, world.mint({ sub: 'u' }))).toMatchObject([
      { event: 'starling:auth_success', data: { user_id: 'u', expires_in: 3_600 } },
    ]);
    expect(peer.session.user?.userId).toBe('u');
    expect(await world.presenceStore.occupancies([userTopic('1001', 'u')])).toMatchObject([{ userCount: 1 }]);
  });

  it('[TK9] keeps the former when the new one is bad', async () => {
    const world = createWorld();
    const peer = await world.connectWith({ sub: 'u', cap: everything });
    await world.appStore.revoke('1001', { by: 'token', id: 'gone', at: world.clock.now() });
    for (const [token, code] of [
      [undefined, 'token_invalid'],
      [7, 'token_invalid'],
      ['x', 'token_invalid'],
      [world.mint({ sub: 'other' }), 'token_invalid'],
      [world.mint({}), 'token_invalid'],
      [world.mint({ sub: 'u', jti: 'gone' }), 'token_revoked'],
      [world.mint({ sub: 'u', exp: world.clock.now() / 1_000 }), 'token_expired'],
    ] as const) {
      expect(await world.renew(peer, token)).toMatchObject([{ event: 'starling:auth_error', data: { code } }]);
    }
    expect(peer.closedWith).toBeNull();
    expect(peer.session.user?.userId).toBe('u');
    peer.say({ event: 'pusher:subscribe', data: { channel: 'private-a' } });
    await world.settle();
    expect(names(peer.take())).toEqual([succeeded]);
  });

  it.each([
    ['signed in as another', 'u', 'v', 'starling:auth_error'],
    ['signed in as the same', 'u', 'u', 'starling:auth_success'],
    ['signed in, and a token of nobody', 'u', undefined, 'starling:auth_success'],
  ])('[TK9] on a connection %s', async (_what, user, sub, answer) => {
    const world = createWorld();
    const peer = await world.connect();
    await world.signin(peer, { id: user });
    expect(names(await world.renew(peer, world.mint(sub === undefined ? {} : { sub })))).toEqual([answer]);
    expect(peer.session.user?.userId).toBe(user);
  });

  it('[TK9] keeps a token that is nobody’s nobody’s', async () => {
    const world = createWorld();
    const peer = await world.connectWith({});
    expect(names(await world.renew(peer, world.mint({ sub: 'u' })))).toEqual(['starling:auth_error']);
    expect(peer.session.user).toBeNull();
  });

  it('[TK10] leaves what only the former allowed, and nothing else', async () => {
    const world = createWorld();
    const peer = await world.connectWith({ sub: 'u', cap: everything });
    for (const channel of ['public', 'private-a', 'private-b', 'presence-a']) {
      peer.say({ event: 'pusher:subscribe', data: { channel } });
    }
    await world.subscribe(peer, 'private-signed');
    // Twice, the second time signed: that stands by itself.
    peer.say({ event: 'pusher:subscribe', data: { channel: 'private-both' } });
    await world.subscribe(peer, 'private-both');
    const answer = await world.renew(peer, world.mint({ sub: 'u', cap: { 'private-a': ['subscribe'] } }));
    expect(answer[0]?.event).toBe('starling:auth_success');
    const left = answer.filter(({ event }) => event === 'pusher:subscription_error');
    expect(left.map(({ channel }) => channel)).toEqual(['private-b', 'presence-a']);
    expect(left.every(({ data }) => (data as { status: number }).status === 403)).toBe(true);
    expect([...peer.session.channelSubscriptions.keys()]).toEqual([
      'public',
      'private-a',
      'private-signed',
      'private-both',
    ]);
    const topics = ['private-b', 'presence-a'].map((name) => channelTopic('1001', name));
    expect(await world.presenceStore.occupancies(topics)).toMatchObject([
      { connectionCount: 0 },
      { connectionCount: 0 },
    ]);
  });

  it('[TK10] leaves what was being joined when the token came', async () => {
    const world = createWorld();
    const peer = await world.connectWith({ sub: 'u', cap: everything });
    peer.say({ event: 'starling:auth', data: { token: world.mint({ sub: 'u' }) } });
    peer.say({ event: 'pusher:subscribe', data: { channel: 'private-a' } });
    await world.settle();
    expect(peer.session.channelSubscriptions.size).toBe(0);
    expect(names(peer.take()).filter((name) => name === 'pusher:subscription_error')).toHaveLength(1);
  });
});

describe('the end of a token', () => {
  it('[TK11] closes with 4110 within a second of its expiry, and not before', async () => {
    const world = createWorld();
    const peer = await world.connectWith({});
    for (let minute = 1; minute < 60; minute++) {
      world.clock.advance(60_000);
      peer.say({ event: 'pusher:ping' });
    }
    world.clock.advance(59_999);
    expect(peer.closedWith).toBeNull();
    world.clock.advance(1_001);
    expect(peer.closedWith?.code).toBe(4_110);
    expect(peer.take().at(-1)).toMatchObject({ event: 'pusher:error', data: { code: 4_110 } });
    await world.settle();
    expect(world.clock.timerCount).toBe(0);
  });

  it('[TK11] follows the token that took its place, be it longer or shorter', async () => {
    for (const [lifetimeMs, lives] of [
      [2 * hour, true],
      [60_000, false],
    ] as const) {
      const world = createWorld();
      const peer = await world.connectWith({});
      const now = world.clock.now();
      await world.renew(peer, world.mint({ exp: (now + lifetimeMs) / 1_000 }));
      const until = lives ? hour + 2_000 : 61_000;
      for (let ms = 0; ms < until; ms += 1_000) {
        world.clock.advance(1_000);
        peer.say({ event: 'pusher:ping' });
      }
      expect(peer.closedWith === null, `${lifetimeMs}`).toBe(lives);
    }
  });

  it('[TK12] closes connections of a revoked user, or a revoked token, and refuses such tokens', async () => {
    const world = createWorld();
    const tokens = {
      user: world.mint({ sub: 'u' }),
      both: world.mint({ sub: 'u', jti: 't1' }),
      other: world.mint({ sub: 'v', jti: 't2' }),
      nobody: world.mint({}),
    };
    const peers = await Promise.all(Object.values(tokens).map((token) => world.connect({}, new TestPeer(), token)));
    const codes = () => peers.map(({ closedWith }) => closedWith?.code ?? 0);
    world.clock.advance(5_000);
    const revoke = async (by: Revocation['by'], id: string) => {
      await world.appStore.revoke('1001', { by, id, at: world.clock.now() });
      await world.settle();
    };
    await revoke('token', 't2');
    expect(codes()).toEqual([0, 0, 4_011, 0]);
    await revoke('user', 'u');
    expect(codes()).toEqual([4_011, 4_011, 4_011, 0]);
    expect(await closeOf(world, tokens.user)).toBe(4_011);
    expect(await closeOf(world, tokens.other)).toBe(4_011);
    world.clock.advance(1_000);
    expect(await closeOf(world, world.mint({ sub: 'u' }))).toBeUndefined();
    expect(await closeOf(world, world.mint({ sub: 'v' }))).toBeUndefined();
    expect(await closeOf(world, world.mint({ sub: 'v', jti: 't2' }))).toBe(4_011);
  });

  it('[TK12] leaves alone who signed in without a token', async () => {
    const world = createWorld();
    const peer = await world.connect();
    await world.signin(peer, { id: 'u' });
    await world.appStore.revoke('1001', { by: 'user', id: 'u', at: world.clock.now() });
    world.appStore.put({ ...world.app, tokens: { isEnabled: false } });
    expect(peer.closedWith).toBeNull();
  });

  it('[TK12] closes when the key that signed is disabled, or tokens are switched off', async () => {
    const world = createWorld();
    const byNext = await world.connect({}, new TestPeer(), world.mint({}, 'next-key', 'next-secret'));
    const byApp = await world.connect({}, new TestPeer(), world.mint());
    const renewed = await world.connect();
    await world.renew(renewed, world.mint({}, 'next-key', 'next-secret'));
    const keys = testApp.keys.map((key) => (key.key === 'next-key' ? { ...key, isEnabled: false } : key));
    world.appStore.put({ ...world.app, keys });
    expect([byNext, byApp, renewed].map(({ closedWith }) => closedWith?.code)).toEqual([4_011, undefined, 4_011]);
    world.appStore.put({ ...world.app, tokens: { isEnabled: false } });
    expect(byApp.closedWith?.code).toBe(4_010);
    expect(await closeOf(world, world.mint())).toBe(4_010);
  });
});

it('[HS5] an app that goes while a token is verified takes the connection with it', async () => {
  const world = createWorld();
  const peer = world.open({}, new TestPeer(), world.mint({ sub: 'u' }));
  await Promise.resolve();
  await Promise.resolve();
  world.appStore.remove('1001');
  await world.settle();
  expect(peer.closedWith?.code).toBe(4_001);
  expect(world.sessions.size).toBe(0);
});
