/** The wall clock of the machine that Redis runs on, set back and on: by it Redis counts leases and budgets. */
import { channelTopic } from '@starling/ports';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { RedisServer } from '../../../../infra/testing/redis-server.ts';
import { RedisRateLimiter } from './rate-limiter.ts';
import { dying, freshPrefix, type OpenNode, openNode, stoppedClock } from './redis.test-kit.ts';

const room = channelTopic('1', 'presence-room');
const hour = 3_600_000;
const steps = [-hour, -120_000, -5_000, 5_000, 120_000, hour];

let server: RedisServer;
beforeAll(async () => {
  server = await RedisServer.start();
});
afterAll(() => server?.remove());

const opened: OpenNode[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((node) => node.close()));
});
async function open(prefix: string, options: Parameters<typeof openNode>[2] = {}): Promise<OpenNode> {
  const node = await openNode(server.url, prefix, { timing: dying, ...options });
  opened.push(node);
  return node;
}

const sit = (node: OpenNode, socketId: string, userId: string) =>
  node.store.join({ topic: room, socketId, member: { userId, userInfo: 'null' } });
const usersSeenBy = async (node: OpenNode) =>
  (await node.store.members(room)).members.map(({ userId }) => userId).sort();

/** Redis reads no clock that a test could set: all the times that it has written down are moved the other way instead. */
const stepScript = `
  local leases, dying, cluster, bucket, by = KEYS[1], KEYS[2], KEYS[3], KEYS[4], tonumber(ARGV[1])
  for _, key in ipairs({ leases, dying }) do
    for _, lease in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, -by, lease) end
  end
  for _, field in ipairs({ 'seen', 'grace', 'settle' }) do
    local at = redis.call('HGET', cluster, field)
    if at and at ~= '0' then redis.call('HSET', cluster, field, string.format('%.0f', at - by)) end
  end
  local stored = redis.call('GET', bucket)
  if stored then
    local space = string.find(stored, ' ', 1, true)
    local moved = string.format('%.0f', string.sub(stored, space + 1) - by)
    redis.call('SET', bucket, string.sub(stored, 1, space) .. moved, 'KEEPTTL')
  end`;

async function stepRedis({ link }: OpenNode, byMs: number): Promise<void> {
  const { leases, dying: claimed, cluster } = link.keys;
  await link.command('step', (client) =>
    client.eval(stepScript, 4, leases, claimed, cluster, link.keys.bucket('a'), byMs),
  );
}

/** Resolves when nodes have renewed so often: each renewal is written down in Redis. */
async function renewals({ link }: OpenNode, count: number): Promise<void> {
  const seen = () => link.command('hget', (client) => client.hget(link.keys.cluster, 'seen'));
  for (let renewal = 0; renewal < count; renewal++) {
    const before = await seen();
    while ((await seen()) === before) await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

it.each(steps)('[CK4] a step of %i ms takes no membership from the living, and refuses nobody', async (byMs) => {
  const prefix = freshPrefix();
  const [one, other] = [await open(prefix), await open(prefix)];
  await sit(one, '1.1', 'ada');
  await sit(other, '2.1', 'bob');
  const limiter = new RedisRateLimiter(one.link);
  await limiter.take('a', 1_000, 1_000);
  await stepRedis(one, byMs);
  // Several of each node: the lease of one that did not renew would be over.
  await renewals(one, 10);
  expect(await usersSeenBy(other)).toEqual(['ada', 'bob']);
  expect(await sit(one, '1.2', 'cay')).toMatchObject({ isFull: false, memberAdded: true });
  expect(await usersSeenBy(other)).toEqual(['ada', 'bob', 'cay']);
  for (const { observer } of [one, other]) expect(observer.said).toEqual([]);
  expect((await limiter.take('a', 10, 1_000)).retryAfterMs).toBeLessThanOrEqual(10);
});

it.each([-hour, hour])('[CK4] a step of %i ms delays no releasing of what the dead had', async (byMs) => {
  const prefix = freshPrefix();
  const one = await open(prefix);
  const dead = await open(prefix, { clock: stoppedClock() });
  await sit(one, '1.1', 'ada');
  await sit(dead, '2.1', 'bob');
  await stepRedis(one, byMs);
  await one.observer.until('released the memberships of a dead node');
  expect(await usersSeenBy(one)).toEqual(['ada']);
});

it('[CK4] a releasing that ended in the middle before a step back is taken up by another', async () => {
  const prefix = freshPrefix();
  const one = await open(prefix);
  const dead = await open(prefix, { clock: stoppedClock() });
  await sit(dead, '2.1', 'bob');
  // As by a node that dies with the claim in its hand.
  const { leases, dying: claimed } = one.link.keys;
  const [seconds = 0] = await one.link.command('time', (client) => client.time());
  for (const lease of await one.link.command('zrange', (client) => client.zrange(leases, '0', '-1'))) {
    const tags = await one.link.command('exists', (client) => client.exists(one.link.keys.tagsOf(lease)));
    if (tags === 0) continue;
    await one.link.command('zrem', (client) => client.zrem(leases, lease));
    await one.link.command('zadd', (client) => client.zadd(claimed, String((Number(seconds) + 5) * 1_000), lease));
  }
  await stepRedis(one, -hour);
  await one.observer.until('released the memberships of a dead node');
  expect(await usersSeenBy(one)).toEqual([]);
});

it('[CK4] a step back while memberships are put back after a loss shortens no time and lengthens none', async () => {
  const prefix = freshPrefix();
  const node = await open(prefix, { timing: { ...dying, settleMs: 3_000 } });
  await sit(node, '1.1', 'ada');
  await node.link.command('del', (client) => client.del(node.link.keys.cluster, node.link.keys.leases));
  await node.observer.until('redis has lost its data');
  await stepRedis(node, -hour);
  await renewals(node, 2);
  const settle = await node.link.command('hget', (client) => client.hget(node.link.keys.cluster, 'settle'));
  const [seconds = 0] = await node.link.command('time', (client) => client.time());
  expect(Number(settle) - Number(seconds) * 1_000).toBeLessThan(5_000);
});
