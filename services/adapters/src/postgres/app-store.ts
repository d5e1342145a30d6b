/** The apps in a database that many nodes share: held in memory whole, and following what changes there. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { isDeepStrictEqual } from 'node:util';
import { addRevocation, type Database, type Keyring, pruneApps, type ReadApp, readApps } from '@starling/database';
import {
  type App,
  type AppStore,
  type Cancel,
  type Clock,
  type ControlBus,
  type ControlMessage,
  every,
  longAgo,
  msSince,
  type Observer,
  type Revocation,
  type Revoker,
} from '@starling/ports';
import { StarlingError } from '@starling/protocol';

export interface PostgresAppStoreDeps {
  readonly database: Database;
  readonly keyring: Keyring;
  readonly controlBus: ControlBus;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly nodeId: string;
  /** From 0 up to, not including, 1: nodes that started together should not ask together for ever. */
  readonly chance?: () => number;
}

/** Only finds what a control message did not tell of, so it may be slow. */
const pollMs = 5_000;
/** While the database is away. */
const retryMs = 1_000;
const pruneMs = 60 * 60 * 1_000;
/** Changes taken at once; the rest follows right after. */
const batchSize = 1_000;

const noApps: ReadonlySet<string> = new Set();

interface Change {
  readonly seq: number;
  readonly app_id: string;
}

type Listener = (appId: string, app: App | undefined) => void;

export class PostgresAppStore implements AppStore, Revoker {
  readonly #deps: PostgresAppStoreDeps;
  readonly #byId = new Map<string, App>();
  readonly #byKey = new Map<string, App>();
  readonly #listeners = new Set<{ tell: Listener }>();
  /** How far it has read the feed of changes. */
  #seq = 0;
  #isUp = false;
  #readAt = longAgo;
  /** The reading under way, and the one that begins after it: what is asked for now, the first may have missed. */
  #reading: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #isClosed = false;
  /** Whoever asks may be in the middle of a transaction of their own, or just out of it: readings are in none. */
  readonly #outside = AsyncLocalStorage.snapshot();
  #cancelPoll: Cancel = () => {};

  constructor(deps: PostgresAppStoreDeps) {
    this.#deps = deps;
  }

