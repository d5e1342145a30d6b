import { FakeClock } from '@starling/adapters/memory';
import {
  brokerContract,
  nodeDirectoryContract,
  presenceStoreContract,
  rateLimiterContract,
} from '@starling/ports/contract';
import { afterAll, beforeAll, describe } from 'vitest';
import { type RedisCluster, RedisServer, startRedisCluster } from '../../../../infra/testing/redis-server.ts';
import { RedisNodeDirectory } from './node-directory.ts';
import { RedisRateLimiter } from './rate-limiter.ts';
import { freshPrefix, type OpenLink, openLink, openNode, SteppedClock } from './redis.test-kit.ts';

async function openTwo(url: string) {
  const prefix = freshPrefix();
  const clock = new SteppedClock();
  const two: OpenLink[] = [await openLink(url, prefix, clock), await openLink(url, prefix, clock)];
  return {
    two,
    stepWall: (byMs: number) => clock.stepWall(byMs),
    close: async () => void (await Promise.all(two.map((node) => node.close()))),
  };
}

function contracts(name: string, url: () => string): void {
  brokerContract(`RedisBroker (${name})`, 2, async () => {
    const { two, stepWall, close } = await openTwo(url());
    return {
      nodes: two.map(({ broker }) => broker),
      stepWall,
      // Redis's own time: nobody can move it.
      advance: (durationMs) => new Promise((resolve) => setTimeout(resolve, durationMs)),
      close,
    };
  });

  presenceStoreContract(`RedisPresenceStore (${name})`, 2, async () => {
    const prefix = freshPrefix();
    const clock = new SteppedClock();
    const nodes = [await openNode(url(), prefix, { clock }), await openNode(url(), prefix, { clock })];
    const stepWall = (byMs: number) => clock.stepWall(byMs);
    return { nodes, stepWall, close: async () => void (await Promise.all(nodes.map((node) => node.close()))) };
  });

  nodeDirectoryContract(`RedisNodeDirectory (${name})`, async () => {
    const { two, stepWall, close } = await openTwo(url());
    const [one, other] = two as [OpenLink, OpenLink];
    return {
      stepWall,
      directories: [one, other].map(({ link, observer }) => new RedisNodeDirectory(link, observer)) as [
        RedisNodeDirectory,
        RedisNodeDirectory,
      ],
      // Redis's own time: every report is made so much older.
      advance: (durationMs) =>
        one.link.command('age', async (client) => {
          const { keys } = one.link;
          for (const nodeId of await client.smembers(keys.reported)) {
            const leftMs = await client.pttl(keys.report(nodeId));
            if (leftMs > 0) await client.pexpire(keys.report(nodeId), Math.max(0, leftMs - durationMs));
          }
        }),
      close,
    };
  });

  rateLimiterContract(`RedisRateLimiter (${name})`, 2, async () => {
    const { two, close } = await openTwo(url());
    const clock = new FakeClock();
    return {
      nodes: two.map(({ link }) => new RedisRateLimiter(link, clock)),
      advance: async (durationMs) => clock.advance(durationMs),
      stepWall: (byMs) => clock.stepWall(byMs),
      close,
    };
  });
}

describe('on a single server', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await RedisServer.start();
  });
  afterAll(() => server.remove());
  contracts('single', () => server.url);
});

describe('on a cluster of three', () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await startRedisCluster();
  });
  afterAll(() => cluster.remove());
  contracts('cluster', () => cluster.url);
});
