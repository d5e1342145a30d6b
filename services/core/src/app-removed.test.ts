import { channelTopic, type Topic } from '@starling/ports';
import { expect, it } from 'vitest';
import { publish } from './publish.ts';
import { UsageMeter } from './usage.ts';
import { createWorld, testApp } from './world.test-kit.ts';

it('[LI7] of a removed app nothing is left: connections, counters, budgets, retained events, message ids, memberships', async () => {
  const linked = new Set<Topic>();
  const world = createWorld({
    app: { hasSubscriptionCounts: true, limits: { ...testApp.limits, connections: 4, connectionsPerAddress: 3 } },
    wrapBroker: (broker) => {
      const [subscribe, unsubscribe] = [broker.subscribe.bind(broker), broker.unsubscribe.bind(broker)];
      broker.subscribe = (topic) => {
        linked.add(topic);
        return subscribe(topic);
      };
      broker.unsubscribe = (topic) => {
        linked.delete(topic);
        return unsubscribe(topic);
      };
      return broker;
    },
  });
  const { appStore, broker, presenceStore, rateLimiter, traffic, clock, settle } = world;
  const usage = new UsageMeter(traffic);
  const deps = { broker, rateLimiter, traffic, observer: { notes: false, note: () => {} }, clock: world.clock };
  const cache = channelTopic('1001', 'cache-news');
  const news = {
    event: 'e',
    channel: { name: 'cache-news', kind: 'public', isCache: true, isEncrypted: false } as const,
    data: 'x',
    idempotencyKey: 'once',
  };
  const isSentOnce = async (): Promise<boolean> => {
    let count = 0;
    const [send] = [broker.publish.bind(broker)];
    await broker.subscribe(cache);
    broker.publish = async (...given) => {
      count++;
      return send(...given);
    };
    await publish(deps, world.app, [news]);
    broker.publish = send;
    return count === 1;
  };

  const open = async () => [
    await world.connect(),
    await world.connect(),
    await world.connectWith({ sub: 'ada', cap: { '*': ['publish'] } }),
    await world.connect({ address: '192.0.2.2' }),
  ];
  const peers = await open();
  expect((await world.connect()).closedWith?.code).toBe(4004);
  for (const [index, peer] of peers.entries()) {
    await world.subscribe(peer, 'cache-news');
    await world.subscribe(peer, 'presence-room', { user_id: `u${index % 2}` });
  }
  await world.signin(peers[0]!, { id: 'bob', watchlist: ['ada'] });
  expect(await isSentOnce()).toBe(true);
  expect(await broker.retained(cache)).toBeDefined();
  expect(usage.read(clock.now())).toHaveLength(1);
  expect(rateLimiter.size).toBe(1);
  expect(linked.size).toBeGreaterThan(3);

  appStore.remove('1001');
  await settle();
  for (const peer of peers) expect(peer.closedWith?.code).toBe(4001);
  expect(world.sessions.size).toBe(0);
  expect([...traffic.byApp().keys()]).toEqual([]);
  expect(usage.read(clock.now())).toEqual([]);
  expect(rateLimiter.size).toBe(0);
  expect(await broker.retained(cache)).toBeUndefined();
  expect(await presenceStore.channels('1001', '')).toEqual(new Map());
  const topics = ['cache-news', 'presence-room', '~user:ada', '~user:bob', '~watch:ada'];
  for (const { connectionCount, userCount } of await presenceStore.occupancies(
    topics.map((name) => channelTopic('1001', name)),
  )) {
    expect({ connectionCount, userCount }).toEqual({ connectionCount: 0, userCount: 0 });
  }
  for (let step = 0; step < 3; step++) {
    clock.advance(1_000);
    await settle();
  }
  expect([...linked].filter((topic) => topic !== cache)).toEqual([]);

  // Made again, it begins with whole budgets: as many connections as before, and an id that was never used.
  appStore.put(world.app);
  for (const peer of await open()) expect(peer.closedWith).toBeNull();
  expect(traffic.of('1001').connectionsOpened).toBe(4);
  const listener = await world.connect({ address: '192.0.2.2' });
  expect(listener.closedWith?.code).toBe(4004);
  await publish(deps, world.app, [news]);
  expect(await broker.retained(cache)).toBeDefined();
  expect(world.problems).toEqual([]);
});

it('[LI7] a publish that is under way when the app goes brings its counters not back', async () => {
  const world = createWorld();
  const { broker, rateLimiter, traffic } = world;
  const deps = { broker, rateLimiter, traffic, observer: { notes: false, note: () => {} }, clock: world.clock };
  const channel = { name: 'room', kind: 'public', isCache: false, isEncrypted: false } as const;
  const published = publish(deps, world.app, [{ event: 'e', channel, data: '' }]);
  world.appStore.remove('1001');
  expect((await published).ok).toBe(true);
  expect(traffic.byApp().size).toBe(0);
});

it('[LI7] strangers leave nothing behind: neither keys that nobody has, nor addresses that came and went', async () => {
  const world = createWorld({ app: { limits: { ...testApp.limits, connectionsPerAddress: 1 } } });
  for (let number = 0; number < 300; number++) {
    expect((await world.connect({ key: `stranger-${number}` })).closedWith?.code).toBe(4001);
    const address = `192.0.2.${number}`;
    (await world.connect({ address })).session.ended();
    expect((await world.connect({ address })).closedWith).toBeNull();
  }
  expect([...world.traffic.byApp().keys()]).toEqual(['1001']);
  expect(world.traffic.unknownApp.refusals.size).toBe(1);
  expect(world.sessions.size).toBe(300);
  expect(world.rateLimiter.size).toBe(0);
});
