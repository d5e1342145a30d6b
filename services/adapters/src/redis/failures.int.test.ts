/** What happens to presence and messages when nodes and Redis fail, on a real server. */
import { channelTopic, type Topic, userTopic, watchTopic } from '@starling/ports';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RedisServer } from '../../../../infra/testing/redis-server.ts';
import {
  dying,
  Ear,
  eventually,
  freshPrefix,
  type NodeOptions,
  type OpenNode,
  openNode,
  StoppableClock,
  stoppedClock,
  stopping,
  watchful,
} from './redis.test-kit.ts';

const room = channelTopic('1', 'presence-room');
const plain = channelTopic('1', 'plain');

let server: RedisServer;
let prefix: string;
let opened: OpenNode[];

beforeEach(async () => {
  server = await RedisServer.start();
  prefix = freshPrefix();
  opened = [];
});
afterEach(async () => {
  await Promise.all(opened.map((node) => node.close()));
  await server.remove();
});

async function open(options: NodeOptions = {}): Promise<OpenNode> {
  const node = await openNode(server.url, prefix, options);
  opened.push(node);
  return node;
}

/** Dies without a word: its connections are gone, its lease is not renewed, nothing is released. */
function die(node: OpenNode): void {
  opened = opened.filter((other) => other !== node);
}

const text = (words: string) => Buffer.from(words);
const sit = (node: OpenNode, socketId: string, userId: string, topic = room) =>
  node.store.join({ topic, socketId, member: { userId, userInfo: `{"of":"${socketId}"}` } }, { announceTo: topic });
const rise = (node: OpenNode, socketId: string, topic = room) => node.store.leave({ topic, socketId });
const publish = (node: OpenNode, words: string, topic = room) =>
  node.broker.publish(topic, { kind: 'event', payload: text(words) });
const usersOf = async (node: OpenNode, topic = room) =>
  (await node.store.members(topic)).members.map(({ userId }) => userId);

const unavailable = expect.objectContaining({ code: 'unavailable', retryAfterSeconds: expect.any(Number) });

