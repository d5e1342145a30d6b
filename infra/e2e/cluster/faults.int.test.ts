import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { RedisServer } from '../../testing/redis-server.ts';
import { Cluster, eventually, type Node } from './cluster.ts';
import type { Connection } from './connection.ts';

/** Promises: how soon a program says that it lost its Redis, and is whole again after its return. */
const noticedLimitMs = 4_000;
const backLimitMs = 5_000;

let cluster: Cluster;
let edges: [Node, Node];
let api: Node;
let nodes: Node[];
beforeAll(async () => {
  cluster = await Cluster.open();
  nodes = await cluster.startAll(['edge', 'edge', 'api']);
  edges = [nodes[0]!, nodes[1]!];
  api = nodes[2]!;
});
afterEach(async () => {
  for (const { proxy } of nodes) proxy.mend();
  await Promise.all(nodes.map((node) => cluster.isReady(node, true, 30_000)));
});
afterAll(async () => {
  const defects = cluster?.defects();
  await cluster?.close();
  expect(defects).toEqual([]);
});

/** Ada and bob, each on an edge, in a presence channel, a plain one and a private one. */
async function twoMembers(name: string): Promise<[Connection, Connection]> {
  const pair: Connection[] = [];
  for (const [index, user] of ['ada', 'bob'].entries()) {
    const connection = await cluster.member(edges[index]!, `presence-${name}`, user);
    await connection.join(name);
    await connection.join(`private-${name}`);
    pair.push(connection);
  }
  const [ada, bob] = pair as [Connection, Connection];
  await ada.until('bob is there', () => ada.usersOf(`presence-${name}`).length === 2);
  return [ada, bob];
}

async function expectRefused(name: string, pair: readonly Connection[]): Promise<void> {
  const channels = [name, `presence-${name}`, `private-${name}`];
  const answer = await cluster.publish(api, channels, 'refused', 1);
  expect(answer.status).toBe(503);
  expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
  expect(answer.body).toMatchObject({ code: 'unavailable' });
  for (const connection of pair) {
    connection.subscribe(`${name}-late`);
    const refusal = await connection.hears('pusher:subscription_error', `${name}-late`);
    expect(refusal.data).toMatchObject({ status: 503, type: 'ServerError' });
    expect(connection.isClosed).toBe(false);
  }
}

/** Published, and heard by both once, on channels they had joined before the fault; and nothing of what was refused. */
async function expectWhole(name: string, pair: readonly Connection[]): Promise<void> {
  const channels = [name, `presence-${name}`, `private-${name}`];
  expect(await cluster.publish(api, channels, 'whole', 2)).toMatchObject({ status: 200 });
  for (const connection of pair) {
    for (const channel of channels) {
      await connection.hears('whole', channel);
      expect(connection.all('whole', channel)).toEqual([2]);
      expect(connection.all('refused', channel)).toEqual([]);
    }
    expect(connection.isClosed).toBe(false);
    expect(connection.usersOf(`presence-${name}`)).toEqual(['ada', 'bob']);
    expect(connection.faults).toEqual([]);
    await connection.join(`${name}-later`);
  }
  expect(await cluster.usersOf(api, `presence-${name}`)).toEqual(['ada', 'bob']);
  const { body } = await cluster.request(api, 'GET', `/channels/${name}?info=subscription_count`);
  expect(body).toEqual({ occupied: true, subscription_count: pair.length });
}

async function allReady(expected: boolean, limitMs: number): Promise<void> {
  await Promise.all(nodes.map((node) => cluster.isReady(node, expected, limitMs)));
}

