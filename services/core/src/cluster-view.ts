/** The nodes there are, this one among them: it tells the others of itself every few seconds, and reads what they tell. */
import { randomInt } from 'node:crypto';
import {
  type Clock,
  type ElapsedMs,
  longAgo,
  msSince,
  type NodeDirectory,
  type NodeReport,
  type Observer,
  reportSeconds,
} from '@starling/ports';
import type { Traffic } from './traffic.ts';
import { UsageMeter } from './usage.ts';

/** What of a node's report the engine does not know. */
export type NodeAbout = Omit<NodeReport, 'apps' | 'connections' | 'memoryBytes' | 'isStopping' | 'uptimeSeconds'> & {
  readonly memoryBytes: () => number;
};

export interface ClusterViewDeps {
  readonly directory: NodeDirectory;
  readonly traffic: Traffic;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly about: NodeAbout;
}

const intervalMs = (reportSeconds * 1_000) / 3;

export class ClusterView {
  readonly #deps: ClusterViewDeps;
  readonly #meter: UsageMeter;
  #nodes: readonly NodeReport[] = [];
  /** About when the process was. */
  readonly #begunAt: ElapsedMs;
  #readAt = longAgo;
  /** By app: connections on the other nodes. */
  #elsewhere = new Map<string, number>();
  #isAway = false;
  #isStopping = false;
  #isStopped = false;

  constructor(deps: ClusterViewDeps) {
    this.#deps = deps;
    this.#meter = new UsageMeter(deps.traffic);
    this.#begunAt = deps.clock.elapsed();
  }

  /** Returns the function that takes this node out again. */
  start(): () => Promise<void> {
    void this.#goOn();
    return async () => {
      this.#isStopped = true;
      try {
        // What was used since the last report is told before the node is gone.
        await this.#report();
        await this.#deps.directory.remove(this.#deps.about.nodeId);
      } catch (err) {
        this.#deps.observer.note('this node stays listed until its report has run out', { err });
      }
    };
  }

  /** As they reported last, a few seconds old at most; empty while the directory has been away for longer. */
  get nodes(): readonly NodeReport[] {
    return this.#isFresh() ? this.#nodes : [];
  }

  /** Tells the others that this node is about to stop. Never rejects. */
  async tellStopping(): Promise<void> {
    this.#isStopping = true;
    await this.#report().catch(() => {
      // Without its directory no node knows of others.
    });
  }

  /**
   * Whether another node takes the connections that leave this one: one that serves them, goes on, and does not end
   * together with this one. Asks anew, for so long, and else goes by what is known. Never rejects.
   */
  async hasSuccessor(limitMs: number): Promise<boolean> {
    const { clock, directory } = this.#deps;
    let cancel = (): void => {};
    const late = new Promise<readonly NodeReport[]>((resolve) => {
      cancel = clock.after(limitMs, () => resolve(this.nodes));
    });
    const nodes = await Promise.race([directory.nodes().catch(() => this.nodes), late]);
    cancel();
    return nodes.some((node) => this.#isSuccessor(node));
  }

  /** As `hasSuccessor`, at once: by what was known a few seconds ago. */
  get hadSuccessor(): boolean {
    return this.nodes.some((node) => this.#isSuccessor(node));
  }

  #isSuccessor({ nodeId, parts, startedBy, isStopping }: NodeReport): boolean {
    const { about } = this.#deps;
    if (nodeId === about.nodeId || isStopping === true || !parts.includes('edge')) return false;
    return startedBy === undefined || startedBy !== about.startedBy;
  }

  /** An app's connections on all other nodes, as they last reported. */
  connectionsElsewhere(appId: string): number {
    return this.#isFresh() ? (this.#elsewhere.get(appId) ?? 0) : 0;
  }

  #isFresh(): boolean {
    return msSince(this.#readAt, this.#deps.clock) <= reportSeconds * 1_000;
  }

  /** Never rejects, and whatever happens goes on. */
  async #goOn(): Promise<void> {
    const { clock, directory, observer, about } = this.#deps;
    try {
      await this.#report();
      const nodes = await directory.nodes();
      this.#nodes = nodes;
      this.#readAt = clock.elapsed();
      this.#elsewhere = connectionsByApp(nodes.filter(({ nodeId }) => nodeId !== about.nodeId));
      this.#isAway = false;
    } catch (err) {
      // Once for each time it is away.
      if (!this.#isAway) observer.problem('the directory of nodes cannot be reached', { err });
      this.#isAway = true;
    }
    // Not all nodes in one moment.
    const delayMs = intervalMs * (0.9 + randomInt(201) / 1_000);
    if (!this.#isStopped) clock.after(delayMs, () => void (this.#isStopped || this.#goOn()));
  }

  async #report(): Promise<void> {
    const { directory, traffic, clock, about } = this.#deps;
    const { memoryBytes, ...known } = about;
    const apps = this.#meter.read(clock.now());
    let connections = 0;
    for (const each of traffic.byApp().values()) connections += each.connections;
    await directory.report({
      ...known,
      ...(this.#isStopping && { isStopping: true }),
      uptimeSeconds: Math.floor(msSince(this.#begunAt, clock) / 1_000),
      connections,
      memoryBytes: memoryBytes(),
      apps,
    });
  }
}

function connectionsByApp(nodes: readonly NodeReport[]): Map<string, number> {
  const sums = new Map<string, number>();
  for (const { apps } of nodes) {
    for (const { appId, connections } of apps) sums.set(appId, (sums.get(appId) ?? 0) + connections);
  }
  return sums;
}
