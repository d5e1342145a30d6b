/** Budgets shared by all nodes. */
import type { Clock, RateAnswer, RateLimiter } from '@starling/ports';
import type { RedisLink } from './link.ts';
import { scripts } from './scripts.ts';

export class RedisRateLimiter implements RateLimiter {
  readonly #link: RedisLink;
  readonly #clock: Pick<Clock, 'elapsed'> | undefined;

  /** `clock`: for tests that own the time. Without one it is Redis's own, which is the same for all nodes. */
  constructor(link: RedisLink, clock?: Pick<Clock, 'elapsed'>) {
    this.#link = link;
    this.#clock = clock;
  }

  async take(name: string, cost: number, perSecond: number): Promise<RateAnswer> {
    const now = this.#clock?.elapsed() ?? '';
    const answer = await this.#link.run(scripts.take, [this.#link.keys.bucket(name)], [cost, perSecond, now]);
    const [isAllowed, remaining, retryAfterMs] = answer as [number, number, number];
    return { isAllowed: isAllowed === 1, remaining, retryAfterMs };
  }
}
