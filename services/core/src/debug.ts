/**
 * What happens in an app, told to those who watch: every node passes on what it notes, while somebody watches and not
 * a moment longer. Nobody watching costs one look at an empty map.
 */
import {
  type Broker,
  type Clock,
  type ControlBus,
  type DefectKind,
  debugTopic,
  type ElapsedMs,
  isFields,
  isTextUpTo,
  isWhole,
  later,
  longAgo,
  type Observer,
  readJson,
} from '@starling/ports';
import type { Hub } from './hub.ts';

/** One thing that happened. */
export interface DebugEntry {
  /** Milliseconds since 1970, by the node's clock. */
  readonly at: number;
  readonly nodeId: string;
  /** Such as `connection opened` or `subscription refused`. */
  readonly what: string;
  /** What there is to say of it: `socketId`, `channel`, `event`, `data`, `code`, `message` and the like. */
  readonly [detail: string]: unknown;
}

/** How long a node goes on telling after it last heard that somebody watches. */
const watchMs = 30_000;
const renewMs = 10_000;
/** Of one app on one node. What is more is counted, and the count told. */
const entriesPerSecond = 500;
/** UTF-16 units of an event's data that are told. */
const shownData = 1_024;
/** Bytes of the longest entry that is read: the data shown, a few names, and texts of errors. */
const maxEntryBytes = 65_536;
/** Apps of which a node tells at once. Anything that can publish to all nodes could name ever more. */
const mostWatched = 10_000;

class Watched {
  until = longAgo;
  /** Whole seconds of the clock that is never set. */
  second = 0;
  told = 0;
  dropped = 0;
}

export interface DebugTapDeps {
  readonly clock: Clock;
  readonly nodeId: string;
}

/** Stands before a node's observer, and passes on what belongs to an app that is watched. */
export class DebugTap implements Observer {
  readonly #inner: Observer;
  readonly #deps: DebugTapDeps;
  readonly #watched = new Map<string, Watched>();
  #broker: Pick<Broker, 'publish'> | null = null;

  constructor(inner: Observer, deps: DebugTapDeps) {
    this.#inner = inner;
    this.#deps = deps;
  }

