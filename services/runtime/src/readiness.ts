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

export class Readiness {
  readonly #checks: readonly ReadinessCheck[];
  readonly #observer: Observer;
  #isStopping = false;
  #running: Promise<ReadinessAnswer> | undefined;

  constructor(checks: readonly ReadinessCheck[], observer: Observer) {
    this.#checks = checks;
    this.#observer = observer;
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
    // One run at a time answers everyone who asks meanwhile: the path is open to all, and a check costs a round trip.
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
    return { isReady, checks: Object.fromEntries(verdicts) };
  }

  async #verdict({ name, run, limitMs, isDetail }: ReadinessCheck): Promise<string> {
    const limit = new AbortController();
    try {
      return await Promise.race([
        run().then(() => 'ok'),
        setTimeout(limitMs, 'timed out', { signal: limit.signal, ref: false }),
      ]);
    } catch (err) {
      // Who watches a detail says so once, and not each time somebody asks.
      if (!isDetail) this.#observer.problem('A readiness check failed', { check: name, err });
      return 'failed';
    } finally {
      limit.abort();
    }
  }
}