describe('Redis gone', () => {
  test('[PR3] [CL7] a connection that ends meanwhile is gone for everyone once Redis is back, and told once', async () => {
    const [ada, bob] = await twoMembers('ended');
    await cluster.redis.stop();
    await allReady(false, noticedLimitMs);
    ada.close();
    await ada.closes();
    await cluster.redis.start();
    await bob.until('ada is gone', () => bob.usersOf('presence-ended').length === 1, 2 * backLimitMs);
    await allReady(true, backLimitMs);
    expect(await cluster.usersOf(api, 'presence-ended')).toEqual(['bob']);
    await bob.catchUp();
    // By an event, or by the list that bob's edge gave after the gap.
    expect([[], ['-ada']]).toContainEqual(bob.changesOf('presence-ended'));
    expect(bob.faults).toEqual([]);
    bob.close();
  });

  test('[PR2] [PR8] a node that comes back long after the others brings its members back for all', async () => {
    const [ada, bob] = await twoMembers('late');
    edges[0].proxy.refuse();
    await cluster.redis.stop();
    await cluster.redis.start();
    await cluster.isReady(edges[1], true, backLimitMs);
    // The others have told their clients who is left.
    await bob.until('ada is gone', () => bob.usersOf('presence-late').length === 1, 2 * backLimitMs);
    edges[0].proxy.mend();
    await cluster.isReady(edges[0], true, backLimitMs);
    await bob.until('ada is back', () => bob.usersOf('presence-late').length === 2, backLimitMs);
    await expectWhole('late', [ada, bob]);
    for (const connection of [ada, bob]) connection.close();
  });

  // The one with data is last: what it saves would be there after later restarts, too.
  test.each([
    ['and back with nothing', { save: false }],
    ['and back with what it had', { save: true }],
  ])('[OP1] connections stay, nothing is half done, all is back in 5 s: %s', async (_title, how) => {
    const name = how.save ? 'saved' : 'emptied';
    const [ada, bob] = await twoMembers(name);
    const before = ada.changesOf(`presence-${name}`).length;
    await cluster.redis.stop(how);
    await allReady(false, noticedLimitMs);
    for (const node of nodes) {
      expect((await fetch(`${node.url}/healthz`)).status).toBe(200);
      expect(await cluster.metric(node, 'starling_redis_up')).toBe(0);
    }
    await expectRefused(name, [ada, bob]);

    await cluster.redis.start();
    await allReady(true, backLimitMs);
    await expectWhole(name, [ada, bob]);
    // Nobody came and nobody went: there is nothing to be told.
    expect(ada.changesOf(`presence-${name}`)).toHaveLength(before);
    expect(await cluster.metric(edges[0], 'starling_redis_gaps_total')).toBeGreaterThanOrEqual(1);
    ada.close();
    await bob.until('ada is gone', () => bob.usersOf(`presence-${name}`).length === 1);
    expect(await cluster.usersOf(api, `presence-${name}`)).toEqual(['bob']);
    bob.close();
    await eventually('nothing is left', 5_000, async () => {
      const names = await cluster.channels(api);
      return names.length === 0 || String(names);
    });
  });

  test('[OP4] a program that cannot reach it does not start, and says why', async () => {
    const lonely = await RedisServer.start();
    await lonely.stop();
    await expect(cluster.start('edge', { REDIS_URL: lonely.url })).rejects.toThrow(
      /ended \(1\)[\s\S]*the Redis of REDIS_URL cannot be used/,
    );
    await expect(cluster.start('api', { REDIS_URL: 'http://127.0.0.1' })).rejects.toThrow(
      /ended \(1\)[\s\S]*Cannot start: REDIS_URL: [\s\S]*Accepted are/,
    );
    await lonely.remove();
  });
});

describe('Redis silent for ten seconds', () => {
  test('[OP1] publishes are refused soon, connections stay, and all is whole again', async () => {
    const [ada, bob] = await twoMembers('paused');
    await cluster.redis.do((client) => client.call('CLIENT', 'PAUSE', 10_000, 'ALL'));
    const begin = performance.now();
    await allReady(false, noticedLimitMs);
    const answer = await cluster.publish(api, 'paused', 'refused', 1);
    expect(answer.status).toBe(503);
    // Well before a backend would lose its patience.
    expect(performance.now() - begin).toBeLessThan(8_000);
    await allReady(true, 10_000 + backLimitMs);
    await expectWhole('paused', [ada, bob]);
    for (const connection of [ada, bob]) connection.close();
  });
});

