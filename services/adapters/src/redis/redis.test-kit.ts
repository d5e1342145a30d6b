/** Nodes over a real Redis, for tests: each fixture has a prefix of its own, and everything opened is closed. */
import type { BrokerMessage, Cancel, Clock, DefectKind, ElapsedMs, Observer, Topic, WallMs } from '@starling/ports';
import { textOf } from '@starling/ports/contract';
import { StarlingError } from '@starling/protocol';
import { SystemClock } from '../system-clock.ts';
import { parseRedisUrl } from './address.ts';
import { RedisBroker } from './broker.ts';
import { RedisLink } from './link.ts';
import { defaultLeaseTiming, type LeaseTiming } from './node-lease.ts';
import { RedisPresenceStore } from './presence-store.ts';

const prefixes = { count: 0 };
const limitMs = 20_000;

export interface Said {
  readonly what: string;
  readonly details: Record<string, unknown>;
}

/** Keeps what is said, and lets a test wait for it. */
export class ListeningObserver implements Observer {
  readonly notes = true;
  readonly said: Said[] = [];
  #watchers: Array<() => void> = [];

  problem(what: string, details: Record<string, unknown>): void {
    this.note(what, details);
  }

  defect(kind: DefectKind, err: unknown): void {
    this.note(`defect: ${kind}`, { err });
  }

  note(what: string, details: Record<string, unknown>): void {
    this.said.push({ what, details });
    for (const watcher of this.#watchers) watcher();
  }

  async until(what: string, count = 1, withinMs = limitMs): Promise<void> {
    const isHere = (): boolean => this.said.filter((said) => said.what === what).length >= count;
    await new Promise<void>((resolve, reject) => {
      const watcher = (): void => {
        if (!isHere()) return;
        clearTimeout(timer);
        this.#watchers = this.#watchers.filter((other) => other !== watcher);
        resolve();
      };
      const timer = setTimeout(() => {
        reject(new Error(`Waited ${withinMs} ms for "${what}"; said was: ${JSON.stringify(this.said, null, 1)}`));
      }, withinMs);
      this.#watchers.push(watcher);
      watcher();
    });
  }
}

/** Of a machine whose wall clock is set by hand. */
export class SteppedClock extends SystemClock {
  #offsetMs = 0;

  override now(): WallMs {
    return (super.now() + this.#offsetMs) as WallMs;
  }

  stepWall(byMs: number): void {
    this.#offsetMs += byMs;
  }
}

/** A node that is stopped and goes on, as by SIGSTOP and SIGCONT: what falls due meanwhile is done when it goes on. */
export class StoppableClock implements Clock {
  readonly #clock = new SystemClock();
  #isStopped = false;
  #due: Array<() => void> = [];

  now(): WallMs {
    return this.#clock.now();
  }

  elapsed(): ElapsedMs {
    return this.#clock.elapsed();
  }

  after(delayMs: number, run: () => void): Cancel {
    let isCancelled = false;
    const cancel = this.#clock.after(delayMs, () => {
      if (!this.#isStopped) run();
      else this.#due.push(() => isCancelled || run());
    });
    return () => {
      isCancelled = true;
      cancel();
    };
  }

  soon(run: () => void): void {
    this.#clock.soon(run);
  }

  stop(): void {
    this.#isStopped = true;
  }

  goOn(): void {
    this.#isStopped = false;
    for (const run of this.#due.splice(0)) run();
  }
}

/** A prefix that no other fixture of this run has. */
export function freshPrefix(): string {
  return `t${process.pid}-${++prefixes.count}:`;
}

export interface OpenLink {
  readonly link: RedisLink;
  readonly broker: RedisBroker;
  readonly observer: ListeningObserver;
  close(): Promise<void>;
}

export async function openLink(url: string, prefix: string, clock: Clock = new SystemClock()): Promise<OpenLink> {
  const address = parseRedisUrl(`${url}/?prefix=${prefix}`);
  if (!address.ok) throw new Error(address.message);
  const observer = new ListeningObserver();
  const link = new RedisLink(address.value, { clock, observer });
  const close = await link.start();
  return { link, broker: new RedisBroker(link, observer), observer, close };
}

export interface OpenNode extends OpenLink {
  readonly store: RedisPresenceStore;
}

/** Its memberships are released soon. */
export const dying = { leaseMs: 600, renewEveryMs: 200, settleMs: 400 };
/** Taken for dead after a while, but not because the machine is busy. */
export const stopping = { leaseMs: 2_500, renewEveryMs: 250, settleMs: 400 };
/** Sees soon that another has died. */
export const watchful = { leaseMs: 6_000, renewEveryMs: 250, settleMs: 400 };

export interface NodeOptions {
  /** Drives the lease, and nothing else: one that is stopped is a node that is stopped. */
  readonly clock?: Clock;
  readonly timing?: Partial<LeaseTiming>;
}

export async function openNode(url: string, prefix: string, options: NodeOptions = {}): Promise<OpenNode> {
  const opened = await openLink(url, prefix);
  const { link, observer } = opened;
  const clock = options.clock ?? new SystemClock();
  const timing = { ...defaultLeaseTiming, ...options.timing };
  const store = new RedisPresenceStore({ link, clock, observer, nodeId: 'node' }, timing);
  const stop = await store.start();
  return {
    ...opened,
    store,
    close: async () => {
      await stop();
      await opened.close();
    },
  };
}

/** Collects the texts of a topic on one node, and waits for a number of them. */
export class Ear {
  readonly texts: string[] = [];
  readonly messages: BrokerMessage[] = [];
  #watchers: Array<() => void> = [];

  static async at(node: OpenNode, ...topics: Topic[]): Promise<Ear> {
    const ear = new Ear();
    node.broker.listen((topic, message) => {
      if (!topics.includes(topic)) return;
      ear.messages.push(message);
      ear.texts.push(textOf(message));
      for (const watcher of ear.#watchers) watcher();
    });
    for (const topic of topics) await node.broker.subscribe(topic);
    return ear;
  }

  async until(isEnough: (texts: readonly string[]) => boolean): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const watcher = () => {
        if (!isEnough(this.texts)) return;
        clearTimeout(timer);
        this.#watchers = this.#watchers.filter((other) => other !== watcher);
        resolve();
      };
      const timer = setTimeout(
        () => reject(new Error(`Waited too long; heard ${JSON.stringify(this.texts)}`)),
        limitMs,
      );
      this.#watchers.push(watcher);
      watcher();
    });
  }
}

/** Repeats a call that may be refused while Redis comes back. */
export async function eventually<T>(call: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    try {
      return await call();
    } catch (err) {
      if (!(err instanceof StarlingError) || err.code !== 'unavailable' || Date.now() > deadline) throw err;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** Of a node whose lease is never renewed. */
export function stoppedClock(): StoppableClock {
  const clock = new StoppableClock();
  clock.stop();
  return clock;
}
