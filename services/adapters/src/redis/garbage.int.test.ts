/** What no node of ours wrote, on every channel and in every key that a node reads in Redis. */
import { randomUUID } from 'node:crypto';
import { channelTopic, controlTopic, userTopic } from '@starling/ports';
import { reportOf } from '@starling/ports/contract';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { Random } from '../../../../infra/testing/random.ts';
import { RedisServer } from '../../../../infra/testing/redis-server.ts';
import { encodeEnvelope } from './envelope.ts';
import { Keys } from './keys.ts';
import { RedisNodeDirectory } from './node-directory.ts';
import { Ear, eventually, freshPrefix, type OpenNode, openNode, watchful } from './redis.test-kit.ts';

let server: RedisServer;
beforeAll(async () => {
  server = await RedisServer.start();
});
afterAll(() => server.remove());

let prefix: string;
let keys: Keys;
let node: OpenNode;
beforeEach(async () => {
  prefix = freshPrefix();
  keys = new Keys(prefix);
  node = await openNode(server.url, prefix, { timing: watchful });
});
afterEach(() => node.close());

const room = channelTopic('1', 'room');
const good = (data: string) => ({ kind: 'event', payload: Buffer.from(JSON.stringify({ data })) }) as const;

it('[OP13] a channel full of garbage delivers what is good, tells the rest, and throws nothing', async () => {
  const ear = await Ear.at(node, room, controlTopic);
  const random = new Random(1);
  const envelope = encodeEnvelope({ ...good('x'), position: 7, except: '1.1' });
  for (let step = 0; step < 400; step++) {
    const bytes = Buffer.from(random.bytes(60));
    if (step % 3 === 0) envelope.copy(bytes, 0, 0, random.below(20));
    // Not one of ours by chance.
    if (bytes[0] === 2 && bytes[1] !== undefined) bytes[1] |= 0x0f;
    await server.do((client) => client.publish(keys.channel(step % 2 === 0 ? room : controlTopic), bytes));
  }
  await node.broker.publish(room, good('last'));
  await ear.until((texts) => texts.includes('{"data":"last"}'));
  expect(ear.texts).toEqual(['{"data":"last"}']);
  await node.observer.until('a message in an unknown form came over redis', 400);
  expect(node.observer.said.filter(({ what }) => what.startsWith('defect'))).toEqual([]);
});

it('[OP13] a message with a position that is none, or that is no text, is not delivered', async () => {
  const ear = await Ear.at(node, room);
  const messages = [
    { ...good('nan'), position: Number.NaN },
    { ...good('infinite'), position: Number.POSITIVE_INFINITY },
    { ...good('negative'), position: -1 },
    { kind: 'event', payload: Buffer.from([0x7b, 0xff, 0x7d]) },
    { kind: 'event', payload: Buffer.alloc(5 * 1_048_576, 0x20) },
  ] as const;
  for (const message of messages) {
    await server.do((client) => client.publish(keys.channel(room), encodeEnvelope(message)));
  }
  await node.broker.publish(room, good('last'));
  await ear.until((texts) => texts.length > 0);
  expect(ear.texts).toEqual(['{"data":"last"}']);
});

it('[OP13] a retained message that is none of ours is none', async () => {
  for (const bytes of ['', 'garbage', '\x02', '\x02\x10\x0b']) {
    await server.do((client) => client.set(keys.retained(room), bytes, 'EX', 60));
    expect(await node.broker.retained(room)).toBeUndefined();
  }
});

it('[OP13] one report that cannot be read hides no other', async () => {
  const directory = new RedisNodeDirectory(node.link, node.observer);
  await directory.report(reportOf('a'));
  const random = new Random(2);
  for (let step = 0; step < 50; step++) {
    await server.do((client) => client.sadd(keys.reported, `bad-${step}`));
    await server.do((client) => client.set(keys.report(`bad-${step}`), step === 0 ? 'null' : random.json(), 'EX', 60));
  }
  expect(await directory.nodes()).toEqual([reportOf('a')]);
  await node.observer.until('the report of a node cannot be read', 50);
});

it('[OP13] members that the scripts did not write are left out, and who is really there is not', async () => {
  const topic = channelTopic('1', 'presence-a');
  const place = keys.place(topic);
  await node.store.join({ topic, socketId: '1.1', member: { userId: 'ada', userInfo: '{"n":1}' } });
  for (const [user, value] of Object.entries({ a: '', b: 'x', c: '1 2', d: '1 2 ', e: '1 2 {', f: 'x y {}' })) {
    await server.do((client) => client.hset(place.users, user, value));
  }
  expect((await node.store.members(topic)).members).toEqual([{ userId: 'ada', userInfo: '{"n":1}' }]);
  await server.do((client) => client.hset(place.partition.occupied, 'presence-a', 'many few'));
  expect(await node.store.channels('1', '')).toEqual(new Map([['presence-a', { connectionCount: 0, userCount: 0 }]]));
});

it('[OP13] garbage among the leases, and in what a dead one holds, keeps nobody from coming and going', async () => {
  const dead = `dead.${randomUUID()}`;
  const { partition } = keys.place(room);
  await server.do((client) => client.zadd(keys.leases, 1, dead, 1, '', 1, 'no lease'));
  await server.do((client) => client.sadd(keys.tagsOf(dead), partition.tag, 'garbage', '{x', ''));
  await server.do((client) =>
    client.hset(partition.heldPrefix + dead, { '': '1', nospace: 'x', ' y': 'x', '1.9 other': '9:z' }),
  );
  await server.do((client) => client.hset(keys.cluster, 'settle', '99999999999999', 'grace', '0'));
  expect(await eventually(() => node.store.join({ topic: room, socketId: '1.1' }))).toMatchObject({
    isFull: false,
    connectionCount: 1,
  });
  await eventually(() => node.store.leave({ topic: room, socketId: '1.1' }));
  const user = userTopic('1', 'ada');
  await eventually(() =>
    node.store.join({ topic: user, socketId: '1.2', member: { userId: 'ada', userInfo: 'null' } }),
  );
  expect(await eventually(() => node.store.occupancies([user]))).toMatchObject([{ connectionCount: 1, userCount: 1 }]);
  expect(node.observer.said.filter(({ what }) => what.startsWith('defect'))).toEqual([]);
});

it('[OP12] a listener of a gap or of a repair that throws costs the others nothing', async () => {
  const told: string[] = [];
  node.link.onGap(() => {
    throw new Error('gap');
  });
  node.link.onGap(() => told.push('gap'));
  node.link.tellGap();
  expect(told).toEqual(['gap']);
  await node.observer.until('defect: listener');
});

it('[OP12] a receiver that throws costs the message, and the connection brings the next one', async () => {
  const told: string[] = [];
  node.broker.listen((_topic, { payload }) => {
    const text = Buffer.from(payload).toString();
    if (text.includes('bad')) throw new Error('received');
    told.push(text);
  });
  await node.broker.subscribe(room);
  await node.broker.publish(room, good('bad'));
  await node.observer.until('defect: broker message');
  await node.broker.publish(room, good('fine'));
  await node.link.ping();
  const deadline = Date.now() + 10_000;
  while (told.length === 0 && Date.now() < deadline) await node.link.ping();
  expect(told).toEqual(['{"data":"fine"}']);
  expect(node.link.gapCount).toBe(0);
});
