import { afterAll, beforeAll, expect, test } from 'vitest';
import { RedisServer, type Sentinels, startSentinels } from '../../testing/redis-server.ts';
import { Cluster, eventually, type Node } from './cluster.ts';

/** Two seconds until the sentinels are of one mind, a few until the replica serves. */
const failoverLimitMs = 15_000;
/** What is ours comes on top: a second for a sentinel that hangs, one between two attempts, for commands and for the feed. */
const backLimitMs = 10_000;

let first: RedisServer;
let second: RedisServer;
let sentinels: Sentinels;
let cluster: Cluster;
let nodes: [Node, Node, Node];
beforeAll(async () => {
  first = await RedisServer.start();
  second = await RedisServer.start('--replicaof', '127.0.0.1', String(first.port));
  // Whom the sentinels have met before that they take for unfit for a while.
  await eventually('it is a replica', failoverLimitMs, async () => {
    const role = await second.do((client) => client.role());
    return role[3] === 'connected' || String(role);
  });
  sentinels = await startSentinels(first, 1);
  // Who the sentinels name is reached straight: they know nothing of proxies.
  cluster = await Cluster.open({ redis: first, port: first.port, urlOf: () => sentinels.url });
  nodes = (await cluster.startAll(['edge', 'edge', 'api'])) as [Node, Node, Node];
});
afterAll(async () => {
  const defects = cluster?.defects();
  await cluster?.close();
  await sentinels?.remove();
  await second?.remove();
  expect(defects).toEqual([]);
});

async function becomes(server: RedisServer, role: 'master' | 'slave'): Promise<void> {
  await eventually(`it is a ${role}`, failoverLimitMs, async () => {
    const now = await server.do(async (client) => String((await client.role())[0]));
    return now === role || now;
  });
}

async function allReady(expected: boolean, limitMs: number): Promise<void> {
  await Promise.all(nodes.map((node) => cluster.isReady(node, expected, limitMs)));
}

test('[OP1] a change of the primary that was ordered is followed, and clients notice no more than a pause', async () => {
  const [one, two, api] = nodes;
  const ada = await cluster.member(one, 'presence-yard', 'ada');
  const bob = await cluster.member(two, 'presence-yard', 'bob');
  await ada.until('bob is there', () => ada.usersOf('presence-yard').length === 2);
  const gaps = await cluster.metric(one, 'starling_redis_gaps_total');
  await sentinels.failover();
  await becomes(second, 'master');
  await sentinels.agreeOn(second);
  await eventually('subscribed to the other', failoverLimitMs, async () => {
    const now = await cluster.metric(one, 'starling_redis_gaps_total');
    return now > gaps || `${now} gaps`;
  });
  await allReady(true, backLimitMs);
  expect(await cluster.publish(api, 'presence-yard', 'after', 1)).toMatchObject({ status: 200 });
  for (const member of [ada, bob]) {
    expect((await member.hears('after', 'presence-yard')).data).toBe(1);
    expect(member.usersOf('presence-yard')).toEqual(['ada', 'bob']);
    expect(member.faults).toEqual([]);
  }
});

test('[OP1] [PR8] [SU9] a primary that dies is replaced by its replica, even with a sentinel that hangs', async () => {
  const [one, two, api] = nodes;
  const ada = await cluster.member(one, 'presence-hall', 'ada');
  const bob = await cluster.member(two, 'presence-hall', 'bob');
  await ada.until('bob is there', () => ada.usersOf('presence-hall').length === 2);
  await bob.join('cache-last');
  expect(await cluster.publish(api, 'cache-last', 'kept', 'before')).toMatchObject({ status: 200 });
  // What the replica has not got yet is lost with the primary.
  const replicaCount = await second.do(async (client) => {
    await client.set('last', 'written');
    return client.wait(1, failoverLimitMs);
  });
  expect(replicaCount).toBe(1);

  sentinels.hang();
  await second.stop();
  await allReady(false, backLimitMs);
  expect(await cluster.publish(api, 'presence-hall', 'refused', 1)).toMatchObject({ status: 503 });
  await becomes(first, 'master');
  await sentinels.agreeOn(first);
  await allReady(true, backLimitMs);

  for (let count = 1; count <= 3; count++) {
    expect(await cluster.publish(api, 'presence-hall', 'after', count)).toMatchObject({ status: 200 });
  }
  for (const member of [ada, bob]) {
    await member.until('three events', () => member.all('after', 'presence-hall').length === 3);
    expect(member.all('after', 'presence-hall')).toEqual([1, 2, 3]);
    expect(member.usersOf('presence-hall')).toEqual(['ada', 'bob']);
    expect(member.faults).toEqual([]);
    expect(member.isClosed).toBe(false);
  }
  expect(ada.changesOf('presence-hall')).toEqual(['+bob']);
  expect(await cluster.usersOf(api, 'presence-hall')).toEqual(['ada', 'bob']);
  const cay = await cluster.member(one, 'cache-last');
  expect((await cay.hears('kept', 'cache-last')).data).toBe('before');
  bob.close();
  await ada.until('bob is gone', () => ada.usersOf('presence-hall').length === 1);

  // The one that died comes back as if it were still the primary, until the sentinels tell it otherwise.
  await second.start();
  await becomes(second, 'slave');
  await allReady(true, backLimitMs);
  expect(await cluster.publish(api, 'presence-hall', 'after', 4)).toMatchObject({ status: 200 });
  await ada.until('the fourth', () => ada.all('after', 'presence-hall').length === 4);
  expect(await cluster.usersOf(api, 'presence-hall')).toEqual(['ada']);
});
