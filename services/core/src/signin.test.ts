import { userTopic } from '@starling/ports';
import { describe, expect, it } from 'vitest';
import { createWorld } from './world.test-kit.ts';

const error = (message: RegExp, code: number | null = null) => ({
  event: 'pusher:error',
  data: { code, message: expect.stringMatching(message) },
});
const watch = (name: string, ...ids: string[]) => ({ name, user_ids: ids });
const watchFrame = (...events: unknown[]) => ({ event: 'pusher_internal:watchlist_events', data: { events } });

describe('signing in', () => {
  it('[US1] answers with the user data verbatim, as a string in a string', async () => {
    const { connect, signin } = createWorld();
    const peer = await connect();
    const raw = JSON.stringify({ id: 'u1', user_info: { name: 'Ada' }, other: ' kept ' });
    expect(await signin(peer, JSON.parse(raw))).toEqual([{ event: 'pusher:signin_success', data: { user_data: raw } }]);
  });

  it.each([
    ['a wrong secret', { id: 'u1' }, 'wrong', /Invalid signature/],
    ['a numeric id', { id: 7 }, undefined, /"id" must be a string/],
    ['no id', {}, undefined, /"id" must be a string/],
    ['an empty id', { id: '' }, undefined, /"id" must be a string/],
    ['no object', [], undefined, /JSON object/],
    ['a watchlist of numbers', { id: 'u', watchlist: [1] }, undefined, /watchlist/],
    ['user_info too large', { id: 'u', user_info: { a: 'x'.repeat(1_100) } }, undefined, /1024 bytes/],
  ])('[US2] refuses %s, and the connection stays open', async (_what, user, secret, message) => {
    const { connect, signin, presenceStore } = createWorld();
    const peer = await connect();
    expect(await signin(peer, user, secret)).toEqual([error(message)]);
    expect(peer.closedWith).toBeNull();
    expect(peer.session.user).toBeNull();
    expect(await presenceStore.occupancies([userTopic('1001', 'u1')])).toMatchObject([
      { connectionCount: 0, userCount: 0 },
    ]);
  });

  it('[US2] closes 4009 after a failed sign-in where only authorised connections are admitted', async () => {
    const { connect, signin } = createWorld({ app: { admitsAuthorizedOnly: true } });
    const peer = await connect();
    expect(await signin(peer, { id: 'u1' }, 'wrong')).toEqual([error(/Invalid signature/, 4009)]);
    expect(peer.closedWith?.code).toBe(4009);
  });

  it('[US3] takes the same user again, and refuses another', async () => {
    const { connect, signin } = createWorld();
    const peer = await connect();
    await signin(peer, { id: 'u1' });
    expect((await signin(peer, { id: 'u1', extra: 1 }))[0]?.event).toBe('pusher:signin_success');
    expect(await signin(peer, { id: 'u2' })).toEqual([error(/another user/)]);
    expect(peer.session.user?.userId).toBe('u1');
  });

  it('[US5] closes an unauthorised connection after 30 s, and none that signed in or joined a private channel', async () => {
    const { clock, connect, signin, subscribe, settle } = createWorld({ app: { admitsAuthorizedOnly: true } });
    const [idle, publicOnly, signedIn, inPrivate] = [
      await connect(),
      await connect(),
      await connect(),
      await connect(),
    ];
    await subscribe(publicOnly, 'room');
    await signin(signedIn, { id: 'u1' });
    await subscribe(inPrivate, 'private-a');
    clock.advance(29_000);
    expect(idle.closedWith).toBeNull();
    clock.advance(2_000);
    await settle();
    expect(idle.take()).toEqual([error(/not authorized within timeout/, 4009)]);
    expect([idle, publicOnly, signedIn, inPrivate].map((peer) => peer.closedWith?.code)).toEqual([
      4009,
      4009,
      undefined,
      undefined,
    ]);
  });
});

