import { defineConfig } from 'vitest/config';

/** For a night of fuzzing: how many times the usual number of seeds is tried. */
const fuzzFactor = Number(process.env['STARLING_FUZZ_FACTOR'] || 1);
if (!(fuzzFactor >= 1)) throw new Error('STARLING_FUZZ_FACTOR must be a number, 1 or more');

const shared = {
  exclude: ['**/node_modules/**', '**/dist/**'],
  // A test waits for an event with its own, shorter limit; this one only ends a test that hangs.
  testTimeout: 30_000,
  hookTimeout: 60_000,
};

/** Real programs, servers and browsers. */
const integration = {
  ...shared,
  globalSetup: ['infra/testing/global-setup.ts'],
  provide: { fuzzFactor },
  testTimeout: 120_000,
  hookTimeout: 120_000,
};
/** What takes how long is their subject: beside others it would be the machine's load. */
const timed = 'infra/e2e/resilience/**/*.int.test.ts';

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          ...shared,
          name: 'unit',
          sequence: { groupOrder: 0 },
          include: ['{sdk,services,infra}/**/*.test.ts'],
          exclude: [...shared.exclude, '**/*.int.test.ts'],
          provide: { fuzzFactor },
          testTimeout: shared.testTimeout * fuzzFactor,
        },
      },
      {
        test: {
          ...integration,
          name: 'integration',
          include: ['{sdk,services,infra}/**/*.int.test.ts'],
          exclude: [...shared.exclude, timed],
          // They mostly wait: for programs to start, for limits to pass, for a browser.
          maxWorkers: 3,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...integration,
          name: 'timed',
          include: [timed],
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
