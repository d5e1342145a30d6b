import { rateLimiterContract } from '@starling/ports/contract';
import { describe, expect, it } from 'vitest';
import { FakeClock } from './fake-clock.ts';
import { MemoryRateLimiter } from './rate-limiter.ts';

rateLimiterContract('MemoryRateLimiter', 1, async () => {
  const clock = new FakeClock();
  return {
    nodes: [new MemoryRateLimiter(clock)],
    advance: async (durationMs) => clock.advance(durationMs),
    stepWall: (byMs) => clock.stepWall(byMs),
    close: async () => undefined,
  };
});

describe('MemoryRateLimiter', () => {
  it('keeps no bucket of a name that has not been asked for in two seconds', async () => {
    const clock = new FakeClock();
    const limiter = new MemoryRateLimiter(clock);
    for (let name = 0; name < 5_000; name++) {
      await limiter.take(`name ${name}`, 1, 1);
      clock.advance(1);
    }
    expect(limiter.size).toBeLessThanOrEqual(2_001);
    clock.advance(10_000);
    await limiter.take('one', 1, 1);
    expect(limiter.size).toBe(1);
  });

  it('[LI14] keeps a bounded number of buckets, however many names somebody makes up in a second', async () => {
    const limiter = new MemoryRateLimiter(new FakeClock());
    await limiter.take('first', 10, 10);
    for (let index = 0; index < 100_001; index++) void limiter.take(`name-${index}`, 1, 10);
    expect(limiter.size).toBe(100_000);
    expect((await limiter.take('name-100000', 10, 10)).isAllowed).toBe(false);
    expect((await limiter.take('first', 10, 10)).isAllowed).toBe(true);
  });
});
