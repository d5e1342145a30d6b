/** The apps of another process of this machine: one process keeps the store, those it started ask it. */
import type { App, AppStore, Revocation, Revoker } from '@starling/ports';

/** The end of a connection between two processes at which questions are asked. It keeps the order of what it carries. */
export interface AskingLine {
  ask(what: string, about: unknown): Promise<unknown>;
  heed(what: string, listener: (about: unknown) => void): void;
}

/** The end at which they are answered. */
export interface AnsweringLine {
  answer(what: string, answer: (about: unknown) => unknown): void;
  tell(what: string, about: unknown): void;
}

type Question = { readonly by: 'id' | 'key'; readonly value: string };
type Order = { readonly appId: string; readonly revocation: Revocation };
type Change = { readonly id: string; readonly app: App | undefined };

const [question, order, change] = ['app', 'revoke', 'app changed'] as const;

/** Answers for the store until the other end is gone. Returns the function that stops the news of changes. */
export function serveApps(store: AppStore & Revoker, line: AnsweringLine): () => void {
  line.answer(question, (about) => {
    const { by, value } = about as Question;
    return by === 'id' ? store.byId(value) : store.byKey(value);
  });
  line.answer(order, (about) => {
    const { appId, revocation } = about as Order;
    return store.revoke(appId, revocation);
  });
  return store.onChange((id, app) => line.tell(change, { id, app } satisfies Change));
}

/**
 * Asks once for each app, and from then on is told of its changes. An id or a key that no app has is asked for each
 * time: to remember those would be to remember whatever strangers make up.
 */
export class LineAppStore implements AppStore, Revoker {
  readonly #line: AskingLine;
  readonly #byId = new Map<string, App>();
  readonly #byKey = new Map<string, App>();
  readonly #listeners = new Set<(appId: string, app: App | undefined) => void>();
  /** Grows with each change heard of: an answer given before one may be older than it. */
  #changeCount = 0;

  constructor(line: AskingLine) {
    this.#line = line;
    line.heed(change, (about) => {
      const { id, app } = about as Change;
      this.#changeCount++;
      this.#forget(id);
      if (app !== undefined) this.#keep(app);
      for (const listener of this.#listeners) listener(id, app);
    });
  }

  async byKey(key: string): Promise<App | undefined> {
    return this.#byKey.get(key) ?? this.#ask({ by: 'key', value: key });
  }

  async byId(id: string): Promise<App | undefined> {
    return this.#byId.get(id) ?? this.#ask({ by: 'id', value: id });
  }

  onChange(listener: (appId: string, app: App | undefined) => void): () => void {
    // Wrapped, so that one function given twice is two listeners, each with its own end.
    const entry: typeof listener = (appId, app) => listener(appId, app);
    this.#listeners.add(entry);
    return () => this.#listeners.delete(entry);
  }

  async revoke(appId: string, revocation: Revocation): Promise<void> {
    await this.#line.ask(order, { appId, revocation } satisfies Order);
  }

  async #ask(about: Question): Promise<App | undefined> {
    for (;;) {
      const before = this.#changeCount;
      const app = (await this.#line.ask(question, about)) as App | undefined;
      if (before !== this.#changeCount) continue;
      if (app !== undefined) {
        this.#forget(app.id);
        this.#keep(app);
      }
      return app;
    }
  }

  #keep(app: App): void {
    this.#byId.set(app.id, app);
    for (const { key } of app.keys) this.#byKey.set(key, app);
  }

  #forget(id: string): void {
    for (const { key } of this.#byId.get(id)?.keys ?? []) {
      if (this.#byKey.get(key)?.id === id) this.#byKey.delete(key);
    }
    this.#byId.delete(id);
  }
}
