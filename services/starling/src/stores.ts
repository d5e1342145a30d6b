/** What the engine keeps and passes on: in this process, or in the Redis where several meet. */
import { MemoryBroker, MemoryNodeDirectory, MemoryPresenceStore, MemoryRateLimiter } from '@starling/adapters/memory';
import {
  parseRedisUrl,
  RedisBroker,
  RedisLink,
  RedisNodeDirectory,
  RedisPresenceStore,
  RedisRateLimiter,
} from '@starling/adapters/redis';
import type { Broker, Clock, NodeDirectory, Observer, PresenceStore, RateLimiter } from '@starling/ports';
import { type Lifecycle, type Metrics, StartError } from '@starling/runtime';
import { throwRedisProblem } from './start-problems.ts';

export interface Stores {
  readonly broker: Broker;
  readonly presenceStore: PresenceStore;
  readonly rateLimiter: RateLimiter;
  readonly nodeDirectory: NodeDirectory;
  /** Resolves when everything is subscribed that should be: a message that comes back shows no more than its own way. */
  ping(): Promise<void>;
}

/**
 * What of a process's memory is for what. With a heap of 256 MB: 128 MB for connections, which is 11,000 that are in a few
 * channels each; 32 MB that may wait for those who do not read, 16 MB of events for cache channels, and 40,000 ids of
 * messages. The rest is for the program itself (about 60 MB), for what is under way, and for V8 to collect in.
 */
export const memoryShares = { connections: 1 / 2, waiting: 1 / 8, retained: 1 / 16, messageIds: 1 / 16 } as const;
/** Of one message id: a topic, the id, a time, and a place in a map. */
const messageIdBytes = 400;

export function memoryStores(clock: Clock, limitBytes: number): Stores {
  const broker = new MemoryBroker(clock, {
    retainedBytes: limitBytes * memoryShares.retained,
    messageIds: Math.floor((limitBytes * memoryShares.messageIds) / messageIdBytes),
  });
  return {
    broker,
    presenceStore: new MemoryPresenceStore(broker),
    rateLimiter: new MemoryRateLimiter(clock),
    nodeDirectory: new MemoryNodeDirectory(clock),
    ping: async () => undefined,
  };
}

/** What all parts of a program have in common. */
export interface Common {
  readonly nodeId: string;
  readonly lifecycle: Lifecycle;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly metrics: Metrics;
}

/** The steps that open them are added to the lifecycle. */
export function redisStores(url: string, { nodeId, lifecycle, clock, observer, metrics }: Common): Stores {
  const address = parseRedisUrl(url);
  if (!address.ok) throw new StartError(`REDIS_URL: ${address.message}`);
  const throwProblem = (err: unknown): never => throwRedisProblem(err, address.value);
  const link = openedLink(() => new RedisLink(address.value, { clock, observer }), throwProblem);
  const presenceStore = new RedisPresenceStore({ link, clock, observer, nodeId });
  metrics.watchNumber('starling_redis_up', 'Whether commands reach Redis, 1 or 0', () => Number(link.isUp));
  metrics.watchNumber(
    'starling_redis_gaps_total',
    'How often subscriptions were cut and came back, each time with messages that may have been missed',
    () => link.gapCount,
  );
  lifecycle.add('redis', () => link.start().catch(throwProblem));
  // Releases the memberships that are left and ends the lease: longer than a Redis that is gone takes to say so.
  lifecycle.add('presence', () => presenceStore.start().catch(throwProblem), 10_000);
  return {
    broker: new RedisBroker(link, observer),
    presenceStore,
    rateLimiter: new RedisRateLimiter(link),
    nodeDirectory: new RedisNodeDirectory(link, observer),
    ping: () => link.ping(),
  };
}

function openedLink(open: () => RedisLink, throwProblem: (err: unknown) => never): RedisLink {
  try {
    return open();
  } catch (err) {
    return throwProblem(err);
  }
}
