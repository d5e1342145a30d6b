import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { app, Cluster, eventually, type Node } from './cluster.ts';

let cluster: Cluster;
let edges: [Node, Node];
let apis: [Node, Node];
beforeAll(async () => {
  cluster = await Cluster.open();
  const [e1, e2, a1, a2] = await cluster.startAll(['edge', 'edge', 'api', 'api']);
  edges = [e1!, e2!];
  apis = [a1!, a2!];
});
afterAll(async () => {
  const defects = cluster?.defects();
  await cluster?.close();
  expect(defects).toEqual([]);
});

/** Both APIs must give the same answer, and that. */
async function expectOfBoth(path: string, body: unknown): Promise<void> {
  for (const api of apis) expect((await cluster.request(api, 'GET', path)).body).toEqual(body);
}

describe('one truth over two edges and two APIs', () => {
  test('[PR1] [PR2] [PR3] tells of a user once, however many connections on however many edges', async () => {
    const channel = 'presence-room';
    const watcher = await cluster.member(edges[0], channel, 'watcher');
    const adas = [await cluster.member(edges[0], channel, 'ada'), await cluster.member(edges[1], channel, 'ada')];
    const bob = await cluster.member(edges[1], channel, 'bob');
    expect(bob.usersOf(channel)).toEqual(['ada', 'bob', 'watcher']);
    await expectOfBoth(`/channels/${channel}?info=user_count,subscription_count`, {
      occupied: true,
      user_count: 3,
      subscription_count: 4,
    });
    await expectOfBoth(`/channels/${channel}/users`, { users: [{ id: 'watcher' }, { id: 'ada' }, { id: 'bob' }] });

    adas[0]?.close();
    await eventually('one of four connections has left', 5_000, async () => {
      const { body } = await cluster.request(apis[1], 'GET', `/channels/${channel}?info=subscription_count`);
      return body['subscription_count'] === 3 || JSON.stringify(body);
    });
    expect(await cluster.usersOf(apis[0], channel)).toEqual(['ada', 'bob', 'watcher']);
    adas[1]?.close();
    await watcher.until('ada has gone', () => watcher.changesOf(channel).includes('-ada'));
    bob.close();
    await watcher.until('bob has gone', () => watcher.changesOf(channel).includes('-bob'));
    expect(watcher.changesOf(channel)).toEqual(['+ada', '+bob', '-ada', '-bob']);
    await expectOfBoth(`/channels/${channel}/users`, { users: [{ id: 'watcher' }] });
    for (const connection of [watcher, bob, ...adas]) expect(connection.faults).toEqual([]);
  });

  test('[RE11] [RE12] lists a channel while anyone is in it anywhere', async () => {
    await expectOfBoth('/channels?filter_by_prefix=shop-', { channels: {} });
    const [first, second] = [await cluster.member(edges[0], 'shop-1'), await cluster.member(edges[1], 'shop-1')];
    await second.join('shop-2');
    await expectOfBoth('/channels?filter_by_prefix=shop-', { channels: { 'shop-1': {}, 'shop-2': {} } });
    first.close();
    second.close();
    await eventually('the channels are vacated', 5_000, async () => {
      const left = await cluster.channels(apis[0], 'shop-');
      return left.length === 0 || String(left);
    });
    await expectOfBoth('/channels/shop-1', { occupied: false });
  });

  test('[RE7] [RE9] reaches every edge but the excluded connection, and counts over all of them', async () => {
    const spared = await cluster.member(edges[0], 'orders');
    const others = [await cluster.member(edges[0], 'orders'), await cluster.member(edges[1], 'orders')];
    for (const [index, api] of apis.entries()) {
      const { status, body } = await cluster.request(api, 'POST', '/events', {
        name: 'placed',
        channels: ['orders', 'presence-none'],
        data: String(index),
        socket_id: spared.socketId,
        info: 'subscription_count,user_count',
      });
      expect(status).toBe(200);
      expect(body).toEqual({
        channels: { orders: { subscription_count: 3 }, 'presence-none': { subscription_count: 0, user_count: 0 } },
      });
    }
    await cluster.publish(apis[0], 'orders', 'last', null);
    for (const connection of [spared, ...others]) await connection.hears('last', 'orders');
    expect(spared.all('placed', 'orders')).toEqual([]);
    for (const connection of others) expect(connection.all('placed', 'orders')).toEqual([0, 1]);
  });

  test('[RE19] keeps the order of requests answered by either API', async () => {
    const listeners = [await cluster.member(edges[0], 'ordered'), await cluster.member(edges[1], 'ordered')];
    const numbers = Array.from({ length: 60 }, (_, index) => index);
    for (const number of numbers) await cluster.publish(apis[number % 2]!, 'ordered', 'n', number);
    for (const listener of listeners) {
      await listener.until('all have come', () => listener.all('n', 'ordered').length === numbers.length);
      expect(listener.all('n', 'ordered')).toEqual(numbers);
    }
  });

  test('[US4] ends the connections of a user on every edge, and none of a mere member', async () => {
    const signedIn = await Promise.all(edges.map((edge) => cluster.connect(edge)));
    for (const connection of signedIn) await connection.signin('eve');
    const member = await cluster.member(edges[1], 'presence-room-2', 'eve');
    const answer = await cluster.request(apis[1], 'POST', '/users/eve/terminate_connections', {});
    expect(answer).toMatchObject({ status: 200, body: {} });
    for (const connection of signedIn) expect(await connection.closes()).toBe(4009);
    await member.catchUp();
    expect(member.isClosed).toBe(false);
  });

  test('[US6] [US7] tells watchers on one edge of users on another, once', async () => {
    const watcher = await cluster.connect(edges[0]);
    const early = await cluster.connect(edges[1]);
    await early.signin('early');
    await watcher.signin('watcher', ['late', 'early']);
    const heard = () => watcher.all('pusher_internal:watchlist_events').flatMap((data) => (data as Watched).events);
    await watcher.hears('pusher_internal:watchlist_events');
    expect(heard()).toEqual([
      { name: 'online', user_ids: ['early'] },
      { name: 'offline', user_ids: ['late'] },
    ]);
    const late = [await cluster.connect(edges[1]), await cluster.connect(edges[0])];
    for (const connection of late) await connection.signin('late');
    for (const connection of late) connection.close();
    await watcher.until('late is offline', () => heard().length >= 4);
    await watcher.catchUp();
    expect(heard().slice(2)).toEqual([
      { name: 'online', user_ids: ['late'] },
      { name: 'offline', user_ids: ['late'] },
    ]);
  });

  test('[SU11] reaches a user by the user channel on every edge', async () => {
    const connections = await Promise.all(edges.map((edge) => cluster.connect(edge)));
    for (const connection of connections) {
      await connection.signin('dan');
      await connection.join('#server-to-user-dan');
    }
    await cluster.publish(apis[0], '#server-to-user-dan', 'mail', 'hello');
    for (const connection of connections) await connection.hears('mail', '#server-to-user-dan');
    expect((await cluster.channels(apis[1])).filter((name) => name.startsWith('#'))).toEqual([]);
  });

  test('[CA1] [CA2] keeps the last event of a cache channel for newcomers on every edge', async () => {
    for (const [index, api] of apis.entries()) await cluster.publish(api, 'cache-price', 'price', index);
    for (const edge of edges) {
      const newcomer = await cluster.member(edge, 'cache-price');
      expect((await newcomer.hears('price', 'cache-price')).data).toBe(1);
    }
    for (const api of apis) {
      const { body } = await cluster.request(api, 'GET', '/channels/cache-price?info=cache');
      expect(body['cache']).toMatchObject({ data: '1' });
    }
    const other = await cluster.member(edges[0], 'cache-empty');
    await other.hears('pusher:cache_miss', 'cache-empty');
  });

  test('[CE2] [CE3] relays client events to the other edges, with the user, and not to the sender', async () => {
    const channel = 'presence-talk';
    const sender = await cluster.member(edges[0], channel, 'sender');
    const listeners = [await cluster.member(edges[0], channel, 'near'), await cluster.member(edges[1], channel, 'far')];
    sender.say('client-typing', { on: true }, channel);
    for (const listener of listeners) {
      expect(await listener.hears('client-typing', channel)).toMatchObject({ data: { on: true }, userId: 'sender' });
    }
    await sender.catchUp();
    expect(sender.all('client-typing', channel)).toEqual([]);
  });

  test('[SC1] sends every subscriber the count over all edges', async () => {
    const first = await cluster.member(edges[0], 'counted');
    const second = await cluster.member(edges[1], 'counted');
    const counts = () =>
      first.all('pusher_internal:subscription_count', 'counted').map((data) => (data as Counted).subscription_count);
    await first.until('two are counted', () => counts().at(-1) === 2);
    second.close();
    await first.until('one is counted', () => counts().at(-1) === 1);
    expect(counts()).toEqual([1, 2, 1]);
  });

  test('[OP1] [OP2] every program answers for itself', async () => {
    for (const node of [...edges, ...apis]) {
      expect((await fetch(`${node.url}/healthz`)).status).toBe(200);
      const ready = await fetch(`${node.url}/readyz`);
      expect(await ready.json()).toEqual({ status: 'ready', checks: { broker: 'ok', presence: 'ok', apps: 'ok' } });
      expect(await cluster.metric(node, 'starling_redis_up')).toBe(1);
      expect(await cluster.metric(node, 'starling_redis_gaps_total')).toBe(0);
    }
    // Each serves its own part and no other.
    expect((await fetch(`${edges[0].url}/apps/${app.id}/channels`)).status).toBe(404);
    expect((await fetch(`${apis[0].url}/app/${app.key}`)).status).toBe(404);
  });
});

interface Watched {
  readonly events: { readonly name: string; readonly user_ids: string[] }[];
}

interface Counted {
  readonly subscription_count: number;
}
