/** What every rate limiter must do. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RateLimiter } from '../index.ts';
import { oddNames } from './inbox.ts';

export interface RateLimiterFixture {
  /** As many as the suite was told, over one empty world and one clock. */
  readonly nodes: readonly RateLimiter[];
  /** Moves the clock the limiters go by. It stands still otherwise, so that the numbers are exact. */
  advance(durationMs: number): Promise<void>;
  /** Sets the wall clock of every node on, or back. No time passes. */
  stepWall(byMs: number): void;
  close(): Promise<void>;
}

/** Two nodes: the concurrent test spreads its calls over both. */
export function rateLimiterContract(name: string, nodes: 1 | 2, make: () => Promise<RateLimiterFixture>): void {
  describe(`${name} as a rate limiter`, () => {
    let fixture: RateLimiterFixture;
    let limiter: RateLimiter;

    beforeEach(async () => {
      fixture = await make();
      expect(fixture.nodes).toHaveLength(nodes);
      limiter = fixture.nodes[0] as RateLimiter;
    });
    afterEach(() => fixture.close());

    it('allows one second’s worth at once, and says what is left', async () => {
      for (const remaining of [2, 1, 0]) {
        expect(await limiter.take('a', 1, 3)).toEqual({ isAllowed: true, remaining, retryAfterMs: 0 });
      }
      expect(await limiter.take('a', 1, 3)).toEqual({ isAllowed: false, remaining: 0, retryAfterMs: 334 });
    });

    it('refills steadily, not at the turn of a second', async () => {
      await limiter.take('a', 10, 10);
      await fixture.advance(300);
      expect(await limiter.take('a', 3, 10)).toMatchObject({ isAllowed: true, remaining: 0 });
      expect(await limiter.take('a', 1, 10)).toMatchObject({ isAllowed: false });
    });

    it('says exactly when the same call succeeds', async () => {
      for (const perSecond of [1, 3, 7, 10, 999]) {
        const bucket = `at ${perSecond}`;
        await limiter.take(bucket, perSecond, perSecond);
        const { isAllowed, retryAfterMs } = await limiter.take(bucket, 1, perSecond);
        expect(isAllowed).toBe(false);
        await fixture.advance(retryAfterMs - 1);
        expect((await limiter.take(bucket, 1, perSecond)).isAllowed).toBe(false);
        await fixture.advance(1);
        expect((await limiter.take(bucket, 1, perSecond)).isAllowed).toBe(true);
      }
    });

    it('takes nothing when it refuses', async () => {
      await limiter.take('a', 8, 10);
      for (let attempt = 0; attempt < 5; attempt++) {
        expect(await limiter.take('a', 3, 10)).toEqual({ isAllowed: false, remaining: 2, retryAfterMs: 100 });
      }
      expect(await limiter.take('a', 2, 10)).toMatchObject({ isAllowed: true, remaining: 0 });
    });

    it('never allows a cost above the budget, however long one waits, and takes nothing for it', async () => {
      expect((await limiter.take('a', 11, 10)).isAllowed).toBe(false);
      await fixture.advance(60_000);
      for (const refused of [await limiter.take('a', 11, 10), await limiter.take('none at all', 1, 0)]) {
        expect(refused.isAllowed).toBe(false);
        // It goes into a Retry-After header: a number, whatever it may be worth.
        expect(Number.isFinite(refused.retryAfterMs) && refused.retryAfterMs > 0).toBe(true);
      }
      expect(await limiter.take('a', 10, 10)).toMatchObject({ isAllowed: true, remaining: 0 });
    });

    it('saves up one second’s worth and no more', async () => {
      await limiter.take('a', 1, 5);
      await fixture.advance(3_600_000);
      expect(await limiter.take('a', 5, 5)).toMatchObject({ isAllowed: true });
      expect(await limiter.take('a', 1, 5)).toMatchObject({ isAllowed: false });
      await fixture.advance(999);
      expect(await limiter.take('a', 1, 5)).toMatchObject({ isAllowed: true });
      await fixture.advance(999);
      expect(await limiter.take('a', 1, 5)).toMatchObject({ isAllowed: true, remaining: 4 });
    });

    it('remembers an empty bucket that is asked again within the second', async () => {
      await fixture.advance(990);
      await limiter.take('a', 4, 4);
      await fixture.advance(20);
      await limiter.take('another', 1, 4);
      expect((await limiter.take('a', 1, 4)).isAllowed).toBe(false);
      await fixture.advance(229);
      expect((await limiter.take('a', 1, 4)).isAllowed).toBe(false);
      await fixture.advance(1);
      expect((await limiter.take('a', 1, 4)).isAllowed).toBe(true);
    });

    it('never allows more than the elapsed seconds and one are worth', async () => {
      const perSecond = 9;
      let allowed = 0;
      let elapsedMs = 0;
      for (let step = 0; step < 500; step++) {
        const stepMs = (step * 7_919) % 97;
        await fixture.advance(stepMs);
        elapsedMs += stepMs;
        if ((await limiter.take('a', 1 + (step % 3), perSecond)).isAllowed) allowed += 1 + (step % 3);
        expect(allowed).toBeLessThanOrEqual(perSecond * (1 + elapsedMs / 1_000));
      }
      expect(allowed).toBeGreaterThan((perSecond * elapsedMs) / 1_000 - perSecond);
    });

    it.each([-3_600_000, -60_000, 60_000, 3_600_000])(
      '[CK1] does not notice a wall clock set by %i ms',
      async (byMs) => {
        await limiter.take('a', 10, 10);
        fixture.stepWall(byMs);
        expect(await limiter.take('a', 1, 10)).toEqual({ isAllowed: false, remaining: 0, retryAfterMs: 100 });
        await fixture.advance(100);
        expect(await limiter.take('a', 1, 10)).toMatchObject({ isAllowed: true, remaining: 0 });
        await fixture.advance(1_000);
        expect(await limiter.take('a', 10, 10)).toMatchObject({ isAllowed: true, remaining: 0 });
      },
    );

    it('follows a budget that is changed', async () => {
      await limiter.take('a', 10, 10);
      expect(await limiter.take('a', 20, 100)).toMatchObject({ isAllowed: true, remaining: 70 });
      expect((await limiter.take('a', 1, 5)).isAllowed).toBe(false);
    });

    it('keeps each name its own', async () => {
      for (const bucket of oddNames) {
        expect(await limiter.take(bucket, 1, 1)).toMatchObject({ isAllowed: true });
        expect(await limiter.take(bucket, 1, 1)).toMatchObject({ isAllowed: false });
      }
    });

    it('allows exactly the budget to many who ask at once', async () => {
      const answers = await Promise.all(
        Array.from({ length: 100 }, (_, index) => (fixture.nodes[index % nodes] as RateLimiter).take('a', 1, 40)),
      );
      expect(answers.filter((answer) => answer.isAllowed)).toHaveLength(40);
      const left = answers.filter((answer) => answer.isAllowed).map((answer) => answer.remaining);
      expect(left.sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, index) => index));
    });
  });
}
