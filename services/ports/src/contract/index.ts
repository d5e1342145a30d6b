/**
 * One suite for each port, to be called in a test file with a way to make the adapter. An adapter is finished when its
 * suite passes.
 */
export { type AppStoreFixture, appOf, appStoreContract } from './app-store-contract.ts';
export { type BrokerFixture, brokerContract } from './broker-contract.ts';
export { type ClockFixture, clockContract } from './clock-contract.ts';
export { textOf } from './inbox.ts';
export { type NodeDirectoryFixture, nodeDirectoryContract, reportOf } from './node-directory-contract.ts';
export { type PresenceFixture, presenceStoreContract } from './presence-store-contract.ts';
export { type RateLimiterFixture, rateLimiterContract } from './rate-limiter-contract.ts';
export { type RevokerFixture, revokerContract } from './revoker-contract.ts';
export { tokenOf, tokenVerifierContract } from './token-verifier-contract.ts';
