/** Starting in order, stopping in the exact reverse, and what the process does about signals and defects. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Log, PinoObserver } from './log.ts';
import { flushed, surviveLostOutput } from './output.ts';
import { StartError } from './start-error.ts';

export type Close = () => unknown;

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
  readonly #onCrash: Array<Close> = [];
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

  /** What to do when the process is about to end in an unknown state: quick, and for those at the other ends alone. */
  onCrash(run: Close): void {
    this.#onCrash.push(run);
  }

  /** All of it at once, in the place of `stop`. Resolves when it is done, or after the limit. Never rejects. */
  async crash(limitMs: number): Promise<void> {
    const runs = this.#onCrash.splice(0).map(async (run) => {
      try {
        await run();
      } catch {
        // The state is unknown, and why is logged: what fails now says nothing more.
      }
    });
    await Promise.race([Promise.all(runs), delay(limitMs, undefined, { ref: false })]);
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
      const beganAt = performance.now();
      try {
        const isInTime = await Promise.race([
          Promise.resolve(close()).then(() => true),
          delay(closeLimitMs, false, { signal: limit.signal }),
        ]);
        if (!isInTime) this.#log.warn({ step: name, closeLimitMs }, 'Did not stop in time');
        else this.#log.debug({ step: name, tookMs: Math.round(performance.now() - beganAt) }, 'Closed');
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

/** As a shell tells of a process that a signal ended. */
const exitCodes = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/** How long clients are told to come back, before a process in an unknown state ends. */
const crashLimitMs = 1_000;
/** After this time such a process ends, whatever hangs. */
const crashHardLimitMs = 1_500;
/** How long a process that ends waits for the reader of its last lines. */
const flushLimitMs = 300;

/** How a program ends itself. */
export interface Ending {
  /** In order, as on SIGTERM, but with 1: it cannot do any more what it is for. */
  giveUp(): void;
  /** At once, with 1: its state, or that of the process it depends on, is unknown. */
  crash(): void;
}

/**
 * Builds and starts a program, and runs it until SIGTERM, SIGINT or SIGHUP; then it stops in order and exits 0, and a second
 * signal exits at once. A start that fails is printed and exits 1. A rejection that nobody handled is counted and logged:
 * it belongs to one thing that failed. An exception that nobody caught may have left anything half done, so clients are
 * told to come back, for a second, and the process ends with 1. A lost stdout or stderr ends nothing.
 */
export async function runProgram(
  observer: PinoObserver,
  build: (ending: Ending) => Lifecycle | Promise<Lifecycle>,
): Promise<void> {
  const { log } = observer;
  const running: { lifecycle?: Lifecycle; signalledAtMs?: number; isCrashing?: boolean } = {};
  const stopAndExit = async (status: number): Promise<void> => {
    await running.lifecycle?.stop();
    log.info('Stopped');
    await flushed(process.stdout, flushLimitMs);
    process.exit(status);
  };
  const crash = (err?: unknown): void => {
    if (running.isCrashing) return;
    running.isCrashing = true;
    setTimeout(() => process.exit(1), crashHardLimitMs);
    if (err !== undefined) log.fatal({ err }, 'A defect: an exception that nobody caught. The process ends');
    void (running.lifecycle?.crash(crashLimitMs) ?? Promise.resolve())
      .then(() => flushed(process.stdout, flushLimitMs))
      .then(() => process.exit(1));
  };
  const onSignal = (signal: keyof typeof exitCodes) => {
    if (running.signalledAtMs === undefined) {
      running.signalledAtMs = performance.now();
      log.info({ signal }, 'Stopping');
      void stopAndExit(0);
    } else if (performance.now() - running.signalledAtMs > sameWishMs) {
      log.warn({ signal }, 'Stopped at once, on a second signal');
      process.exit(exitCodes[signal]);
    }
  };
  surviveLostOutput();
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  // The terminal is gone, or whoever kept the process wants it to go: nobody's connection is cut for that.
  process.on('SIGHUP', onSignal);
  if (process.env['npm_lifecycle_event'] !== undefined) onOrphaned(() => onSignal('SIGTERM'));
  process.on('unhandledRejection', (err) => observer.defect('rejection', err));
  process.on('uncaughtException', (err) => crash(err ?? new Error('Something that is no error was thrown')));
  try {
    running.lifecycle = await build({ giveUp: () => void stopAndExit(1), crash: () => crash() });
    await running.lifecycle.start();
  } catch (err) {
    if (err instanceof StartError) log.fatal(`Cannot start: ${err.message}`);
    else log.fatal({ err }, 'Cannot start');
    await flushed(process.stdout, flushLimitMs);
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
