/** The ports over Redis, for any number of nodes: a single server, sentinels, or a cluster. */
export { parseRedisUrl, type RedisAddress } from './address.ts';
export { RedisBroker } from './broker.ts';
export { RedisLink, type RedisLinkDeps } from './link.ts';
export { RedisNodeDirectory } from './node-directory.ts';
export { defaultLeaseTiming, type LeaseTiming } from './node-lease.ts';
export { RedisPresenceStore, type RedisPresenceStoreDeps } from './presence-store.ts';
export { RedisRateLimiter } from './rate-limiter.ts';