describe('a node that dies', () => {
  it('has its members removed once each by one of many others, and its counts', async () => {
    // Its lease outlasts the time in which a busy machine memberships them all.
    const dead = await open({ clock: stoppedClock(), timing: stopping });
    const others = [
      await open({ timing: watchful }),
      await open({ timing: watchful }),
      await open({ timing: watchful }),
    ];
    const [first] = others as [OpenNode, ...OpenNode[]];
    const repairs: Array<[Topic, number]> = [];
    for (const node of others) node.store.onRepair((topic, count) => repairs.push([topic, count]));
    const ear = await Ear.at(first, room);
    await Promise.all(Array.from({ length: 300 }, (_, index) => sit(dead, `1.${index}`, `user ${index % 150}`)));
    await sit(first, '2.1', 'user 7');
    await dead.store.join({ topic: plain, socketId: '1.1' });
    await first.store.join({ topic: plain, socketId: '2.1' });
    die(dead);
    await ear.until((texts) => texts.filter((each) => each.startsWith('-')).length === 149);
    await publish(first, 'end');
    await ear.until((texts) => texts.includes('end'));
    const removed = ear.texts.filter((each) => each.startsWith('-'));
    expect(new Set(removed).size).toBe(149);
    expect(removed).toHaveLength(149);
    expect(removed).not.toContain('-user 7');
    expect(await usersOf(first)).toEqual(['user 7']);
    await Promise.race(others.map(({ observer }) => observer.until('released the memberships of a dead node')));
    expect(repairs.filter(([topic]) => topic === plain)).toEqual([[plain, 1]]);
    expect(Object.fromEntries(await first.store.channels('1', ''))).toEqual({
      'presence-room': { connectionCount: 1, userCount: 1 },
      plain: { connectionCount: 1, userCount: 0 },
    });
    await dead.close();
  });

  it('keeps nobody from a membership that another node has taken over', async () => {
    const dead = await open({ clock: stoppedClock(), timing: dying });
    const other = await open({ timing: watchful });
    const ear = await Ear.at(other, room);
    await sit(dead, '1.1', 'ada');
    await sit(dead, '1.2', 'bob');
    expect(await sit(other, '1.1', 'ada')).toMatchObject({ memberAdded: false, connectionCount: 2 });
    die(dead);
    await ear.until((texts) => texts.includes('-bob'));
    await other.observer.until('released the memberships of a dead node');
    expect(await usersOf(other)).toEqual(['ada']);
    expect(await rise(other, '1.1')).toMatchObject({ wasThere: true, memberRemoved: true, isVacated: true });
    await ear.until((texts) => texts.includes('-ada'));
    expect(ear.texts).toEqual(['+ada', '+bob', '-bob', '-ada']);
    await dead.close();
  });

  it('in the eyes of the others alone has its members back before it tells who is there', async () => {
    const still = await open({ clock: stoppedClock(), timing: dying });
    const other = await open({ timing: watchful });
    const ear = await Ear.at(other, room);
    await sit(still, '1.1', 'ada');
    await ear.until((texts) => texts.includes('-ada'));
    await still.broker.subscribe(room);
    await server.do((client) => client.client('KILL', 'TYPE', 'PUBSUB'));
    await still.observer.until('redis subscriptions are back after a gap');
    expect(await usersOf(still)).toEqual(['ada']);
  });

  it('is announced to the watchers of its users', async () => {
    const dead = await open({ clock: stoppedClock(), timing: dying });
    const other = await open({ timing: watchful });
    const ear = await Ear.at(other, watchTopic('1', 'ada'));
    await dead.store.join(
      { topic: userTopic('1', 'ada'), socketId: '1.1', member: { userId: 'ada', userInfo: 'null' } },
      { announceTo: watchTopic('1', 'ada') },
    );
    die(dead);
    await ear.until((texts) => texts.includes('-ada'));
    expect(ear.texts).toEqual(['+ada', '-ada']);
    expect(ear.messages.map(({ kind, except }) => [kind, except])).toEqual([
      ['transition', '1.1'],
      ['transition', '1.1'],
    ]);
    await dead.close();
  });

  it('loses its members within ten seconds with the ordinary timing', async () => {
    const dead = await open({ clock: stoppedClock() });
    const other = await open();
    const ear = await Ear.at(other, room);
    await sit(dead, '1.1', 'ada');
    // Nobody is taken for dead in the first lease after Redis was new.
    await ear.until(() => true);
    const diedAt = Date.now();
    die(dead);
    await ear.until((texts) => texts.includes('-ada'));
    expect(Date.now() - diedAt).toBeLessThan(10_000);
    await dead.close();
  });

  it('leaves nothing in Redis but what the living have', async () => {
    const dead = await open({ clock: stoppedClock(), timing: dying });
    const other = await open({ timing: watchful });
    await sit(dead, '1.1', 'ada');
    await sit(dead, '1.2', 'bob', channelTopic('7', 'presence-elsewhere'));
    die(dead);
    await other.observer.until('released the memberships of a dead node');
    await other.close();
    opened = [];
    await dead.link.command('quit', (client) => client.quit());
    const keys = await server.do((client) => client.keys('*'));
    expect(keys.map((key) => key.replace(prefix, '').replace(/\d+\}/, 'n}')).sort()).toEqual([
      '{1.n}:position',
      '{7.n}:position',
      '{nodes}:cluster',
    ]);
  });

  it('that was only stopped takes its memberships again, and everyone is told', async () => {
    const clock = new StoppableClock();
    const stopped = await open({ clock, timing: stopping });
    clock.stop();
    const other = await open({ timing: watchful });
    const repairs: Array<[Topic, number]> = [];
    stopped.store.onRepair((topic, count) => repairs.push([topic, count]));
    const ear = await Ear.at(other, room);
    await sit(other, '2.1', 'cay');
    await sit(stopped, '1.1', 'ada');
    await sit(stopped, '1.2', 'bob');
    await sit(stopped, '1.3', 'ada');
    await stopped.store.join({ topic: plain, socketId: '1.1' });
    await other.observer.until('released the memberships of a dead node');
    expect(await usersOf(other)).toEqual(['cay']);
    clock.goOn();
    await ear.until((texts) => texts.length === 7);
    expect(ear.texts.slice(0, 3)).toEqual(['+cay', '+ada', '+bob']);
    expect(ear.texts.slice(3, 5).sort()).toEqual(['-ada', '-bob']);
    expect(ear.texts.slice(5).sort()).toEqual(['+ada', '+bob']);
    expect(await eventually(() => stopped.store.occupancies([room]))).toMatchObject([
      { connectionCount: 4, userCount: 3 },
    ]);
    expect(await rise(stopped, '1.1')).toMatchObject({ wasThere: true, memberRemoved: false });
    expect(await rise(stopped, '1.3')).toMatchObject({ wasThere: true, memberRemoved: true });
    expect(repairs).toContainEqual([plain, 1]);
  });

  it('that was only stopped doubts what its clients heard, and lists its members only when all are back', async () => {
    const clock = new StoppableClock();
    const stopped = await open({ clock, timing: stopping });
    clock.stop();
    const other = await open({ timing: watchful });
    // Two connections of one user: each is spared the announcement of its own membership, so that one of them may hear of the
    // user's going and not of its return. It was found as a client that missed itself in its own list for good.
    for (const socketId of ['1.1', '1.2']) await sit(stopped, socketId, 'ada');
    await sit(stopped, '1.3', 'bob');
    const listed = new Promise<string[]>((resolve) => stopped.link.onGap(() => resolve(usersOf(stopped))));
    await other.observer.until('released the memberships of a dead node');
    expect(await usersOf(other)).toEqual([]);
    clock.goOn();
    expect((await listed).sort()).toEqual(['ada', 'bob']);
    expect(stopped.link.gapCount).toBe(0);
  });

  it('cannot membership anyone under a lease that has ended: the join comes under the next', async () => {
    const clock = new StoppableClock();
    const stopped = await open({ clock, timing: stopping });
    clock.stop();
    const other = await open({ timing: watchful });
    await sit(stopped, '1.1', 'ada');
    await other.observer.until('released the memberships of a dead node');
    expect(await sit(stopped, '1.2', 'bob')).toMatchObject({ memberAdded: true, connectionCount: 2 });
    expect((await usersOf(other)).sort()).toEqual(['ada', 'bob']);
    clock.goOn();
    expect(await rise(stopped, '1.2')).toMatchObject({ wasThere: true, memberRemoved: true, connectionCount: 1 });
  });

  it('gives everything back at once when it stops in order', async () => {
    const stopping = await open();
    const other = await open();
    const ear = await Ear.at(other, room);
    await sit(stopping, '1.1', 'ada');
    die(stopping);
    await stopping.close();
    await ear.until((texts) => texts.includes('-ada'));
    expect(await usersOf(other)).toEqual([]);
  });
});

