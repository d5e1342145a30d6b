/** Makes ioredis clients for an address, set up so that a world that fails is noticed soon and nothing is sent twice. */
import { readFileSync } from 'node:fs';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import type { RedisAddress } from './address.ts';

export type CommandClient = Redis | Cluster;

/** A server that has not answered for so long is taken for dead: its connection is cut, and what it was asked fails. */
const answerTimeoutMs = 2_000;
/** Longer, because a cut here costs messages, and it may be this process that was busy. */
const feedAnswerTimeoutMs = 5_000;
/** Shorter, because there are others to ask, and a client without a primary asks one after another. */
const sentinelTimeoutMs = 1_000;
const connectTimeoutMs = 2_000;
const retryDelayMsMax = 1_000;
/** As an operator sees them in CLIENT LIST. */
const commandsName = 'starling-commands';
const feedName = 'starling-feed';

/** Grows from 50 ms; the jitter keeps the nodes from coming back all at once. */
function retryDelayMs(attempt: number): number {
  return Math.min(50 * 2 ** Math.min(attempt - 1, 10), retryDelayMsMax) * (0.5 + Math.random() / 2);
}

function options(address: RedisAddress, connectionName: string, socketTimeout: number) {
  return {
    connectionName,
    // Its CLIENT SETINFO is one more command for which a user of few rights would need leave.
    disableClientInfo: true,
    lazyConnect: true,
    connectTimeout: connectTimeoutMs,
    socketTimeout,
    retryStrategy: retryDelayMs,
    // While the link is down a call fails at once; one that was under way fails with the link, and is never sent again:
    // it may have been carried out.
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    // Feeds resubscribe by themselves, in pieces, and know when they are whole.
    autoResubscribe: false,
    // A primary that became a replica, or one that is still reading its data: another may have taken its place.
    reconnectOnError: (err: Error) => /READONLY|LOADING|UNBLOCKED/.test(err.message),
    maxLoadingRetryTime: retryDelayMsMax,
    ...(address.username === undefined ? {} : { username: address.username }),
    ...(address.password === undefined ? {} : { password: address.password }),
    ...(address.isTls ? { tls: address.caPath === undefined ? {} : { ca: readFileSync(address.caPath, 'utf8') } } : {}),
  } satisfies RedisOptions;
}

export function createCommandClient(address: RedisAddress): CommandClient {
  if (address.kind !== 'cluster') return createSingleClient(address, commandsName, answerTimeoutMs);
  return new Cluster([...address.hosts], {
    lazyConnect: true,
    enableOfflineQueue: false,
    clusterRetryStrategy: retryDelayMs,
    slotsRefreshTimeout: answerTimeoutMs,
    slotsRefreshInterval: 5_000,
    // Its retry after a lost connection would send again what may have been carried out.
    retryDelayOnFailover: 0,
    maxRedirections: 4,
    // Connected when they are found: a command for a server that is still connecting is refused.
    redisOptions: { ...options(address, commandsName, answerTimeoutMs), lazyConnect: false },
  });
}

/** For subscriptions: to the one server of a `single` or `sentinel` address. */
export function createFeedClient(address: RedisAddress): Redis {
  return createSingleClient(address, feedName, feedAnswerTimeoutMs);
}

/** For subscriptions: to one server of a cluster. */
export function createShardFeedClient(address: RedisAddress, host: string, port: number): Redis {
  return new Redis({ ...options(address, feedName, feedAnswerTimeoutMs), host, port });
}

function createSingleClient(address: RedisAddress, connectionName: string, socketTimeout: number): Redis {
  const shared = { ...options(address, connectionName, socketTimeout), db: address.db };
  if (address.kind !== 'sentinel') return new Redis({ ...shared, ...address.hosts[0] });
  return new Redis({
    ...shared,
    sentinels: [...address.hosts],
    name: address.master,
    enableTLSForSentinelMode: address.isTls,
    sentinelRetryStrategy: retryDelayMs,
    // One that takes connections and does not answer would else be waited for without end, the others unasked.
    sentinelCommandTimeout: sentinelTimeoutMs,
    // No `failoverDetector`: when it speaks up while a sentinel is being asked, the client ends and never connects again.
  });
}
