/** Whether this node should be sent work: the answer behind `/readyz`. */
import { setTimeout } from 'node:timers/promises';
import type { Observer } from '@starling/ports';

export interface ReadinessCheck {
  readonly name: string;
  /** A real round trip; rejects when it fails. */
  readonly run: () => Promise<unknown>;
  readonly limitMs: number;
  /** Told with the others, and no reason not to be ready. */
  readonly isDetail?: boolean;
}

export interface ReadinessAnswer {
  readonly isReady: boolean;
  /** By check: `ok`, `failed` or `timed out`. */
  readonly checks: Readonly<Record<string, string>>;
}

/** The path is open to all, and a check costs a round trip: so long one answer stands for those who ask next. */
const freshMs = 200;

export class Readiness {
  readonly #checks: readonly ReadinessCheck[];
  readonly #observer: Pick<Observer, 'problem'>;
  readonly #now: () => number;
  #isStopping = false;
  #running: Promise<ReadinessAnswer> | undefined;
  #last: { readonly answer: ReadinessAnswer; readonly at: number } | undefined;
  /** What was said last of each check that did not pass: it is said again only when it changes. */
  readonly #failing = new Map<string, string>();

  /** `now`: milliseconds of a clock that only goes on. */
  constructor(
    checks: readonly ReadinessCheck[],
    observer: Pick<Observer, 'problem'>,
    now: () => number = () => performance.now(),
  ) {
    this.#checks = checks;
    this.#observer = observer;
    this.#now = now;
  }

  get isStopping(): boolean {
    return this.#isStopping;
  }

  /** From here on the answer is no, for good. */
  stop(): void {
    this.#isStopping = true;
  }

  async read(): Promise<ReadinessAnswer> {
    if (this.#isStopping) return { isReady: false, checks: { lifecycle: 'stopping' } };
    if (this.#last !== undefined && this.#now() - this.#last.at < freshMs) return this.#last.answer;
    // One run at a time answers everyone who asks meanwhile.
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    const answer = await this.#running;
    return this.#isStopping ? this.read() : answer;
  }

  async #run(): Promise<ReadinessAnswer> {
    const verdicts = await Promise.all(
      this.#checks.map(async (check) => [check.name, await this.#verdict(check)] as const),
    );
    const details = new Set(this.#checks.filter(({ isDetail }) => isDetail).map(({ name }) => name));
    const isReady = verdicts.every(([name, verdict]) => verdict === 'ok' || details.has(name));
    const answer = { isReady, checks: Object.fromEntries(verdicts) };
    this.#last = { answer, at: this.#now() };
    return answer;
  }

  async #verdict({ name, run, limitMs, isDetail }: ReadinessCheck): Promise<string> {
    const limit = new AbortController();
    try {
      const verdict = await Promise.race([
        run().then(() => 'ok'),
        setTimeout(limitMs, 'timed out', { signal: limit.signal, ref: false }),
      ]);
      if (!isDetail) this.#tell(name, verdict);
      return verdict;
    } catch (err) {
      // Who watches a detail says so itself.
      if (!isDetail) this.#tell(name, 'failed', err);
      return 'failed';
    } finally {
      limit.abort();
    }
  }

  /** In the log alone: to strangers the parts of an installation and their state are no matter. */
  #tell(check: string, verdict: string, err?: unknown): void {
    if (verdict === 'ok') {
      this.#failing.delete(check);
    } else if (this.#failing.get(check) !== verdict) {
      this.#failing.set(check, verdict);
      this.#observer.problem('A readiness check failed', { check, verdict, ...(err !== undefined && { err }) });
    }
  }
}
