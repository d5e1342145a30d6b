/** Several processes that do the same work on one port: started, watched, started again, stopped. */
import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { fence } from '@starling/ports';
import { HandOver, SharedPort } from './hand-over.ts';
import { IpcChannel } from './ipc-channel.ts';
import type { PinoObserver } from './log.ts';
import type { OwnPort, Port } from './port.ts';
import { environmentOf, readSeat } from './slot.ts';
import { StartError } from './start-error.ts';

/** What a worker knows of the process that started it. */
export interface Supervisor {
  /** The worker's own number, from 1. The one that takes a dead worker's place has the dead one's. */
  readonly number: number;
  /** The same for all workers of one process, and for no others. */
  readonly id: string;
  readonly channel: IpcChannel;
  readonly port: Port;
  /** Calls when that process has ended without a word: nobody watches this one any more. */
  onGone(run: () => void): void;
}

/** Undefined in a process that was started by hand. Call it once. */
export function findSupervisor(observer: PinoObserver): Supervisor | undefined {
  const slot = readSeat();
  if (slot === undefined) return undefined;
  const channel = new IpcChannel(process, observer);
  channel.answer(aliveQuestion, () => true);
  return {
    number: slot.number,
    id: slot.startedBy,
    channel,
    port: new SharedPort(process, slot.authority, observer),
    onGone: (run) => void process.once('disconnect', fence(observer, 'listener', run)),
  };
}

/** Asked of a worker again and again: one whose event loop stands still cannot answer. */
const aliveQuestion = 'alive';
/** Said by a worker when it serves. */
export const readyNews = 'ready';
/** Said to a worker when the process that started it is about to end in an unknown state, and so all of them. */
export const crashNews = 'crash';

export interface WorkersOptions {
  readonly count: number;
  readonly observer: PinoObserver;
  /** Told of each process before it can say anything; what it returns is called when that has ended. */
  readonly onStarted: (channel: IpcChannel) => () => void;
  /** No worker is left and none can be started: nothing is left to do but to end. */
  readonly onGivenUp: () => void;
  /** How long a worker may take to stop in order. Then it is killed. */
  readonly stopLimitMs: number;
  readonly restarts?: Partial<RestartLimits>;
  readonly heartbeat?: Partial<Heartbeat>;
  /** Whose connections the workers serve. */
  readonly port: OwnPort;
  /** Starts a process. Default: another of this program, with the same arguments. */
  readonly start?: (number: number, env: Readonly<Record<string, string>>) => ChildProcess;
}

/**
 * How a worker that hangs is found. What counts is how often it did not answer, and not for how long: where all processes
 * stood still together, as in a machine that was suspended, none of them has missed more than one.
 */
export interface Heartbeat {
  /** Between two questions, and for an answer. */
  readonly everyMs: number;
  /** So many unanswered in a row, and it is killed. */
  readonly missed: number;
  /** The same before it serves, while it loads code and waits for stores. */
  readonly missedAtStart: number;
}

const defaultHeartbeat: Heartbeat = { everyMs: 2_000, missed: 5, missedAtStart: 30 };

export interface RestartLimits {
  /** Before the first restart; each further one in a row waits twice as long as the one before. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  /** A worker that served for so long did not die of its start: the counting begins anew. */
  readonly longLifeMs: number;
  /** After so many short lives in a row, when no other worker serves either, there is no further one. */
  readonly shortLives: number;
  /** After so many lives in a row that ended before they served, while the whole is still starting, it does not start. */
  readonly startLives: number;
}

const defaultRestartLimits: RestartLimits = {
  firstPauseMs: 100,
  longestPauseMs: 10_000,
  longLifeMs: 60_000,
  shortLives: 10,
  startLives: 4,
};

interface Running {
  readonly number: number;
  readonly child: ChildProcess;
  readonly channel: IpcChannel;
  readonly ended: Promise<void>;
  readyAtMs: number | undefined;
}

