/** The apps of another process of this machine: one process keeps the store, those it started ask it. */
import {
  type App,
  type AppStore,
  isAppId,
  isFields,
  isTextUpTo,
  isWhole,
  type Observer,
  type Revocation,
  type Revoker,
} from '@starling/ports';
import { StarlingError } from '@starling/protocol';

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

// What comes from the other process is looked at before it is used: a type says nothing of it.

function isQuestion(about: unknown): about is Question {
  return isFields(about) && (about['by'] === 'id' || about['by'] === 'key') && typeof about['value'] === 'string';
}

function isOrder(about: unknown): about is Order {
  if (!isFields(about) || !isAppId(about['appId']) || !isFields(about['revocation'])) return false;
  const { by, id, at } = about['revocation'];
  return (by === 'user' || by === 'token') && isTextUpTo(id, 256) && isWhole(at);
}

function isChange(about: unknown): about is Change {
  return isFields(about) && isAppId(about['id']) && (about['app'] === undefined || isApp(about['app']));
}

const appFlags = [
  'isEnabled',
  'hasClientEvents',
  'hasSubscriptionCounts',
  'hasWatchlists',
  'admitsAuthorizedOnly',
  'requiresTls',
  'hidesData',
] as const;
const appLimits = [
  'connections',
  'connectionsPerAddress',
  'channelsPerConnection',
  'eventDataBytes',
  'clientEventsPerSecond',
  'publishesPerSecond',
  'presenceMembers',
] as const;

/** Everything that is read of an app on the way of a message, where a field of another type would throw. */
function isApp(given: unknown): given is App {
  if (!isFields(given)) return false;
  const { id, version, name, keys, allowedOrigins, tokens, revocations, limits } = given;
  return (
    isAppId(id) &&
    isWhole(version) &&
    typeof name === 'string' &&
    appFlags.every((flag) => typeof given[flag] === 'boolean') &&
    isListOf(
      keys,
      (key) => isTextUpTo(key['key'], 256) && isTextUpTo(key['secret'], 256) && isFlag(key['isEnabled']),
    ) &&
    Array.isArray(allowedOrigins) &&
    allowedOrigins.every((origin) => typeof origin === 'string') &&
    isFields(tokens) &&
    isFlag(tokens['isEnabled']) &&
    isListOf(revocations, (each) => isOrder({ appId: id, revocation: each })) &&
    isFields(limits) &&
    appLimits.every((limit) => isWhole(limits[limit]))
  );
}

function isFlag(value: unknown): value is boolean {
  return typeof value === 'boolean';
}

function isListOf(list: unknown, isOne: (item: Readonly<Record<string, unknown>>) => boolean): boolean {
  return Array.isArray(list) && list.every((item) => isFields(item) && isOne(item));
}

function malformed(what: string): StarlingError {
  return new StarlingError('internal', `The other process sent ${what} in a form that is none`);
}

const [question, order, change] = ['app', 'revoke', 'app changed'] as const;

/** Answers for the store until the other end is gone. Returns the function that stops the news of changes. */
export function serveApps(store: AppStore & Revoker, line: AnsweringLine): () => void {
  line.answer(question, (about) => {
    if (!isQuestion(about)) throw malformed('a question about an app');
    const { by, value } = about;
    return by === 'id' ? store.byId(value) : store.byKey(value);
  });
  line.answer(order, (about) => {
    if (!isOrder(about)) throw malformed('a revocation');
    const { appId, revocation } = about;
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

  constructor(line: AskingLine, observer: Pick<Observer, 'defect' | 'problem'>) {
    this.#line = line;
    line.heed(change, (about) => {
      if (!isChange(about)) {
        observer.problem('a change of an app cannot be read', {});
        return;
      }
      const { id, app } = about;
      this.#changeCount++;
      this.#forget(id);
      if (app !== undefined) this.#keep(app);
      for (const listener of [...this.#listeners]) {
        try {
          listener(id, app);
        } catch (err) {
          observer.defect('listener', err, { app: id });
        }
      }
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
      const app = await this.#line.ask(question, about);
      if (app !== undefined && !isApp(app)) throw malformed('an app');
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
