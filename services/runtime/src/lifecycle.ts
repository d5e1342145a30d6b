/** Starting in order, stopping in the exact reverse, and what the process does about signals and defects. */
import { setTimeout } from 'node:timers/promises';
import type { Log } from './log.ts';

export interface Step {
  readonly name: string;
  readonly start?: () => unknown;
  readonly stop?: () => unknown;
  /** How long `stop` may take before the next step's turn comes; default 5 s. */
  readonly stopLimitMs?: number;
}

/** Steps are added in the order in which they start. Nothing starts until `start`. */
export class Lifecycle {
  readonly #log: Log;
  readonly #steps: Step[] = [];
  /** Of the steps, how many are to be stopped. */
  #started = 0;
  #stopping: Promise<void> | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  add(step: Step): void {
    this.#steps.push(step);
  }

  /** When a step fails, those before it are stopped and its error is thrown. A stop meanwhile ends the starting. */
  async start(): Promise<void> {
    for (const step of this.#steps) {
      if (this.#stopping) return this.#stopping;
      // Counted before it has started: half a start may have something to stop.
      this.#started++;
      try {
        await step.start?.();
      } catch (err) {
        await this.stop();
        throw err;
      }
    }
  }

  /** A step that fails or takes too long is logged, and keeps none of the others from stopping. Never rejects. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  async #stopAll(): Promise<void> {
    for (const step of this.#steps.slice(0, this.#started).reverse()) {
      const limit = new AbortController();
      const limitMs = step.stopLimitMs ?? 5_000;
      try {
        const inTime = await Promise.race([
          Promise.resolve(step.stop?.()).then(() => true),
          setTimeout(limitMs, false, { signal: limit.signal }),
        ]);
        if (!inTime) this.#log.warn({ step: step.name, limitMs }, 'Did not stop in time');
      } catch (err) {
        this.#log.error({ step: step.name, err }, 'Did not stop cleanly');
      } finally {
        limit.abort();
      }
    }
  }
}

/** A terminal's Ctrl-C reaches the process directly and again through npm: within this time it is one wish. */
const sameWishMs = 500;

/**
 * Runs until SIGTERM or SIGINT, then stops and exits 0; a second signal exits at once. A start that fails is printed
 * and exits 1. A defect met outside any request or session is logged; one that leaves the process in an unknown state
 * stops it in order and exits 1.
 */
export async function runProgram(lifecycle: Lifecycle, log: Log): Promise<void> {
  const stopAndExit = async (status: number): Promise<never> => {
    await lifecycle.stop();
    log.info('Stopped');
    process.exit(status);
  };
  const signalled: { atMs?: number } = {};
  const onSignal = (signal: NodeJS.Signals) => {
    if (signalled.atMs === undefined) {
      signalled.atMs = performance.now();
      log.info({ signal }, 'Stopping');
      void stopAndExit(0);
    } else if (performance.now() - signalled.atMs > sameWishMs) {
      log.warn({ signal }, 'Stopped at once, on a second signal');
      process.exit(signal === 'SIGINT' ? 130 : 143);
    }
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  // Nobody waited for it, so nothing depends on it: worth mending, not worth every connection.
  process.on('unhandledRejection', (err) => log.error({ err }, 'A defect: a rejection that nobody handled'));
  process.on('uncaughtException', (err) => {
    log.fatal({ err }, 'A defect: stopping');
    void stopAndExit(1);
  });
  try {
    await lifecycle.start();
  } catch (err) {
    log.fatal({ err }, 'Could not start');
    process.exit(1);
  }
}