  /** Returns the function that ends it. */
  start({
    broker,
    controlBus,
  }: {
    readonly broker: Pick<Broker, 'publish'>;
    readonly controlBus: ControlBus;
  }): () => void {
    this.#broker = broker;
    return controlBus.listen((controlMessage) => {
      if (controlMessage.kind !== 'app-watched') return;
      const known = this.#watched.get(controlMessage.appId);
      if (known === undefined && this.#watched.size >= mostWatched) return;
      const watched = known ?? new Watched();
      this.#watched.set(controlMessage.appId, watched);
      watched.until = later(this.#deps.clock.elapsed(), watchMs);
    });
  }

  get notes(): boolean {
    return this.#inner.notes || this.#watched.size > 0;
  }

  problem(what: string, details: { readonly err?: unknown } & Record<string, unknown>): void {
    this.#inner.problem(what, details);
  }

  defect(kind: DefectKind, err: unknown, details?: Record<string, unknown>): void {
    this.#inner.defect(kind, err, details);
  }

  note(what: string, details: Record<string, unknown>): void {
    const { app, data, ...rest } = details;
    if (this.#inner.notes) this.#inner.note(what, { app, ...rest });
    if (this.#watched.size === 0 || typeof app !== 'string') return;
    const now = this.#deps.clock.elapsed();
    // Of all of them: one that fell silent, or is gone, would keep `notes` on for ever.
    for (const [appId, { until }] of this.#watched) if (until < now) this.#watched.delete(appId);
    const watched = this.#watched.get(app);
    if (watched !== undefined)
      this.#tell(app, watched, now, what, typeof data === 'string' ? { ...rest, ...shortened(data) } : rest);
  }

  #tell(appId: string, watched: Watched, now: ElapsedMs, what: string, details: Record<string, unknown>): void {
    const at = this.#deps.clock.now();
    const second = Math.floor(now / 1_000);
    if (second !== watched.second) {
      const { dropped } = watched;
      watched.second = second;
      watched.told = 0;
      watched.dropped = 0;
      if (dropped > 0) this.#publish(appId, { at, nodeId: this.#deps.nodeId, what: 'too much to tell', dropped });
    }
    if (++watched.told > entriesPerSecond) watched.dropped++;
    else this.#publish(appId, { ...details, at, nodeId: this.#deps.nodeId, what });
  }

  #publish(appId: string, entry: DebugEntry): void {
    // At most once, as everything that is only watched: whoever must not miss anything reads the log.
    try {
      this.#broker
        ?.publish(debugTopic(appId), { kind: 'event', payload: Buffer.from(JSON.stringify(entry)) })
        .catch(() => undefined);
    } catch (err) {
      // Details that cannot be written down must not cost the connection that was told of.
      this.#inner.defect('listener', err);
    }
  }
}

function shortened(data: string): { readonly data: string; readonly dataLength?: number } {
  return data.length <= shownData ? { data } : { data: data.slice(0, shownData), dataLength: data.length };
}

export interface DebugWatchDeps {
  readonly hub: Hub;
  readonly controlBus: ControlBus;
  readonly clock: Clock;
  readonly observer: Observer;
}

type Listener = (entry: DebugEntry) => void;

/** Of one app, from its first listener to its last. */
interface Watching {
  readonly listeners: Set<{ readonly listen: Listener }>;
  /** Resolves when entries arrive; rejects for all who wait for it. */
  readonly isFollowing: Promise<void>;
}

/** Watches apps over all nodes. */
export class DebugWatch {
  readonly #deps: DebugWatchDeps;
  readonly #byApp = new Map<string, Watching>();

  constructor(deps: DebugWatchDeps) {
    this.#deps = deps;
  }

  /**
   * What `listen` throws costs it that entry. Once resolved, every node is told to tell. Rejects `unavailable` when the world fails.
   * Returns the function that ends it; it may be called twice.
   */
  async watch(appId: string, listen: Listener): Promise<() => void> {
    const listener = { listen };
    const watching = this.#byApp.get(appId) ?? this.#begin(appId);
    watching.listeners.add(listener);
    const end = (): void => {
      if (!watching.listeners.delete(listener) || watching.listeners.size > 0) return;
      this.#byApp.delete(appId);
      this.#deps.hub.unfollow(debugTopic(appId));
    };
    try {
      await watching.isFollowing;
      await this.#deps.controlBus.post({ kind: 'app-watched', appId });
    } catch (err) {
      end();
      throw err;
    }
    return end;
  }

  /** Who comes while it begins waits for the same, and fails with it. */
  #begin(appId: string): Watching {
    const isFollowing = this.#deps.hub.follow(debugTopic(appId), (payload) => this.#hear(appId, payload));
    // Told to each who waits.
    isFollowing.catch(() => undefined);
    const watching = { listeners: new Set<{ readonly listen: Listener }>(), isFollowing };
    this.#byApp.set(appId, watching);
    this.#renewLater(appId, watching);
    return watching;
  }

  #renewLater(appId: string, watching: Watching): void {
    const { controlBus, clock, observer } = this.#deps;
    clock.after(renewMs, () => {
      if (this.#byApp.get(appId) !== watching) return;
      this.#renewLater(appId, watching);
      controlBus
        .post({ kind: 'app-watched', appId })
        .catch((err: unknown) => observer.note('watching an app was not renewed', { err }));
    });
  }

  #hear(appId: string, payload: Uint8Array): void {
    const { observer } = this.#deps;
    const entry = parseDebugEntry(payload);
    if (entry === undefined) {
      observer.problem('an entry about a watched app cannot be read', { app: appId, bytes: payload.byteLength });
      return;
    }
    for (const { listen } of [...(this.#byApp.get(appId)?.listeners ?? [])]) {
      try {
        listen(entry);
      } catch (err) {
        observer.defect('listener', err, { app: appId });
      }
    }
  }
}

/** Undefined for what no node of ours wrote. The details are whatever a node has to say, and stay unknown. */
export function parseDebugEntry(payload: Uint8Array): DebugEntry | undefined {
  const read = readJson(payload, maxEntryBytes);
  if (read === null || !isFields(read.value)) return undefined;
  const { at, nodeId, what } = read.value;
  if (!isWhole(at) || !isTextUpTo(nodeId, 128) || !isTextUpTo(what, 128)) return undefined;
  return { ...read.value, at, nodeId, what };
}
