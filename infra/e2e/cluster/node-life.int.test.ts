import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cluster, eventually, type Node } from './cluster.ts';
import type { Connection } from './connection.ts';

/** What is promised of a node that dies: all that was its is gone by then. */
const goneLimitMs = 10_000;

let cluster: Cluster;
let survivor: Node;
let api: Node;
beforeAll(async () => {
  cluster = await Cluster.open();
  const [one, two] = await cluster.startAll(['edge', 'api']);
  [survivor, api] = [one!, two!];
});
afterAll(async () => {
  const defects = cluster?.defects();
  await cluster?.close();
  expect(defects).toEqual([]);
});

function counted(connection: Connection, channel: string): unknown {
  const [last] = connection.all('pusher_internal:subscription_count', channel).slice(-1);
  return (last as { subscription_count: number } | undefined)?.subscription_count;
}

async function leaseCount(): Promise<number> {
  return cluster.redis.do((client) => client.zcard('starling:{nodes}:leases'));
}

describe('an edge that is killed', () => {
  test('[PR3] [SC1] [US7] [RE12] takes its members, counts and users along within 10 s, each told once', async () => {
    const doomed = await cluster.start('edge');
    const watcher = await cluster.member(survivor, 'presence-hall', 'watcher');
    await watcher.join('hall');
    await watcher.signin('watcher', ['ada', 'eve']);
    const ada = await cluster.member(doomed, 'presence-hall', 'ada');
    await ada.signin('ada');
    // The same user twice on the edge that dies: one removal. Another has a connection elsewhere: none.
    for (const user of ['bob', 'bob', 'eve']) await cluster.member(doomed, 'presence-hall', user);
    const eve = await cluster.member(survivor, 'presence-hall', 'eve');
    for (let count = 0; count < 3; count++) await cluster.member(doomed, 'hall');
    await cluster.member(doomed, 'only-there');
    await watcher.until('four are counted', () => counted(watcher, 'hall') === 4);

    const begin = performance.now();
    await cluster.kill(doomed);
    const left = () => goneLimitMs - (performance.now() - begin);
    await watcher.until(
      'ada and bob are gone',
      () => ['-ada', '-bob'].every((change) => watcher.changesOf('presence-hall').includes(change)),
      left(),
    );
    await watcher.until('one is counted', () => counted(watcher, 'hall') === 1, left());
    const offline = { events: [{ name: 'offline', user_ids: ['ada'] }] };
    await watcher.until(
      'ada is offline',
      () => watcher.all('pusher_internal:watchlist_events').some((data) => same(data, offline)),
      left(),
    );
    await eventually('the channel only it had is vacated', left(), async () => {
      const names = await cluster.channels(api);
      return !names.includes('only-there') || String(names);
    });
    expect(await cluster.usersOf(api, 'presence-hall')).toEqual(['eve', 'watcher']);
    // A publish to each goes behind everything before it.
    await cluster.publish(api, ['hall', 'presence-hall'], 'end', null);
    await watcher.hears('end', 'presence-hall');
    await watcher.hears('end', 'hall');
    expect(watcher.changesOf('presence-hall')).toEqual([
      '+ada',
      '+bob',
      '+eve',
      ...['-ada', '-bob'].sort(asHeard(watcher)),
    ]);
    expect(watcher.all('pusher_internal:watchlist_events').filter((data) => same(data, offline))).toHaveLength(1);
    for (const connection of [watcher, eve]) expect(connection.faults).toEqual([]);
  });

  test('[PR3] removes no member who came back elsewhere meanwhile', async () => {
    const doomed = await cluster.start('edge');
    const watcher = await cluster.member(survivor, 'presence-back', 'watcher');
    for (const user of ['ada', 'gone']) await cluster.member(doomed, 'presence-back', user);
    await cluster.kill(doomed);
    const ada = await cluster.member(survivor, 'presence-back', 'ada');
    await watcher.until('the other is gone', () => watcher.changesOf('presence-back').includes('-gone'), goneLimitMs);
    // Its memberships are all released when its lease is forgotten.
    await eventually('the node is forgotten', goneLimitMs, async () => {
      const keys = await cluster.redis.do((client) => client.keys('starling:*:tags:*'));
      return keys.length === (await leaseCount()) || String(keys);
    });
    await cluster.publish(api, 'presence-back', 'end', null);
    await watcher.hears('end', 'presence-back');
    expect(watcher.changesOf('presence-back')).toEqual(['+ada', '+gone', '-gone']);
    expect(await cluster.usersOf(api, 'presence-back')).toEqual(['ada', 'watcher']);
    for (const connection of [watcher, ada]) expect(connection.faults).toEqual([]);
  });

  test('[RE11] is cleared away when no other edge is left, too', async () => {
    const other = await Cluster.open();
    try {
      const [edge, lone] = (await other.startAll(['edge', 'api'])) as [Node, Node];
      await other.member(edge, 'presence-last', 'ada');
      expect(await other.usersOf(lone, 'presence-last')).toEqual(['ada']);
      await other.kill(edge);
      await eventually('nothing is occupied', goneLimitMs, async () => {
        const names = await other.channels(lone);
        return names.length === 0 || String(names);
      });
      expect(await other.usersOf(lone, 'presence-last')).toEqual([]);
    } finally {
      await other.close();
    }
  });
});