describe('Redis gone for a while, with its data', () => {
  it('refuses quickly what needs it, and everything works again when it is back', async () => {
    const node = await open();
    const ear = await Ear.at(node, room, plain);
    await sit(node, '1.1', 'ada');
    await server.stop({ save: true });
    const startedAt = Date.now();
    await expect(publish(node, 'lost')).rejects.toEqual(unavailable);
    await expect(
      node.broker.publish(room, { kind: 'event', payload: text('x') }, { retainSeconds: 9 }),
    ).rejects.toEqual(unavailable);
    await expect(node.broker.retained(room)).rejects.toEqual(unavailable);
    await expect(node.broker.subscribe(channelTopic('1', 'other'))).rejects.toEqual(unavailable);
    await expect(sit(node, '1.2', 'bob')).rejects.toEqual(unavailable);
    await expect(node.store.members(room)).rejects.toEqual(unavailable);
    await expect(node.store.occupancies([room])).rejects.toEqual(unavailable);
    await expect(node.store.channels('1', '')).rejects.toEqual(unavailable);
    await expect(node.link.ping()).rejects.toEqual(unavailable);
    expect(Date.now() - startedAt).toBeLessThan(1_000);
    // An unsubscribe has nothing to wait for: what is down is not subscribed.
    await node.broker.unsubscribe(plain);
    await server.start();
    await node.observer.until('redis subscriptions are back after a gap');
    expect(node.link.gapCount).toBe(1);
    await eventually(() => publish(node, 'heard'));
    await ear.until((texts) => texts.includes('heard'));
    await publish(node, 'to the topic that was left', plain);
    await publish(node, 'end');
    await ear.until((texts) => texts.includes('end'));
    expect(ear.texts).toEqual(['+ada', 'heard', 'end']);
    await eventually(() => node.link.ping());
    expect(await usersOf(node)).toEqual(['ada']);
    expect(await eventually(() => sit(node, '1.2', 'bob'))).toMatchObject({ memberAdded: true, connectionCount: 2 });
  });

  it('replays the leaves that could not be delivered', async () => {
    const [node, other] = [await open(), await open()];
    await sit(node, '1.1', 'ada');
    await sit(node, '1.2', 'bob');
    const repairs: Array<[Topic, number]> = [];
    node.store.onRepair((topic, count) => repairs.push([topic, count]));
    const ear = await Ear.at(other, room);
    await server.stop({ save: true });
    await expect(rise(node, '1.1')).rejects.toEqual(unavailable);
    await server.start();
    await ear.until((texts) => texts.includes('-ada'));
    await eventually(() => publish(other, 'end'));
    await ear.until((texts) => texts.includes('end'));
    expect(ear.texts).toEqual(['-ada', 'end']);
    expect(await eventually(() => usersOf(node))).toEqual(['bob']);
    expect(repairs).toEqual([[room, 1]]);
  });

  it('takes no node for dead that comes back with Redis, however long that took', async () => {
    const nodes = [
      await open({ timing: stopping }),
      await open({ timing: stopping }),
      await open({ timing: stopping }),
    ];
    const [first] = nodes as [OpenNode, ...OpenNode[]];
    for (const [index, node] of nodes.entries()) await sit(node, `${index}.1`, `user ${index}`);
    const ear = await Ear.at(first, room);
    await server.stop({ save: true });
    // Longer than a lease by Redis's clock, which nothing here can move.
    await new Promise((resolve) => setTimeout(resolve, stopping.leaseMs + 500));
    await server.start();
    await Promise.all(nodes.map(({ observer }) => observer.until('redis subscriptions are back after a gap')));
    for (const node of nodes) await eventually(() => sit(node, `${nodes.indexOf(node)}.2`, 'late'));
    await eventually(() => publish(first, 'end'));
    await ear.until((texts) => texts.includes('end'));
    expect(ear.texts).toEqual(['+late', 'end']);
    expect(await usersOf(first)).toEqual(['user 0', 'user 1', 'user 2', 'late']);
  });
});

