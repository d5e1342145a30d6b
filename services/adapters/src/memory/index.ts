/**
 * The ports over the memory of one process, with which a single process needs nothing else. They say what the ports
 * mean: where another adapter answers differently, that one is wrong.
 */
export { MemoryAppStore } from './app-store.ts';
export { MemoryBroker, type MemoryBrokerOptions } from './broker.ts';
export { FakeClock } from './fake-clock.ts';
export { MemoryNodeDirectory } from './node-directory.ts';
export { MemoryPresenceStore } from './presence-store.ts';
export { MemoryRateLimiter } from './rate-limiter.ts';
export { MemoryTokenVerifier } from './token-verifier.ts';
