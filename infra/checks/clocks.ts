/**
 * Who may read which clock, and why. A wall clock is set back and on while a program runs: what takes it for a duration
 * refuses, cuts or keeps for as long as the step was. Everything that lasts reads `elapsed()`.
 */

/** Where the machine's own clocks are read: by path, the reason. Everything else is given a `Clock`. */
export const realClocks: ReadonlyMap<string, string> = new Map([
  ['services/adapters/src/system-clock.ts', 'it is the Clock of the machine'],
  ['services/adapters/src/memory/app-store.ts', 'when a token was revoked is compared with when it was made'],
  ['services/runtime/src/log.ts', 'lines of the log tell the time; for how long lines are withheld is monotonic'],
  ['services/database/src/backup.ts', 'a backup tells when it was made'],
  ['services/control/src/oidc/provider.ts', 'a library that reads this clock is told how far off the Clock is'],
  ['sdk/client/src/surroundings.ts', 'it is the clock of the client, which has no Clock'],
  ['services/starling/src/demo/page.js', 'it shows when each event came, in a browser'],
  ['sdk/server/src/starling.ts', 'signatures and tokens carry the time'],
]);

/** Folders in which there is no `Clock`, and durations are measured by `performance.now()`: by path, the reason. */
export const monotonicReaders: ReadonlyMap<string, string> = new Map([
  ['services/runtime', 'processes, their ends and their event loop: nothing there is driven by a test’s clock'],
  ['services/database', 'processes and connections of a real Postgres'],
]);

/** Where `Clock.now()` is read, outside of control: by path, the reason. Control keeps all that it times in Postgres. */
export const wallReaders: ReadonlyMap<string, string> = new Map([
  ['services/api/src/signed-route.ts', 'timestamps of signatures, and when a key was used last'],
  ['services/api/src/revoke-tokens.ts', 'when a token was revoked is compared with when it was made'],
  ['services/core/src/session.ts', 'when a token is over, and when a key was used last'],
  ['services/core/src/token.ts', 'when a token is over'],
  ['services/core/src/cluster-view.ts', 'use is recorded by the minute'],
  ['services/core/src/debug.ts', 'entries tell the time'],
  ['services/starling/src/compose.ts', 'nodes tell since when they run'],
]);
