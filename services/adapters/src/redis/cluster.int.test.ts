/** What only a cluster can show: many slots, a primary that goes away, a slot that moves. */
import { channelTopic, type Topic } from '@starling/ports';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type RedisCluster, startRedisCluster } from '../../../../infra/testing/redis-server.ts';
import { slotOf } from './keys.ts';
import {
  dying,
  Ear,
  eventually,
  freshPrefix,
  type OpenNode,
  openNode,
  stoppedClock,
  watchful,
} from './redis.test-kit.ts';

const rooms = Array.from({ length: 60 }, (_, index) => channelTopic(String(index % 3), `presence-${index}`));
const text = (words: string) => Buffer.from(words);

let cluster: RedisCluster;
let opened: OpenNode[];

beforeEach(async () => {
  cluster = await startRedisCluster();
  opened = [];
});
afterEach(async () => {
  await Promise.all(opened.map((node) => node.close()));
  await cluster.remove();
});

async function open(prefix: string, options = {}): Promise<OpenNode> {
  const node = await openNode(cluster.url, prefix, options);
  opened.push(node);
  return node;
}

const sit = (node: OpenNode, socketId: string, topic: Topic) =>
  node.store.join({ topic, socketId, member: { userId: topic, userInfo: 'null' } }, { announceTo: topic });
const publish = (node: OpenNode, words: string, topic: Topic) =>
  node.broker.publish(topic, { kind: 'event', payload: text(words) });
const minus = rooms.map((topic) => `-${topic}`).sort();

describe('a cluster', () => {
  it('has a dead node’s members removed in every slot, once', async () => {
    const prefix = freshPrefix();
    const dead = await open(prefix, { clock: stoppedClock(), timing: dying });
    const others = [await open(prefix, { timing: watchful }), await open(prefix, { timing: watchful })];
    const [first] = others as [OpenNode, OpenNode];
    for (const room of rooms) await sit(dead, '1.1', room);
    const ear = await Ear.at(first, ...rooms);
    await ear.until((texts) => texts.length >= rooms.length);
    for (const room of rooms) await publish(first, 'end', room);
    await ear.until((texts) => texts.filter((each) => each === 'end').length === rooms.length);
    expect(ear.texts.filter((each) => each !== 'end').sort()).toEqual(minus);
  });

  it('gets back what one of its servers forgot, and every subscription to it', async () => {
    const prefix = freshPrefix();
    const nodes = [await open(prefix), await open(prefix)];
    const [first, second] = nodes as [OpenNode, OpenNode];
    for (const room of rooms) await sit(first, '1.1', room);
    const ear = await Ear.at(second, ...rooms);
    const [, lost] = cluster.servers;
    await lost?.stop();
    await lost?.start();
    await second.observer.until('redis subscriptions are back after a gap');
    for (const room of rooms) await eventually(() => sit(second, '2.1', room));
    for (const room of rooms) await eventually(() => publish(second, 'end', room));
    await ear.until((texts) => texts.length >= rooms.length);
    // Ada was there all the time: nobody came.
    expect(ear.texts).toEqual(rooms.map(() => 'end'));
    expect(await first.store.occupancies(rooms)).toMatchObject(rooms.map(() => ({ connectionCount: 2, userCount: 1 })));
  });

  it('brings the messages of a slot that moved to another server', async () => {
    const node = await open(freshPrefix());
    const topic = channelTopic('1', 'news');
    const ear = await Ear.at(node, topic);
    await publish(node, 'before', topic);
    await ear.until((texts) => texts.includes('before'));
    const slot = slotOf(node.link.keys.channel(topic));
    const from = Math.floor((slot * 3) / 16_384);
    const [source, target] = [cluster.servers[from], cluster.servers[(from + 1) % 3]];
    const targetId = (await target?.do((client) => client.call('CLUSTER', 'MYID'))) as string;
    for (const server of [target, source]) {
      await server?.do((client) => client.call('CLUSTER', 'SETSLOT', slot, 'NODE', targetId));
    }
    // What is published before the subscription has followed is missed: sent again until one arrives.
    const isHeard = () => ear.texts.includes('after');
    for (let attempt = 0; attempt < 200 && !isHeard(); attempt++) {
      await eventually(() => publish(node, 'after', topic));
      await Promise.race([ear.until(isHeard), new Promise((resolve) => setTimeout(resolve, 50))]);
    }
    expect(isHeard()).toBe(true);
  });
});