describe('Redis back without its data', () => {
  it('gets all memberships again silently, from all nodes at once, in the order in which users came', async () => {
    const nodes = [await open(), await open(), await open()];
    const [first, second, third] = nodes as [OpenNode, OpenNode, OpenNode];
    await sit(third, '3.1', 'ada');
    await sit(first, '1.1', 'bob');
    await sit(second, '2.1', 'ada');
    await sit(second, '2.2', 'cay');
    await first.store.join({ topic: plain, socketId: '1.9' });
    const { members: membersBefore } = await first.store.members(room);
    const ear = await Ear.at(first, room);
    await server.stop();
    await server.start();
    expect(await eventually(() => sit(second, '2.3', 'dan'))).toMatchObject({ connectionCount: 5, memberAdded: true });
    await ear.until((texts) => texts.includes('+dan'));
    expect(ear.texts).toEqual(['+dan']);
    expect((await first.store.members(room)).members).toEqual([
      ...membersBefore,
      { userId: 'dan', userInfo: '{"of":"2.3"}' },
    ]);
    expect(Object.fromEntries(await third.store.channels('1', ''))).toEqual({
      'presence-room': { connectionCount: 5, userCount: 4 },
      plain: { connectionCount: 1, userCount: 0 },
    });
    expect(await rise(third, '3.1')).toMatchObject({ wasThere: true, memberRemoved: false });
    expect(await rise(second, '2.1')).toMatchObject({ wasThere: true, memberRemoved: true });
  });

  it('announces a leave that could not be delivered, once everyone has put back their memberships', async () => {
    const [node, other] = [await open(), await open()];
    await sit(node, '1.1', 'ada');
    await sit(node, '1.2', 'bob');
    await sit(other, '2.1', 'bob');
    const ear = await Ear.at(other, room);
    await server.stop();
    await expect(rise(node, '1.1')).rejects.toEqual(unavailable);
    await expect(rise(node, '1.2')).rejects.toEqual(unavailable);
    await server.start();
    await ear.until((texts) => texts.includes('-ada'));
    await eventually(() => publish(other, 'end'));
    await ear.until((texts) => texts.includes('end'));
    // Of bob another connection is still there: nothing is said.
    expect(ear.texts).toEqual(['-ada', 'end']);
    expect(await usersOf(other)).toEqual(['bob']);
  });

  it('is noticed without any cut: everything flushed', async () => {
    const node = await open();
    const ear = await Ear.at(node, room);
    await sit(node, '1.1', 'ada');
    await server.do((client) => client.flushall());
    expect(await sit(node, '1.2', 'bob')).toMatchObject({ connectionCount: 2, wasOccupied: true, memberAdded: true });
    await server.do((client) => client.flushall());
    expect(await rise(node, '1.2')).toMatchObject({ wasThere: true, memberRemoved: true, connectionCount: 1 });
    await publish(node, 'end');
    await ear.until((texts) => texts.includes('end'));
    expect(ear.texts).toEqual(['+ada', '+bob', '-bob', 'end']);
    const positions = ear.messages.flatMap(({ position }) => position ?? []);
    expect(positions).toEqual([...positions].sort((a, b) => a - b));
    expect(new Set(positions).size).toBe(3);
  });

  it('from an older copy of the data: who left since is taken out, who came since is put in', async () => {
    const node = await open();
    await sit(node, '1.1', 'ada');
    await sit(node, '1.2', 'bob');
    await server.do((client) => client.save());
    await rise(node, '1.1');
    await sit(node, '1.3', 'cay');
    await server.stop();
    await server.start();
    await eventually(() => sit(node, '1.4', 'dan'));
    expect((await usersOf(node)).sort()).toEqual(['bob', 'cay', 'dan']);
    expect(await node.store.occupancies([room])).toMatchObject([{ connectionCount: 3, userCount: 3 }]);
  });
});

