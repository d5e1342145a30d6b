/** Several processes that do the same work on one port: started, watched, started again, stopped. */
import type { ChildProcess } from 'node:child_process';
import cluster from 'node:cluster';
import { fence } from '@starling/ports';
import { StartError } from './start-error.ts';
import { Line } from './line.ts';
import type { PinoObserver } from './log.ts';

/** In the environment of a worker: which one it is, from 1. */
const seatName = 'STARLING_WORKER';

/** What a worker knows of the process that started it. */
export interface Supervisor {
  /** The worker's own number, from 1. The one that takes a dead worker's place has the dead one's. */
  readonly number: number;
  readonly line: Line;
}

/** Undefined in a process that was started by hand. Call it once. */
export function findSupervisor(observer: PinoObserver): Supervisor | undefined {
  const number = Number(process.env[seatName]);
  // The variable alone could have been inherited by anything a worker starts.
  return number > 0 && cluster.isWorker ? { number, line: new Line(process, observer) } : undefined;
}

/** Said by a worker when it serves. */
export const readyNews = 'ready';
/** Said to a worker when the process that started it is about to end in an unknown state, and so all of them. */
export const crashNews = 'crash';

export interface WorkersOptions {
  readonly count: number;
  readonly observer: PinoObserver;
  /** Told of each process before it can say anything; what it returns is called when that has ended. */
  readonly onStarted: (line: Line) => () => void;
  /** No worker is left and none can be started: nothing is left to do but to end. */
  readonly onGivenUp: () => void;
  /** How long a worker may take to stop in order. Then it is killed. */
  readonly stopLimitMs: number;
  readonly restarts?: Partial<RestartLimits>;
  /** Starts a process. Default: another of this program, in Node's cluster. */
  readonly start?: (number: number) => ChildProcess;
}

export interface RestartLimits {
  /** Before the first restart; each further one in a row waits twice as long as the one before. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  /** A worker that served for so long did not die of its start: the counting begins anew. */
  readonly longLifeMs: number;
  /** After so many short lives in a row, when no other worker serves either, there is no further one. */
  readonly shortLives: number;
}

const defaultRestartLimits: RestartLimits = {
  firstPauseMs: 100,
  longestPauseMs: 10_000,
  longLifeMs: 60_000,
  shortLives: 10,
};

interface Running {
  readonly number: number;
  readonly child: ChildProcess;
  readonly line: Line;
  readonly ended: Promise<void>;
  readyAtMs: number | undefined;
}

export class Workers {
  readonly #options: WorkersOptions;
  readonly #restarts: RestartLimits;
  readonly #running = new Set<Running>();
  readonly #pauses = new Set<NodeJS.Timeout>();
  /** By number: how many short lives in a row. */
  readonly #shortLives = new Map<number, number>();
  #isStopping = false;
  #restartCount = 0;

  constructor(options: WorkersOptions) {
    this.#options = options;
    this.#restarts = { ...defaultRestartLimits, ...options.restarts };
  }

