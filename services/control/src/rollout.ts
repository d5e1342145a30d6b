/** How far a change of an app has come: which nodes have said that they go by it. */
import { type Clock, type ControlBus, fence, type Observer } from '@starling/ports';

/** The nodes that serve this installation now. */
export interface NodeList {
  /** By the ids that they sign their control messages with. Rejects with a StarlingError `unavailable` when it cannot be known. */
  nodes(): Promise<readonly { readonly nodeId: string }[]>;
}

export interface RolloutDeps {
  readonly controlBus: ControlBus;
  readonly nodes: NodeList;
  readonly clock: Clock;
  readonly observer: Observer;
}

export interface RolloutState {
  readonly version: number;
  readonly nodes: { readonly connected: number; readonly applied: number };
  readonly isComplete: boolean;
}

/**
 * After this time nodes are no longer waited for: a node reads the feed of changes now and then even when no control message reaches
 * it, and one that started since, or whose word this program was not yet there to hear, will say nothing more.
 */
export const settledAfterMs = 60_000;

interface Applied {
  version: number;
  heardAt: number;
  readonly nodeIds: Set<string>;
}

export class Rollout {
  readonly #deps: RolloutDeps;
  /** The one heard of last is the last. */
  readonly #byApp = new Map<string, Applied>();

  constructor(deps: RolloutDeps) {
    this.#deps = deps;
  }

  /** Returns the function that ends the listening. */
  start(): () => void {
    const { controlBus, observer } = this.#deps;
    return controlBus.listen(
      fence(observer, 'control message', (controlMessage) => {
        if (controlMessage.kind === 'app-applied')
          this.#heard(controlMessage.appId, controlMessage.version, controlMessage.nodeId);
      }),
    );
  }

  /** Of this version, which was made at that time; undefined: so long ago that it is not known. */
  async of(appId: string, version: number, changedAt: number | undefined): Promise<RolloutState> {
    const nodeIds = (await this.#deps.nodes.nodes()).map(({ nodeId }) => nodeId);
    const isSettled = changedAt === undefined || this.#deps.clock.now() - changedAt > settledAfterMs;
    const heard = this.#byApp.get(appId);
    const hasApplied = (nodeId: string) =>
      isSettled || (heard !== undefined && heard.version >= version && heard.nodeIds.has(nodeId));
    const applied = nodeIds.filter(hasApplied).length;
    return { version, nodes: { connected: nodeIds.length, applied }, isComplete: applied === nodeIds.length };
  }

  /** Apps kept: only those changed lately. */
  get size(): number {
    return this.#byApp.size;
  }

  #heard(appId: string, version: number, nodeId: string): void {
    const now = this.#deps.clock.elapsed();
    const former = this.#byApp.get(appId);
    // A node that is behind will speak again.
    if (former !== undefined && former.version > version) return;
    const applied = former?.version === version ? former : { version, heardAt: now, nodeIds: new Set<string>() };
    applied.heardAt = now;
    applied.nodeIds.add(nodeId);
    this.#byApp.delete(appId);
    this.#byApp.set(appId, applied);
    for (const [id, { heardAt }] of this.#byApp) {
      if (now - heardAt <= settledAfterMs) break;
      this.#byApp.delete(id);
    }
  }
}