describe('a connection', () => {
  it('that is cut is made anew, with every subscription', async () => {
    const node = await open();
    const topics = Array.from({ length: 1_200 }, (_, index) => channelTopic('1', `channel-${index}`));
    const ear = await Ear.at(node, ...topics);
    await server.do((client) => client.call('CLIENT', 'KILL', 'TYPE', 'pubsub'));
    await server.do((client) => client.call('CLIENT', 'KILL', 'TYPE', 'normal'));
    await node.observer.until('redis subscriptions are back after a gap');
    await eventually(() => node.link.ping());
    for (const topic of topics) await node.broker.publish(topic, { kind: 'event', payload: text(topic) });
    await ear.until((texts) => texts.length >= topics.length);
    expect(ear.texts).toEqual(topics);
  });

  it('that does not answer is given up, and what was asked is refused within three seconds', async () => {
    const node = await open();
    await sit(node, '1.1', 'ada');
    await server.do((client) => client.call('CLIENT', 'PAUSE', '5000', 'ALL'));
    const startedAt = Date.now();
    await expect(publish(node, 'x')).rejects.toEqual(unavailable);
    expect(Date.now() - startedAt).toBeLessThan(3_000);
    await expect(publish(node, 'y')).rejects.toEqual(unavailable);
    await eventually(() => node.link.ping());
    expect(await eventually(() => usersOf(node))).toEqual(['ada']);
  });

  it('to a server that became a replica is made anew, and works when it is a primary again', async () => {
    const primary = await RedisServer.start();
    try {
      const node = await open();
      await sit(node, '1.1', 'ada');
      await server.do((client) => client.replicaof('127.0.0.1', primary.port));
      await expect(sit(node, '1.2', 'bob')).rejects.toEqual(unavailable);
      await server.do((client) => client.replicaof('NO', 'ONE'));
      expect(await eventually(() => sit(node, '1.2', 'bob'))).toMatchObject({ memberAdded: true });
      expect(await usersOf(node)).toEqual(['ada', 'bob']);
    } finally {
      await primary.remove();
    }
  });

  it('says what is wrong, and never with a password', async () => {
    const node = await openNode(server.url.replace('//', '//:the-first-secret@'), prefix);
    opened.push(node);
    await node.link.command('config', (client) => client.config('SET', 'requirepass', 'another-secret'));
    await node.link.command('kill', (client) => client.call('CLIENT', 'KILL', 'TYPE', 'normal')).catch(() => undefined);
    await node.link.command('kill', (client) => client.call('CLIENT', 'KILL', 'TYPE', 'pubsub')).catch(() => undefined);
    await node.observer.until('redis connection failed');
    const errors = [publish(node, 'x'), rise(node, '1.1'), node.link.ping()].map((call) => call.catch(String));
    const everything = JSON.stringify([node.observer.said, await Promise.all(errors)]);
    expect(everything).toMatch(/WRONGPASS|NOAUTH|not available/);
    expect(everything).not.toContain('the-first-secret');
  });
});