  /** To those that serve now. */
  get lines(): readonly Line[] {
    return [...this.#running].filter(({ readyAtMs }) => readyAtMs !== undefined).map(({ line }) => line);
  }

  /** How many died and had another take their place. */
  get restartCount(): number {
    return this.#restartCount;
  }

  /** Resolves with what the first worker said when all of them serve. Throws when one ends before. */
  async start(): Promise<unknown> {
    try {
      // The first alone: what keeps it from starting is said once, and not by each.
      const first = await this.#untilReady(this.#startOne(1));
      const others = Array.from({ length: this.#options.count - 1 }, (_, index) => this.#startOne(index + 2));
      await Promise.all(others.map((each) => this.#untilReady(each)));
      for (const each of this.#running) this.#watch(each);
      return first;
    } catch (err) {
      await this.stop();
      throw err;
    }
  }

  /** Each stops in order, all at once. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    for (const pause of this.#pauses) clearTimeout(pause);
    const { stopLimitMs, observer } = this.#options;
    const { log } = observer;
    const limit = setTimeout(() => {
      log.error(
        { workers: [...this.#running].map(({ number }) => number), stopLimitMs },
        'Killed: did not stop in time',
      );
      for (const { child } of this.#running) child.kill('SIGKILL');
    }, stopLimitMs);
    for (const { child } of this.#running) child.kill('SIGTERM');
    await Promise.all([...this.#running].map(({ ended }) => ended));
    clearTimeout(limit);
  }

  /** Each tells its clients to come back and ends. Resolves when all have. */
  async crash(): Promise<void> {
    this.#isStopping = true;
    for (const pause of this.#pauses) clearTimeout(pause);
    for (const { line } of this.#running) line.tell(crashNews);
    await Promise.all([...this.#running].map(({ ended }) => ended));
  }

  /** Throws where the system has no room for another process. */
  #startOne(number: number): Running {
    const { observer, start = startInCluster } = this.#options;
    const child = start(number);
    const line = new Line(child, observer);
    const ended = new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
      // A message that could not be sent: its sender is told, and a process that is gone ends with an event of its own,
      // unless it never began.
      child.on('error', () => {
        if (child.pid === undefined) resolve();
      });
    });
    const running: Running = { number, child, line, readyAtMs: undefined, ended };
    this.#running.add(running);
    const close = this.#options.onStarted(line);
    const forget = fence(observer, 'listener', () => {
      this.#running.delete(running);
      close();
    });
    void ended.then(forget);
    return running;
  }

  async #untilReady(running: Running): Promise<unknown> {
    const { child, line, number, ended } = running;
    const said = await Promise.race([
      new Promise<{ about: unknown }>((resolve) => line.heed(readyNews, (about) => resolve({ about }))),
      ended,
    ]);
    if (said === undefined) {
      throw new StartError(`worker ${number} ended before it was ready, with ${howItEnded(child)}`);
    }
    running.readyAtMs = performance.now();
    this.#options.observer.log.info({ worker: number, pid: child.pid }, 'A worker is ready');
    return said.about;
  }

  #watch(running: Running): void {
    const { number, child } = running;
    void running.ended.then(() => this.#ended(number, running.readyAtMs, { pid: child.pid, ended: howItEnded(child) }));
  }

  #ended(number: number, readyAtMs: number | undefined, how: Record<string, unknown>): void {
    if (this.#isStopping) return;
    const { firstPauseMs, longestPauseMs, longLifeMs, shortLives } = this.#restarts;
    const livedLong = readyAtMs !== undefined && performance.now() - readyAtMs >= longLifeMs;
    const inARow = livedLong ? 1 : (this.#shortLives.get(number) ?? 0) + 1;
    this.#shortLives.set(number, inARow);
    const details = { worker: number, ...how, inARow };
    // While others serve, their clients are better off with them than with nobody.
    if (inARow >= shortLives && this.lines.length === 0) {
      this.#options.observer.log.fatal(details, 'A worker died again and again, and no other serves: giving up');
      this.#isStopping = true;
      this.#options.onGivenUp();
      return;
    }
    const pauseMs = Math.min(longestPauseMs, firstPauseMs * 2 ** (inARow - 1));
    this.#options.observer.log.error({ ...details, pauseMs }, 'A worker died: another takes its place');
    const pause = setTimeout(() => {
      this.#pauses.delete(pause);
      this.#restartCount++;
      let next: Running;
      try {
        next = this.#startOne(number);
      } catch (err) {
        // The system had no room for a process, and may have it later: that was one more short life.
        this.#ended(number, undefined, { err });
        return;
      }
      this.#watch(next);
      // When it ends before that, the watch has it.
      this.#untilReady(next).catch(() => {});
    }, pauseMs);
    this.#pauses.add(pause);
  }
}

function howItEnded({ exitCode, signalCode }: ChildProcess): string {
  return signalCode ?? (exitCode === null ? 'no start' : `exit code ${exitCode}`);
}

/**
 * Node's cluster with its round robin, which is its default: the port belongs to this process, which accepts, and hands
 * each connection to a worker that has taken its last one.
 */
function startInCluster(number: number): ChildProcess {
  if (!cluster.isPrimary) {
    throw new StartError('this process is itself a worker of something else: start it alone, or without workers');
  }
  // Plain JSON would turn numbers that are none into null.
  cluster.setupPrimary({ serialization: 'advanced' });
  cluster.schedulingPolicy = cluster.SCHED_RR;
  return cluster.fork({ [seatName]: String(number) }).process;
}