describe('a user’s own channel', () => {
  it('[SU11] opens to the signed-in user only', async () => {
    const { connect, signin, subscribe } = createWorld();
    const peer = await connect();
    expect((await subscribe(peer, '#server-to-user-u1'))[0]).toMatchObject({ data: { status: 403 } });
    await signin(peer, { id: 'u1' });
    expect((await subscribe(peer, '#server-to-user-u2'))[0]).toMatchObject({ data: { status: 403 } });
    expect(await subscribe(peer, '#server-to-user-u1')).toEqual([
      { event: 'pusher_internal:subscription_succeeded', channel: '#server-to-user-u1', data: {} },
    ]);
  });

  it('[US9] is in no list and has no count', async () => {
    const { connect, signin, subscribe, presenceStore } = createWorld({ app: { hasSubscriptionCounts: true } });
    const peer = await connect();
    await signin(peer, { id: 'u1' });
    expect(await subscribe(peer, '#server-to-user-u1')).toHaveLength(1);
    expect(await presenceStore.channels('1001', '')).toEqual(new Map());
  });
});

describe('terminating a user', () => {
  it('[US4] closes every connection signed in as the user with 4009, and no mere presence member', async () => {
    const { broker, connect, signin, subscribe, settle } = createWorld();
    const [first, second, member, other] = [await connect(), await connect(), await connect(), await connect()];
    await signin(first, { id: 'u1' });
    await signin(second, { id: 'u1' });
    await signin(other, { id: 'u2' });
    await subscribe(member, 'presence-a', { user_id: 'u1' });
    await broker.publish(userTopic('1001', 'u1'), { kind: 'terminate', payload: new Uint8Array() });
    await settle();
    expect([first, second, member, other].map((peer) => peer.closedWith?.code)).toEqual([
      4009,
      4009,
      undefined,
      undefined,
    ]);
    expect(first.take()).toEqual([error(/disconnected by the app/, 4009)]);
  });
});

describe('watchlists', () => {
  it('[US6] tells who is online and who is not, leaving an empty entry out', async () => {
    const { connect, signin } = createWorld();
    await signin(await connect(), { id: 'u2' });
    const both = await signin(await connect(), { id: 'u1', watchlist: ['u2', 'u3', 'u2'] });
    expect(both.map((frame) => frame.event)).toEqual(['pusher:signin_success', 'pusher_internal:watchlist_events']);
    expect(both[1]).toEqual(watchFrame(watch('online', 'u2'), watch('offline', 'u3')));
    expect((await signin(await connect(), { id: 'u4', watchlist: ['u9'] }))[1]).toEqual(
      watchFrame(watch('offline', 'u9')),
    );
    expect(await signin(await connect(), { id: 'u5', watchlist: [] })).toHaveLength(1);
  });

  it('[US7] tells the watcher once of the first sign-in and once of the last leaving, in one direction', async () => {
    const { connect, signin, settle } = createWorld();
    const [watcher, first, second] = [await connect(), await connect(), await connect()];
    await signin(watcher, { id: 'w', watchlist: ['u1', 'w'] });
    await signin(first, { id: 'u1' });
    expect(watcher.take()).toEqual([watchFrame(watch('online', 'u1'))]);
    await signin(second, { id: 'u1' });
    first.session.ended();
    await settle();
    expect(watcher.take()).toEqual([]);
    second.session.ended();
    await settle();
    expect(watcher.take()).toEqual([watchFrame(watch('offline', 'u1'))]);
    expect(first.take()).toEqual([]);
  });

  it('[US8] keeps the first hundred and says so, non-fatal', async () => {
    const { connect, signin } = createWorld();
    const peer = await connect();
    const watchlist = Array.from({ length: 101 }, (_, index) => `u${index}`);
    const [, snapshot, limit] = await signin(peer, { id: 'w', watchlist });
    expect(snapshot).toEqual(watchFrame(watch('offline', ...watchlist.slice(0, 100))));
    expect(limit).toEqual(error(/first 100/, 4302));
    expect(peer.closedWith).toBeNull();
    await signin(await connect(), { id: 'u100' });
    expect(peer.take()).toEqual([]);
  });

  it('[US6] sends none where the app has them off', async () => {
    const { connect, signin } = createWorld({ app: { hasWatchlists: false } });
    expect(await signin(await connect(), { id: 'w', watchlist: ['u1'] })).toHaveLength(1);
  });
});
