/** The apps of a single process, held as they are given. */
import {
  type App,
  type AppStore,
  maxRevocations,
  type Revocation,
  type Revoker,
  withRevocation,
} from '@starling/ports';
import { StarlingError } from '@starling/protocol';

type Listener = (appId: string, app: App | undefined) => void;

export class MemoryAppStore implements AppStore, Revoker {
  readonly #byId = new Map<string, App>();
  readonly #byKey = new Map<string, App>();
  readonly #listeners = new Set<Listener>();
  readonly #now: () => number;

  /** `now`: in milliseconds since 1970; by it revocations are dropped that no token can outlive. */
  constructor(apps: readonly App[] = [], now: () => number = Date.now) {
    this.#now = now;
    for (const app of apps) this.put(app);
  }

  async byKey(key: string): Promise<App | undefined> {
    return this.#byKey.get(key);
  }

  async byId(id: string): Promise<App | undefined> {
    return this.#byId.get(id);
  }

  onChange(listener: Listener): () => void {
    // Wrapped, so that one function given twice is two listeners, each with its own end.
    const entry: Listener = (appId, app) => listener(appId, app);
    this.#listeners.add(entry);
    return () => this.#listeners.delete(entry);
  }

  /** Adds the app or takes the place of the one with its id. Throws, and changes nothing, when it cannot be. */
  put(app: App): void {
    if (!/^\d+$/.test(app.id)) {
      throw new Error(
        `An app id is decimal digits, since topics and URLs are made of it; got ${JSON.stringify(app.id)}`,
      );
    }
    for (const { key } of app.keys) {
      const owner = this.#byKey.get(key);
      if (owner !== undefined && owner.id !== app.id) throw new Error(`App ${owner.id} has a key of app ${app.id}`);
    }
    this.#forget(app.id);
    this.#byId.set(app.id, app);
    for (const { key } of app.keys) this.#byKey.set(key, app);
    this.#tell(app.id, app);
  }

  async revoke(appId: string, revocation: Revocation): Promise<void> {
    const app = this.#byId.get(appId);
    if (app === undefined) throw new StarlingError('app_id_unknown', `There is no app ${appId}`);
    const revocations = withRevocation(app.revocations, revocation, this.#now());
    if (revocations.length > maxRevocations) {
      throw new StarlingError('state_conflict', `App ${appId} has ${maxRevocations} revocations already`);
    }
    this.put({ ...app, version: app.version + 1, revocations });
  }

  /** Does nothing when there is no such app. */
  remove(id: string): void {
    if (this.#forget(id)) this.#tell(id, undefined);
  }

  #forget(id: string): boolean {
    for (const { key } of this.#byId.get(id)?.keys ?? []) this.#byKey.delete(key);
    return this.#byId.delete(id);
  }

  #tell(id: string, app: App | undefined): void {
    // The app is changed by now, so each is told; what they threw goes to whoever changed it.
    const thrown: unknown[] = [];
    for (const listener of [...this.#listeners]) {
      try {
        listener(id, app);
      } catch (err) {
        thrown.push(err);
      }
    }
    if (thrown.length > 0) throw thrown[0];
  }
}