export class Workers {
  readonly #options: WorkersOptions;
  readonly #restarts: RestartLimits;
  readonly #heartbeat: Heartbeat;
  readonly #handOver: HandOver;
  readonly #id = randomUUID();
  readonly #running = new Set<Running>();
  readonly #pauses = new Set<NodeJS.Timeout>();
  /** By number: how many short lives in a row. */
  readonly #shortLives = new Map<number, number>();
  /** Numbers of those that have not served yet, and what waits for each. */
  readonly #starting = new Map<number, { serves: (about: unknown) => void; fails: (err: Error) => void }>();
  #isStopping = false;
  #restartCount = 0;

  constructor(options: WorkersOptions) {
    this.#options = options;
    this.#restarts = { ...defaultRestartLimits, ...options.restarts };
    this.#heartbeat = { ...defaultHeartbeat, ...options.heartbeat };
    this.#handOver = new HandOver(options.port, options.observer);
  }

  /** To those that serve now. */
  get channels(): readonly IpcChannel[] {
    return [...this.#running].filter(({ readyAtMs }) => readyAtMs !== undefined).map(({ channel }) => channel);
  }

  /** How many died and had another take their place. */
  get restartCount(): number {
    return this.#restartCount;
  }

  /**
   * Resolves with what the first worker said when all of them serve; those that do serve from their first moment. Throws
   * when the first cannot start, or another dies again and again before it serves.
   */
  async start(): Promise<unknown> {
    try {
      // The first alone: what keeps it from starting is said once, and not by each.
      const first = await this.#firstStart(1);
      const others = Array.from({ length: this.#options.count - 1 }, (_, index) => index + 2);
      await Promise.all(others.map((number) => this.#firstStart(number)));
      return first;
    } catch (err) {
      await this.stop();
      throw err;
    }
  }

  async #firstStart(number: number): Promise<unknown> {
    this.#startOne(number);
    return new Promise<unknown>((serves, fails) => this.#starting.set(number, { serves, fails }));
  }

  /** Each stops in order, all at once. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#forgetPauses();
    const { stopLimitMs, observer } = this.#options;
    const { log } = observer;
    const limit = setTimeout(() => {
      log.error(
        { workers: [...this.#running].map(({ number }) => number), stopLimitMs },
        'Killed: did not stop in time',
      );
      for (const { child } of this.#running) child.kill('SIGKILL');
    }, stopLimitMs);
    this.#handOver.stop();
    for (const { child } of this.#running) child.kill('SIGTERM');
    await Promise.all([...this.#running].map(({ ended }) => ended));
    clearTimeout(limit);
  }

  /** Each tells its clients to come back and ends. Resolves when all have. */
  async crash(): Promise<void> {
    this.#isStopping = true;
    this.#forgetPauses();
    for (const { channel } of this.#running) channel.tell(crashNews);
    await Promise.all([...this.#running].map(({ ended }) => ended));
  }

  #forgetPauses(): void {
    for (const pause of this.#pauses) clearTimeout(pause);
    for (const { fails } of this.#starting.values()) fails(new StartError('stopped before all workers served'));
    this.#starting.clear();
  }

  /** Throws where the system has no room for another process. */
  #startOne(number: number): void {
    const { observer, onStarted, port, start = startAnother } = this.#options;
    const child = start(number, environmentOf({ number, authority: port.authority, startedBy: this.#id }));
    const channel = new IpcChannel(child, observer);
    const ended = new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
      // A message that could not be sent: its sender is told, and a process that is gone ends with an event of its own,
      // unless it never began.
      child.on('error', () => {
        if (child.pid === undefined) resolve();
      });
    });
    const running: Running = { number, child, channel, readyAtMs: undefined, ended };
    this.#running.add(running);
    const close = onStarted(channel);
    channel.on(readyNews, (about) => {
      if (!this.#running.has(running) || running.readyAtMs !== undefined) return;
      running.readyAtMs = performance.now();
      observer.log.info({ worker: number, pid: child.pid }, 'A worker is ready');
      this.#handOver.add(child);
      this.#starting.get(number)?.serves(about);
      this.#starting.delete(number);
    });
    void ended.then(
      fence(observer, 'listener', () => {
        this.#running.delete(running);
        fence(observer, 'listener', close)();
        this.#ended(number, running.readyAtMs, child);
      }),
    );
    void this.#listen(running);
  }

  /** To its heart, until it has ended or hangs. Never rejects. */
  async #listen(running: Running): Promise<void> {
    const { everyMs, missed, missedAtStart } = this.#heartbeat;
    const { number, child, channel } = running;
    let unanswered = 0;
    while (this.#running.has(running)) {
      const isAlive = await channel.ask(aliveQuestion, undefined, everyMs).then(
        () => true,
        () => false,
      );
      unanswered = isAlive ? 0 : unanswered + 1;
      if (unanswered >= (running.readyAtMs === undefined ? missedAtStart : missed) && this.#running.has(running)) {
        const details = { worker: number, pid: child.pid, unanswered, everyMs };
        this.#options.observer.log.error(details, 'A worker hangs: it is killed');
        child.kill('SIGKILL');
        return;
      }
      if (isAlive || !child.connected) await Promise.race([delay(everyMs, undefined, { ref: false }), running.ended]);
    }
  }

  /** `child` is undefined for one that the system could not start, and `err` then says why. */
  #ended(number: number, readyAtMs: number | undefined, child: ChildProcess | undefined, err?: unknown): void {
    if (this.#isStopping) return;
    const { firstPauseMs, longestPauseMs, longLifeMs, shortLives, startLives } = this.#restarts;
    const livedLong = readyAtMs !== undefined && performance.now() - readyAtMs >= longLifeMs;
    const inARow = livedLong ? 1 : (this.#shortLives.get(number) ?? 0) + 1;
    this.#shortLives.set(number, inARow);
    const ended = child === undefined ? 'no start' : howItEnded(child);
    const details = { worker: number, pid: child?.pid, ended, inARow, ...(err !== undefined && { err }) };
    const { log } = this.#options.observer;
    const starting = this.#starting.get(number);
    // One that ends itself has said why, and the next would say the same. One that was ended by another may start now.
    const isHopeless = number === 1 && child?.signalCode === null;
    if (starting !== undefined && (isHopeless || inARow >= startLives)) {
      this.#starting.delete(number);
      starting.fails(new StartError(`worker ${number} ended before it was ready, with ${ended}`));
      return;
    }
    // While others serve, their clients are better off with them than with nobody.
    if (inARow >= shortLives && this.channels.length === 0) {
      log.fatal(details, 'A worker died again and again, and no other serves: giving up');
      this.#isStopping = true;
      this.#options.onGivenUp();
      return;
    }
    const pauseMs = Math.min(longestPauseMs, firstPauseMs * 2 ** (inARow - 1));
    log.error({ ...details, pauseMs }, 'A worker died: another takes its place');
    const pause = setTimeout(() => {
      this.#pauses.delete(pause);
      this.#restartCount++;
      try {
        this.#startOne(number);
      } catch (err) {
        // The system had no room for a process, and may have it later: that was one more short life.
        this.#ended(number, undefined, undefined, err);
      }
    }, pauseMs);
    this.#pauses.add(pause);
  }
}

function howItEnded({ exitCode, signalCode }: ChildProcess): string {
  return signalCode ?? (exitCode === null ? 'no start' : `exit code ${exitCode}`);
}

function startAnother(_number: number, env: Readonly<Record<string, string>>): ChildProcess {
  const [, file = '', ...args] = process.argv;
  // Plain JSON would turn numbers that are none into null.
  return fork(file, args, { env: { ...process.env, ...env }, serialization: 'advanced' });
}