describe('an edge that stops for longer than its lease, and goes on', () => {
  test('[PR2] [PR3] [PR8] leaves no ghost and no double', async () => {
    const frozen = await cluster.start('edge');
    const channel = 'presence-frozen';
    const watcher = await cluster.member(survivor, channel, 'watcher');
    const [ada, bob] = [await cluster.member(frozen, channel, 'ada'), await cluster.member(frozen, channel, 'bob')];
    // Which of a user's connections is spared which announcement differs between going and coming back.
    const twins: Connection[] = [];
    for (let count = 0; count < 4; count++) twins.push(await cluster.member(frozen, channel, 'ada'));
    frozen.run.child.kill('SIGSTOP');
    const begin = performance.now();
    await watcher.until(
      'both are gone',
      () => watcher.usersOf(channel).length === 1,
      goneLimitMs - (performance.now() - begin),
    );
    expect(await cluster.usersOf(api, channel)).toEqual(['watcher']);
    // Left while nobody could hear it.
    bob.close();
    frozen.run.child.kill('SIGCONT');
    await watcher.until('ada is back', () => watcher.usersOf(channel).includes('ada'), goneLimitMs);
    await cluster.isReady(frozen, true, goneLimitMs);
    await eventually('all agree', goneLimitMs, async () => {
      const seen = [watcher, ada, ...twins].map((connection) => connection.usersOf(channel));
      const views = [await cluster.usersOf(api, channel), ...seen].map(String);
      return views.every((view) => view === 'ada,watcher') || views.join(' | ');
    });
    const { body } = await cluster.request(api, 'GET', `/channels/${channel}?info=subscription_count`);
    expect(body).toEqual({ occupied: true, subscription_count: 2 + twins.length });
    expect(watcher.faults).toEqual([]);
    // Its connection was open all the time, and serves again.
    await cluster.publish(api, channel, 'hello', 1);
    expect((await ada.hears('hello', channel)).data).toBe(1);
    expect(ada.all('hello', channel)).toEqual([1]);
  });
});

describe('an edge that is told to stop', () => {
  test('[CL5] [OP1] [OP6] is not ready, tells its clients to go to another, releases its memberships and its lease, and exits 0', async () => {
    const leases = await leaseCount();
    const leaving = await cluster.start('edge', { STARLING_DRAIN_SECONDS: '3' });
    expect(await leaseCount()).toBe(leases + 1);
    const watcher = await cluster.member(survivor, 'presence-drain', 'watcher');
    const users = Array.from({ length: 30 }, (_, index) => `user-${index}`);
    const peers: Connection[] = [];
    for (const user of users) peers.push(await cluster.member(leaving, 'presence-drain', user));
    await watcher.until('all are there', () => watcher.usersOf('presence-drain').length === 31);

    leaving.run.child.kill('SIGTERM');
    await leaving.run.said('"msg":"Stopping"');
    expect((await fetch(`${leaving.url}/readyz`)).status).toBe(503);
    for (const peer of peers) expect(await peer.closes()).toBe(4200);
    expect(await leaving.run.ended).toBe(0);

    // At once, not when a lease has ended.
    expect(await cluster.usersOf(api, 'presence-drain')).toEqual(['watcher']);
    expect(await leaseCount()).toBe(leases);
    await watcher.until('all are gone', () => watcher.usersOf('presence-drain').length === 1);
    expect(watcher.changesOf('presence-drain')).toHaveLength(60);
    expect(watcher.faults).toEqual([]);
  });
});

describe('whole programs over one Redis', () => {
  test('serve each other', async () => {
    const [one, two] = (await cluster.startAll(['start', 'start'])) as [Node, Node];
    const listener = await cluster.member(one, 'presence-whole', 'ada');
    await cluster.publish(two, 'presence-whole', 'hello', 1);
    expect((await listener.hears('hello', 'presence-whole')).data).toBe(1);
    expect(await cluster.usersOf(two, 'presence-whole')).toEqual(['ada']);
    one.run.child.kill('SIGTERM');
    expect(await listener.closes()).toBe(4200);
    expect(await one.run.ended).toBe(0);
    expect(await cluster.usersOf(two, 'presence-whole')).toEqual([]);
  });
});

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** In whichever order the two were told. */
function asHeard(watcher: Connection): (one: string, other: string) => number {
  const changes = watcher.changesOf('presence-hall');
  return (one, other) => changes.indexOf(one) - changes.indexOf(other);
}
