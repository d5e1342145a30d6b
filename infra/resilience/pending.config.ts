/** Runs what waits for the product: `npx vitest run --config infra/resilience/pending.config.ts [part of a file's name]`. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['infra/resilience/*.pending.ts'],
    globalSetup: ['infra/testing/global-setup.ts'],
    provide: { fuzzFactor: 1 },
    // What passes takes less than half of it; what fails shall still print its figures.
    testTimeout: 170_000,
    hookTimeout: 120_000,
    // They measure: one at a time.
    fileParallelism: false,
  },
});
