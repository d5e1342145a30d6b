/** What an application sees, with the official libraries and with our own client: the same in Node and in a browser. */
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { buildClient, type ClientBuild } from '../../testing/client-build.ts';
import { openProgram, type Program, type Starling } from '../../testing/program.ts';
import { type Backend, openBackend } from './backend.ts';
import { type Client, launchBrowser, nodePlace, type Place, pagePlace, starlingInNode, type Who } from './client.ts';

let program: Program;
let starling: Starling;
let backend: Backend;
let browser: Browser;
let clientBuild: ClientBuild;
beforeAll(async () => {
  program = openProgram();
  starling = await program.start({
    env: { STARLING_APP_SUBSCRIPTION_COUNTS: 'yes', STARLING_APP_WATCHLISTS: 'yes', STARLING_LOG_LEVEL: 'warn' },
  });
  clientBuild = buildClient();
  backend = await openBackend(starling, clientBuild.folder);
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  await backend?.close();
  await program?.close();
  clientBuild?.remove();
});

let serial = 0;
/** No test meets another's channels. */
const fresh = (name: string) => `${name}-${++serial}`;
const userName = (id: string) => ({ name: `User ${id}` });

describe.each([
  ['pusher-js in Node', () => nodePlace(starling, backend)],
  ['@starling/client in Node', () => starlingInNode(starling, backend)],
  ['pusher-js in Chromium', () => pagePlace(browser, 'pusher', starling, backend)],
  ['@starling/client, global script, in Chromium', () => pagePlace(browser, 'starling', starling, backend)],
  ['@starling/client, ES module, in Chromium', () => pagePlace(browser, 'starling-esm', starling, backend)],
  ['pusher-js with encryption in Chromium', () => pagePlace(browser, 'pusher-with-encryption', starling, backend)],
])('%s', (_name, openPlace) => {
  let place: Place;
  beforeAll(async () => {
    place = await openPlace();
  });
  afterEach(() => place.closeClients());
  afterAll(() => place?.close());

  async function connect(who?: Who): Promise<Client> {
    const client = await place.open(who);
    await client.connected();
    return client;
  }

  test('[SU1] [RE7] a public channel brings what was triggered, as it was', async () => {
    const client = await connect();
    const channel = fresh('room=@,.;');
    await client.join(channel);
    const values = [{ text: 'é 漢 😀 \u2028 "\\', list: [1, null, { deep: true }] }, 'text', 7, null, ['a'], ''];
    for (const value of values) expect((await backend.pusher.trigger(channel, 'order', value)).status).toBe(200);
    const told = await client.toldAll(values.length, 'order', channel);
    expect(told.map(({ data }) => data)).toEqual(values);
  });

  test('[RE7] a trigger on several channels reaches each once, and not the excluded connection', async () => {
    const [sender, other] = [await connect(), await connect()];
    const [a, b] = [fresh('a'), fresh('b')];
    for (const client of [sender, other]) for (const channel of [a, b]) await client.join(channel);
    const socketId = await sender.do((pusher) => pusher.connection.socket_id);
    await backend.pusher.trigger([a, b], 'order', 1, { socket_id: socketId });
    await backend.pusher.trigger([a, b], 'order', 2);
    for (const channel of [a, b]) {
      expect((await other.toldAll(2, 'order', channel)).map(({ data }) => data)).toEqual([1, 2]);
      expect((await sender.told('order', channel)).data).toBe(2);
    }
    expect([sender, other].flatMap(({ log }) => log.filter(({ event }) => event === 'order'))).toEqual([]);
  });

  test('[RE10] [RE19] a batch arrives in its order', async () => {
    const client = await connect();
    const [a, b] = [fresh('a'), fresh('private-b')];
    await client.join(a);
    await client.join(b);
    const answer = await backend.pusher.triggerBatch([
      { channel: a, name: 'first', data: { n: 1 } },
      { channel: b, name: 'second', data: 'two', info: 'subscription_count' },
      { channel: a, name: 'third', data: 3 },
    ]);
    expect(await answer.json()).toEqual({ batch: [{}, { subscription_count: 1 }, {}] });
    await client.told('third', a);
    expect(client.log.filter(({ on }) => on === a || on === b).map(({ event }) => event)).toEqual(
      expect.arrayContaining(['first', 'second']),
    );
    expect((await client.told('second', b)).data).toBe('two');
  });

  test('[SU7] an unsubscribed channel is silent, and speaks again after the next subscribe', async () => {
    const client = await connect();
    const channel = fresh('room');
    const other = fresh('other');
    await client.join(channel);
    await client.join(other);
    await client.do((pusher, name) => pusher.unsubscribe(name), channel);
    // Answered behind the unsubscribe.
    await client.join(fresh('next'));
    await backend.pusher.trigger([channel, other], 'order', 1);
    await client.told('order', other);
    expect(client.log.filter(({ event }) => event === 'order')).toEqual([]);
    await client.join(channel);
    await backend.pusher.trigger(channel, 'order', 2);
    expect((await client.told('order', channel)).data).toBe(2);
  });

  test('[SU3] a private channel opens with the backend’s signature only', async () => {
    const channel = fresh('private-room');
    const refused = await connect({ isRefused: true });
    await refused.subscribe(channel);
    expect((await refused.told('pusher:subscription_error', channel)).data).toMatchObject({
      type: 'AuthError',
      status: 401,
      error: expect.stringContaining('Invalid signature'),
    });
    const client = await connect();
    await client.join(channel);
    await backend.pusher.trigger(channel, 'order', 1);
    await client.told('order', channel);
    // The refused one is still connected, and open to everything public.
    await refused.join(fresh('room'));
    expect(refused.log.filter(({ event }) => event === 'order')).toEqual([]);
  });

  test('[PR1] [PR2] [PR3] a presence channel shows who is there, comes and goes, each user once', async () => {
    const channel = fresh('presence-room');
    const ada = await connect({ user: 'ada' });
    const first = (await ada.join(channel)).data;
    expect(first).toMatchObject({ count: 1, myID: 'ada', me: { id: 'ada', info: userName('ada') } });
    const [bob, bobAgain] = [await connect({ user: 'bob' }), await connect({ user: 'bob' })];
    expect((await bob.join(channel)).data).toMatchObject({
      count: 2,
      members: { ada: userName('ada'), bob: userName('bob') },
    });
    expect((await ada.told('pusher:member_added', channel)).data).toEqual({ id: 'bob', info: userName('bob') });
    await bobAgain.join(channel);
    await bob.close();
    await bobAgain.do((pusher, name) => pusher.unsubscribe(name), channel);
    expect((await ada.told('pusher:member_removed', channel)).data).toEqual({ id: 'bob', info: userName('bob') });
    await backend.pusher.trigger(channel, 'end', {});
    await ada.told('end', channel);
    expect(ada.log.filter(({ event }) => event.startsWith('pusher:member'))).toEqual([]);
  });

  test('an encrypted channel is read by who has its secret, cached or live', async () => {
    const [channel, cached] = [fresh('private-encrypted-room'), fresh('private-encrypted-cache-room')];
    const client = await connect();
    await backend.pusher.trigger(cached, 'order', { secret: 0 });
    if (!place.canDecrypt) {
      await expect(client.subscribe(channel)).rejects.toThrow('nacl');
      return;
    }
    await client.join(channel);
    await backend.pusher.trigger(channel, 'order', { secret: 1 });
    expect((await client.told('order', channel)).data).toEqual({ secret: 1 });
    await client.join(cached);
    expect((await client.told('order', cached)).data).toEqual({ secret: 0 });
  });

  test.each(['cache-', 'private-cache-', 'presence-cache-'])(
    '[CA2] a %s channel begins with its last event, or says that there is none',
    async (prefix) => {
      const client = await connect({ user: 'ada' });
      const [full, empty] = [fresh(`${prefix}full`), fresh(`${prefix}empty`)];
      await backend.pusher.trigger(full, 'price', { now: 1 });
      await backend.pusher.trigger(full, 'price', { now: 2 });
      await client.join(full);
      expect((await client.told('price', full)).data).toEqual({ now: 2 });
      await client.join(empty);
      await client.told('pusher:cache_miss', empty);
      expect(client.log.filter(({ event }) => event === 'price' || event === 'pusher:cache_miss')).toEqual([]);
      const answer = await backend.pusher.get({ path: `/channels/${full}`, params: { info: 'cache' } });
      expect(await answer.json()).toMatchObject({ occupied: true, cache: { data: '{"now":2}' } });
    },
  );

  test('[CE1] [CE2] [CE3] client events go to the others, and on presence channels say from whom', async () => {
    const [ada, bob] = [await connect({ user: 'ada' }), await connect({ user: 'bob' })];
    const [plain, presence] = [fresh('private-chat'), fresh('presence-chat')];
    for (const client of [ada, bob]) for (const channel of [plain, presence]) await client.join(channel);
    for (const channel of [plain, presence]) {
      expect(await ada.trigger(channel, 'client-event', { typing: true })).toBe(true);
      await bob.trigger(channel, 'client-other', 'back');
      expect(await bob.told('client-event', channel)).toEqual({
        event: 'client-event',
        on: channel,
        data: { typing: true },
        ...(channel === presence && { userId: 'ada' }),
      });
      expect((await ada.told('client-other', channel)).data).toBe('back');
    }
    expect([ada, bob].flatMap(({ log }) => log.filter(({ event }) => event.startsWith('client-')))).toEqual([]);
  });

  test('[CE1] [CE5] client events that may not be are refused, and the connection lives on', async () => {
    const [client, other] = [await connect(), await connect()];
    const [open, plain] = [fresh('room'), fresh('private-room')];
    for (const each of [client, other]) for (const channel of [open, plain]) await each.join(channel);
    await client.trigger(open, 'client-event', 1);
    expect((await client.told('error')).data).toMatchObject({ code: null, message: expect.stringMatching(/private/) });
    await client.do((pusher, channel) => {
      for (let number = 1; number <= 30; number++) pusher.channel(channel).trigger('client-event', number);
    }, plain);
    expect((await client.told('error')).data).toMatchObject({ code: 4301 });
    await backend.pusher.trigger(plain, 'end', {});
    await client.told('end', plain);
    await other.told('end', plain);
    const numbers = other.log.filter(({ event }) => event === 'client-event').map(({ data }) => data as number);
    expect(numbers.slice(0, 10)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(numbers.length).toBeLessThan(30);
  });

  test('[US1] [SU11] a signed-in user is reached by name, on every connection', async () => {
    const user = fresh('ada');
    const [first, second, other] = [await connect({ user }), await connect({ user }), await connect({ user: 'eve' })];
    for (const client of [first, second, other]) await client.signIn();
    expect(await first.do((pusher) => pusher.user.user_data)).toEqual({ id: user, user_info: userName(user) });
    await backend.pusher.sendToUser(user, 'alert', { text: 'hello' });
    for (const client of [first, second]) expect((await client.told('alert', 'user')).data).toEqual({ text: 'hello' });
    expect(other.log.filter(({ event }) => event === 'alert')).toEqual([]);
    const { channels } = (await (await backend.pusher.get({ path: '/channels' })).json()) as { channels: object };
    expect(Object.keys(channels).filter((name) => name.startsWith('#'))).toEqual([]);
  });

  test('[US4] a terminated user is disconnected everywhere and stays away, others stay', async () => {
    const user = fresh('ada');
    const [first, second, other] = [await connect({ user }), await connect({ user }), await connect({ user: 'eve' })];
    for (const client of [first, second, other]) await client.signIn();
    expect((await backend.pusher.terminateUserConnections(user)).status).toBe(200);
    for (const client of [first, second]) {
      expect((await client.told('error')).data).toMatchObject({ code: 4009 });
      expect((await client.told('state')).data).toBe('disconnected');
      expect(client.log.filter(({ event }) => event === 'state')).toEqual([]);
    }
    await other.join(fresh('room'));
  });

  test('[US6] [US7] a watchlist tells who is online, and who comes and goes', async () => {
    const [ada, bob, eve] = [fresh('ada'), fresh('bob'), fresh('eve')];
    const present = await connect({ user: bob });
    await present.signIn();
    const watcher = await connect({ user: ada, watchlist: [bob, eve] });
    await watcher.signIn();
    expect((await watcher.told('online', 'watchlist')).data).toEqual({ name: 'online', user_ids: [bob] });
    expect((await watcher.told('offline', 'watchlist')).data).toEqual({ name: 'offline', user_ids: [eve] });
    const comer = await connect({ user: eve });
    await comer.signIn();
    expect((await watcher.told('online', 'watchlist')).data).toEqual({ name: 'online', user_ids: [eve] });
    await present.close();
    expect((await watcher.told('offline', 'watchlist')).data).toEqual({ name: 'offline', user_ids: [bob] });
    expect(watcher.log.filter(({ on }) => on === 'watchlist')).toEqual([]);
  });

  test('[SC1] [RE9] [RE12] subscribers and the backend are told how many there are', async () => {
    const channel = fresh('room');
    const [first, second] = [await connect(), await connect()];
    const counts = (client: Client, count: number) => client.toldAll(count, 'pusher:subscription_count', channel);
    const count = (subscription_count: number) => ({ data: { subscription_count } });
    await first.join(channel);
    expect(await counts(first, 1)).toMatchObject([count(1)]);
    await second.join(channel);
    expect(await counts(first, 1)).toMatchObject([count(2)]);
    const answer = await backend.pusher.trigger(channel, 'order', 1, { info: 'subscription_count' });
    expect(await answer.json()).toEqual({ channels: { [channel]: { subscription_count: 2 } } });
    await second.close();
    expect(await counts(first, 1)).toMatchObject([count(1)]);
    expect(await first.do((pusher, name) => pusher.channel(name).subscriptionCount, channel)).toBe(1);
    const state = await backend.pusher.get({ path: `/channels/${channel}`, params: { info: 'subscription_count' } });
    expect(await state.json()).toEqual({ occupied: true, subscription_count: 1 });
  });

  test('[RE11] [RE13] the backend reads which channels are occupied, and by which users', async () => {
    const prefix = fresh('presence-list');
    for (const user of ['ada', 'bob', 'ada']) {
      const client = await connect({ user });
      await client.join(`${prefix}-all`);
      if (user === 'bob') await client.join(`${prefix}-bob`);
    }
    const params = { filter_by_prefix: prefix, info: 'user_count' };
    expect(await (await backend.pusher.get({ path: '/channels', params })).json()).toEqual({
      channels: { [`${prefix}-all`]: { user_count: 2 }, [`${prefix}-bob`]: { user_count: 1 } },
    });
    expect(await (await backend.pusher.get({ path: `/channels/${prefix}-all/users` })).json()).toEqual({
      users: [{ id: 'ada' }, { id: 'bob' }],
    });
  });

  test('[HS5] a wrong key is told to the error handler, and is not tried again', async () => {
    const client = await place.open({ key: 'nobodys-key' });
    expect((await client.told('error')).data).toMatchObject({
      code: 4001,
      message: expect.stringContaining('nobodys-key'),
    });
    expect((await client.told('state')).data).toBe('disconnected');
    expect(client.log).toEqual([]);
  });

  test('[SU9] [RE19] a thousand events arrive in the order in which they were triggered, each once', async () => {
    const client = await connect();
    const channel = fresh('room');
    await client.join(channel);
    const { pusher } = backend;
    for (let from = 0; from < 1_000; from += 20) {
      await pusher.triggerBatch(
        Array.from({ length: 10 }, (_, index) => ({ channel, name: 'order', data: from + index })),
      );
      for (let number = from + 10; number < from + 20; number++) await pusher.trigger(channel, 'order', number);
    }
    const numbers = (await client.toldAll(1_000, 'order', channel)).map(({ data }) => data);
    expect(numbers).toEqual(Array.from({ length: 1_000 }, (_, index) => index));
    await pusher.trigger(channel, 'end', {});
    await client.told('end', channel);
    expect(client.log.filter(({ event }) => event === 'order')).toEqual([]);
  });
});