describe('Redis that may only be read', () => {
  test('[OP1] is not ready and refuses publishes, until it may be written again', async () => {
    const [ada, bob] = await twoMembers('readonly');
    const primary = await RedisServer.start();
    try {
      // With what the primary has, which is nothing.
      await cluster.redis.do((client) => client.replicaof('127.0.0.1', primary.port));
      await allReady(false, noticedLimitMs);
      await expectRefused('readonly', [ada, bob]);
      await cluster.redis.do((client) => client.replicaof('NO', 'ONE'));
      await allReady(true, backLimitMs);
      await expectWhole('readonly', [ada, bob]);
      for (const connection of [ada, bob]) connection.close();
    } finally {
      await primary.remove();
    }
  });
});

describe('one edge cut off from Redis', () => {
  test('[OP1] [PR8] says so, comes back by itself, and shows its clients who came and went meanwhile', async () => {
    const [ada, bob] = await twoMembers('cut');
    edges[0].proxy.refuse();
    await cluster.isReady(edges[0], false, noticedLimitMs);
    expect((await fetch(`${edges[1].url}/readyz`)).status).toBe(200);
    // Those of the other edge hear of both.
    const cay = await cluster.member(edges[1], 'presence-cut', 'cay');
    await bob.until('cay is there', () => bob.usersOf('presence-cut').includes('cay'));
    const dan = await cluster.member(edges[1], 'presence-cut', 'dan');
    cay.close();
    await bob.until('cay is gone', () => !bob.usersOf('presence-cut').includes('cay'));
    expect(ada.usersOf('presence-cut')).toEqual(['ada', 'bob']);

    edges[0].proxy.mend();
    await cluster.isReady(edges[0], true, backLimitMs);
    await ada.until('ada sees dan', () => String(ada.usersOf('presence-cut')) === 'ada,bob,dan', backLimitMs);
    dan.close();
    await ada.until('ada sees him go', () => String(ada.usersOf('presence-cut')) === 'ada,bob');
    await expectWhole('cut', [ada, bob]);
    for (const connection of [ada, bob]) connection.close();
  });

  test('[PR2] [PR3] for longer than its lease: its members are gone for others, and come back with it', async () => {
    const [ada, bob] = await twoMembers('silent');
    edges[0].proxy.silence();
    await bob.until('ada is gone', () => bob.usersOf('presence-silent').length === 1, 10_000);
    expect(await cluster.usersOf(api, 'presence-silent')).toEqual(['bob']);
    expect(ada.isClosed).toBe(false);
    edges[0].proxy.mend();
    await bob.until('ada is back', () => bob.usersOf('presence-silent').length === 2, backLimitMs + 2_000);
    await cluster.isReady(edges[0], true, backLimitMs);
    expect(bob.changesOf('presence-silent')).toEqual(['-ada', '+ada']);
    await ada.until('ada sees both', () => ada.usersOf('presence-silent').length === 2);
    await expectWhole('silent', [ada, bob]);
    for (const connection of [ada, bob]) connection.close();
  });

  test('[SU9] again and again: each time subscribed to everything as soon as it is ready', async () => {
    const [ada, bob] = await twoMembers('flapping');
    for (let round = 1; round <= 5; round++) {
      const before = await cluster.metric(edges[0], 'starling_redis_gaps_total');
      edges[0].proxy.cut();
      await eventually('subscribed again', backLimitMs, async () => {
        const gaps = await cluster.metric(edges[0], 'starling_redis_gaps_total');
        return gaps > before || `${gaps} gaps`;
      });
      await cluster.isReady(edges[0], true, backLimitMs);
      expect(await cluster.publish(api, 'flapping', 'round', round)).toMatchObject({ status: 200 });
      await ada.until(`round ${round}`, () => ada.all('round', 'flapping').at(-1) === round);
    }
    await bob.until('the last round', () => bob.all('round', 'flapping').at(-1) === 5);
    expect(bob.all('round', 'flapping')).toEqual([1, 2, 3, 4, 5]);
    await expectWhole('flapping', [ada, bob]);
    for (const connection of [ada, bob]) connection.close();
  });
});
