/** Bounds that hold for tries side by side, in programs side by side. */
import { FakeClock, MemoryRateLimiter } from '@starling/adapters/memory';
import type { Database } from '@starling/database';
import { databaseOf } from '@starling/database/test-kit';
import { StarlingError } from '@starling/protocol';
import { describe, expect, test } from 'vitest';
import { giveTryBack, pruneTries, takeAllowance, takeTry } from './throttle.ts';

describe('bounds on guessing', () => {
  const database = databaseOf();
  const depsOf = (one: Database, clock: FakeClock) => ({
    database: one,
    clock,
    rateLimiter: new MemoryRateLimiter(clock),
  });
  /** How long to wait, in seconds; 0 for who was let through. */
  const waitOf = async (taken: Promise<unknown>): Promise<number> => {
    try {
      await taken;
      return 0;
    } catch (err) {
      if (!(err instanceof StarlingError && err.code === 'rate_limited')) throw err;
      return err.retryAfterSeconds ?? 0;
    }
  };
  const allowance = { most: 20, oneMoreEverySeconds: 600 };

  test('[AU19] an allowance is given no oftener than it says, by two programs at once', async () => {
    const clock = new FakeClock();
    const programs = [depsOf(database, clock), depsOf(await database.openAnother(), clock)];
    const waits = await Promise.all(
      Array.from({ length: 60 }, (_, at) =>
        waitOf(takeAllowance(programs[at % 2] ?? depsOf(database, clock), allowance, 'a')),
      ),
    );
    expect(waits.filter((wait) => wait === 0)).toHaveLength(20);
    for (const wait of waits.filter((each) => each !== 0)) expect(wait).toBe(600);
    const tries = await Promise.all(
      Array.from({ length: 30 }, (_, at) => waitOf(takeTry(programs[at % 2] ?? depsOf(database, clock), 'a place'))),
    );
    expect(tries.filter((wait) => wait === 0)).toHaveLength(5);
  });

  test('[AU19] an allowance comes back with time, no part of it lost, and up to what it was', async () => {
    const clock = new FakeClock();
    const deps = depsOf(database, clock);
    const take = () => waitOf(takeAllowance(deps, allowance, 'a'));
    const takeAll = async () => {
      let taken = 0;
      while (taken < 50 && (await take()) === 0) taken++;
      return taken;
    };
    expect(await takeAll()).toBe(20);
    clock.advance(599_000);
    expect(await take()).toBe(1);
    clock.advance(1_000 + 900_000);
    expect(await takeAll()).toBe(2);
    expect(await take()).toBe(300);
    clock.advance(300_000);
    expect(await takeAll()).toBe(1);
    clock.advance(24 * 3_600_000);
    expect(await takeAll()).toBe(20);
    await giveTryBack(deps, 'a');
    expect(await takeAll()).toBe(1);
    await pruneTries(deps);
    expect(await takeAll()).toBe(0);
  });

  test.each([-3_600_000, -5_000])('[CK1] [AU19] a clock set by %i ms keeps nobody out for as long', async (byMs) => {
    const clock = new FakeClock();
    const deps = depsOf(database, clock);
    for (let count = 0; count < 5; count++) expect(await waitOf(takeTry(deps, 'a place'))).toBe(0);
    for (let count = 0; count < 20; count++) expect(await waitOf(takeAllowance(deps, allowance, 'a'))).toBe(0);
    clock.stepWall(byMs);
    expect(await waitOf(takeTry(deps, 'a place'))).toBe(1);
    expect(await waitOf(takeAllowance(deps, allowance, 'a'))).toBe(600);
    clock.advance(1_000);
    expect(await waitOf(takeTry(deps, 'a place'))).toBe(0);
    clock.advance(599_000);
    expect(await waitOf(takeAllowance(deps, allowance, 'a'))).toBe(0);
    expect(await waitOf(takeAllowance(deps, allowance, 'a'))).toBe(600);
  });
});
