/** Starting in order, stopping in the exact reverse, and what the process does about signals and defects. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Log } from './log.ts';

export type Close = () => unknown;

/** A fault of the surroundings that the operator can mend: its text says how, and no stack is shown. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

interface Step {
  readonly name: string;
  readonly open: () => unknown;
  readonly closeLimitMs: number;
}

/** What a program opens, in the order in which it was added, and closes in the exact reverse. */
export class Lifecycle {
  readonly #log: Log;
  readonly #steps: Step[] = [];
  readonly #toClose: Array<Step & { readonly close: Close }> = [];
  #opening: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  /**
   * `open` is called by `start`; what it returns, or resolves with, is called by `stop` if it is a function. The
   * closing has `closeLimitMs`, then the next one's turn comes.
   */
  add(name: string, open: () => unknown, closeLimitMs = 5_000): void {
    this.#steps.push({ name, open, closeLimitMs });
  }

  /** When a step fails, those before it are closed and its error is thrown. A stop meanwhile ends the starting. */
  async start(): Promise<void> {
    for (const step of this.#steps) {
      if (this.#stopping) return this.#stopping;
      this.#opening = this.#open(step);
      try {
        await this.#opening;
      } catch (err) {
        await this.stop();
        throw err;
      }
    }
  }

  /** A step that fails or takes too long is logged, and keeps none of the others from closing. Never rejects. */
  stop(): Promise<void> {
    this.#stopping ??= this.#closeAll();
    return this.#stopping;
  }

  async #open(step: Step): Promise<void> {
    // Not at once: a stop asked for in the middle of an opening must find it under way.
    const close = await Promise.resolve().then(step.open);
    if (typeof close === 'function') this.#toClose.push({ ...step, close: close as Close });
  }

  async #closeAll(): Promise<void> {
    // What is being opened at this moment can be closed only when it is open. If it fails, `start` says so.
    await Promise.race([this.#opening?.catch(() => {}), delay(5_000, undefined, { ref: false })]);
    for (let step = this.#toClose.pop(); step !== undefined; step = this.#toClose.pop()) {
      const { name, close, closeLimitMs } = step;
      const limit = new AbortController();
      try {
        const isInTime = await Promise.race([
          Promise.resolve(close()).then(() => true),
          delay(closeLimitMs, false, { signal: limit.signal }),
        ]);
        if (!isInTime) this.#log.warn({ step: name, closeLimitMs }, 'Did not stop in time');
      } catch (err) {
        this.#log.error({ step: name, err }, 'Did not stop cleanly');
      } finally {
        limit.abort();
      }
    }
  }
}

/** A terminal's Ctrl-C reaches the process directly and again through npm: within this time it is one wish. */
const sameWishMs = 500;

/**
 * Builds and starts a program, and runs it until SIGTERM or SIGINT; then it stops in order and exits 0, and a second
 * signal exits at once. A start that fails is printed and exits 1. A rejection that nobody waited for is logged; an
 * exception that nobody caught leaves the process in an unknown state, so it stops in order and exits 1. So it does
 * when what was built says that it cannot go on.
 */
export async function runProgram(log: Log, build: (cannotGoOn: () => void) => Lifecycle): Promise<void> {
  const running: { lifecycle?: Lifecycle; signalledAtMs?: number } = {};
  const stopAndExit = async (status: number): Promise<never> => {
    await running.lifecycle?.stop();
    log.info('Stopped');
    process.exit(status);
  };
  const onSignal = (signal: NodeJS.Signals) => {
    if (running.signalledAtMs === undefined) {
      running.signalledAtMs = performance.now();
      log.info({ signal }, 'Stopping');
      void stopAndExit(0);
    } else if (performance.now() - running.signalledAtMs > sameWishMs) {
      log.warn({ signal }, 'Stopped at once, on a second signal');
      process.exit(signal === 'SIGINT' ? 130 : 143);
    }
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  if (process.env['npm_lifecycle_event'] !== undefined) onOrphaned(() => onSignal('SIGTERM'));
  process.on('unhandledRejection', (err) => log.error({ err }, 'A defect: a rejection that nobody handled'));
  process.on('uncaughtException', (err) => {
    log.fatal({ err }, 'A defect: an exception that nobody caught, stopping');
    void stopAndExit(1);
  });
  try {
    running.lifecycle = build(() => void stopAndExit(1));
    await running.lifecycle.start();
  } catch (err) {
    if (err instanceof StartError) log.fatal(`Cannot start: ${err.message}`);
    else log.fatal({ err }, 'Cannot start');
    process.exit(1);
  }
}

/**
 * npm runs a script below a shell, and passes a signal on to the shell alone, which dies of it. What it ran would go on
 * unseen, and hold its port.
 */
function onOrphaned(run: () => void): void {
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    run();
  }, 500);
  watch.unref();
}