  /** Once resolved it has every app. Rejects when the database is away. Returns the function that ends the following. */
  async start(): Promise<() => void> {
    const { controlBus, clock, database, observer } = this.#deps;
    const ends: Array<() => unknown> = [
      controlBus.listen((controlMessage) => this.#hear(controlMessage)),
      controlBus.onGap(() => this.#poll()),
    ];
    const close = () => {
      // A reading that is under way ends without effect on the log.
      this.#isClosed = true;
      this.#cancelPoll();
      for (const end of ends) end();
    };
    try {
      await this.refresh();
    } catch (err) {
      close();
      throw err;
    }
    this.#schedulePoll();
    ends.push(
      every(
        clock,
        () => this.#spread(pruneMs),
        () => pruneApps(database),
        (err) => observer.problem('old changes of apps were not removed', { err }),
      ),
    );
    return close;
  }

  /** Whether the last reading went well: while false, answers are of the time before. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** Milliseconds since everything that had been changed was known here. */
  get ageMs(): number {
    return msSince(this.#readAt, this.#deps.clock);
  }

  async byKey(key: string): Promise<App | undefined> {
    return this.#byKey.get(key);
  }

  async byId(id: string): Promise<App | undefined> {
    return this.#byId.get(id);
  }

  onChange(listener: Listener): () => void {
    const entry = { tell: listener };
    this.#listeners.add(entry);
    return () => this.#listeners.delete(entry);
  }

  async revoke(appId: string, revocation: Revocation): Promise<void> {
    const { database, controlBus } = this.#deps;
    const kept = await database.tx(() => addRevocation(database, controlBus, appId, revocation));
    if (!kept.ok) throw new StarlingError(kept.refusal.code, `App ${appId}: ${kept.refusal.message}`);
    // Here at once; when that fails, it is kept all the same, and this node reads it as the others do.
    await this.refresh().catch(() => {});
  }

  /** Once resolved, everything that was committed before the call is known here. */
  refresh(): Promise<void> {
    if (this.#reading === undefined) {
      this.#reading = this.#outside(() => this.#read()).finally(() => {
        this.#reading = undefined;
      });
      return this.#reading;
    }
    this.#next ??= this.#reading
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        return this.refresh();
      });
    return this.#next;
  }

  #hear(controlMessage: ControlMessage): void {
    if (controlMessage.kind !== 'app-changed') return;
    const { appId, version } = controlMessage;
    // Who asks again about a change that is known here already gets its answer all the same.
    if (this.#seq >= version) this.#sayApplied([{ app_id: appId, seq: version }], noApps);
    else this.#poll();
  }

  /** Reads now and goes on from there. What went wrong has been said, and is tried again soon. */
  #poll(): void {
    this.#cancelPoll();
    this.refresh().then(
      () => this.#schedulePoll(),
      () => this.#schedulePoll(),
    );
  }

  #schedulePoll(): void {
    this.#cancelPoll();
    if (this.#isClosed) return;
    const delayMs = this.#isUp ? pollMs : retryMs;
    this.#cancelPoll = this.#deps.clock.after(this.#spread(delayMs), () => this.#poll());
  }

  /** Between three and five quarters of it. */
  #spread(delayMs: number): number {
    return delayMs * (0.75 + (this.#deps.chance ?? Math.random)() / 2);
  }

  async #read(): Promise<void> {
    const { clock, observer } = this.#deps;
    const startedAt = clock.elapsed();
    try {
      while (await this.#readBatch());
    } catch (err) {
      if (this.#isUp && !this.#isClosed) observer.problem('the apps cannot be read, answering as they were', { err });
      this.#isUp = false;
      throw err;
    }
    this.#isUp = true;
    this.#readAt = startedAt;
  }

  /** Whether there is more. */
  async #readBatch(): Promise<boolean> {
    const { database, keyring } = this.#deps;
    const from = this.#seq;
    const changes = await database.sql<Change[]>`
      select seq, app_id from app_changes where seq >= ${from} order by seq limit ${batchSize}`;
    // The last one read is still there, unless it was removed as old, or the database was put back to an earlier time.
    if (from === 0 || changes[0]?.seq !== from) {
      const isFirst = this.#readAt === longAgo;
      const failed = await this.#readAll();
      // Nobody waits to hear of what was there before this node was.
      if (!isFirst) this.#sayApplied(changes, failed);
      return false;
    }
    const news = changes.slice(1);
    const last = news.at(-1);
    if (last === undefined) return false;
    const ids = [...new Set(news.map((change) => change.app_id))];
    const failed = this.#take(ids, await readApps(database.sql, keyring, ids));
    this.#seq = last.seq;
    this.#sayApplied(news, failed);
    return changes.length === batchSize;
  }

  async #readAll(): Promise<ReadonlySet<string>> {
    const { database, keyring } = this.#deps;
    // Before the apps: what changes in between is read again, and never missed.
    const [newest] = await database.sql<Array<{ seq: number | null }>>`select max(seq) as seq from app_changes`;
    const read = await readApps(database.sql, keyring);
    const failed = this.#take([...this.#byId.keys(), ...read.map(({ id }) => id)], read);
    this.#seq = newest?.seq ?? 0;
    return failed;
  }

  /** Puts in place what was read of these apps; those that were not there are gone. Returns those that are as they were. */
  #take(ids: readonly string[], read: readonly ReadApp[]): ReadonlySet<string> {
    const failed = new Set<string>();
    const found = new Map(read.map((each) => [each.id, each]));
    for (const id of new Set(ids)) {
      const each = found.get(id);
      if (each !== undefined && 'problem' in each) {
        this.#deps.observer.problem('an app cannot be read, going on with what was known of it', {
          app: id,
          err: each.problem,
        });
        failed.add(id);
      } else this.#put(id, each?.app);
    }
    return failed;
  }

  #put(id: string, app: App | undefined): void {
    const former = this.#byId.get(id);
    if (isDeepStrictEqual(former, app)) return;
    for (const { key } of former?.keys ?? []) {
      // A key that went over to another app may be that one's already.
      if (this.#byKey.get(key) === former) this.#byKey.delete(key);
    }
    if (app === undefined) this.#byId.delete(id);
    else this.#byId.set(id, app);
    for (const { key } of app?.keys ?? []) if (app !== undefined) this.#byKey.set(key, app);
    for (const { tell } of [...this.#listeners]) tell(id, app);
  }

  #sayApplied(changes: readonly Change[], failed: ReadonlySet<string>): void {
    const { controlBus, nodeId } = this.#deps;
    for (const { app_id: appId, seq: version } of changes) {
      if (failed.has(appId)) continue;
      // Told for those who watch: nothing depends on its arrival.
      controlBus.post({ kind: 'app-applied', appId, version, nodeId }).catch(() => {});
    }
  }
}
