/** The key sets of identity providers, kept: strangers' tokens must neither hammer a provider nor wait on it in numbers. */
import type { Observer } from '@starling/ports';
import { createLocalJWKSet, type JSONWebKeySet } from 'jose';

export type KeyFinder = ReturnType<typeof createLocalJWKSet>;

export interface KeySetLimits {
  /** A set older than this is asked for anew, beside whatever it is used for. */
  readonly freshMs: number;
  /** A set is used so long while its provider cannot be reached. */
  readonly keptMs: number;
  /** Between one request to a provider and the next. */
  readonly pauseMs: number;
  /** Tokens that wait for one provider at a time. */
  readonly maxWaiting: number;
}

export const defaultKeySetLimits: KeySetLimits = {
  freshMs: 10 * 60_000,
  keptMs: 24 * 60 * 60_000,
  pauseMs: 30_000,
  maxWaiting: 1_000,
};

interface KeySet {
  readonly url: string;
  find: KeyFinder | null;
  keyIds: ReadonlySet<string>;
  /** When the request was sent that brought it. */
  fetchedAt: number;
  triedAt: number;
  /** Its value: whether it brought a set. */
  fetching: Promise<boolean> | null;
  waiting: number;
}

/** Providers remembered. An app has one, so more than these are apps that come and go. */
const maxSets = 1_000;

export class KeySets {
  readonly #fetch: (url: string) => Promise<unknown>;
  readonly #observer: Observer;
  readonly #limits: KeySetLimits;
  readonly #sets = new Map<string, KeySet>();

  constructor(fetch: (url: string) => Promise<unknown>, observer: Observer, limits: KeySetLimits) {
    this.#fetch = fetch;
    this.#observer = observer;
    this.#limits = limits;
  }

  /**
   * `unknown`: the provider has just said that it has no such key. `unreachable`: it did not say, or may not be asked yet.
   * Never rejects.
   */
  async find(url: string, keyId: string, nowMs: number): Promise<KeyFinder | 'unknown' | 'unreachable'> {
    const { freshMs, keptMs, maxWaiting } = this.#limits;
    const set = this.#set(url);
    const age = nowMs - set.fetchedAt;
    if (set.find !== null && set.keyIds.has(keyId) && age < keptMs) {
      if (age >= freshMs && this.#mayAsk(set, nowMs)) void this.#ask(set, nowMs);
      return set.find;
    }
    if (set.waiting >= maxWaiting || !(set.fetching !== null || this.#mayAsk(set, nowMs))) return 'unreachable';
    set.waiting++;
    const isAnswered = await (set.fetching ?? this.#ask(set, nowMs));
    set.waiting--;
    if (!isAnswered) return 'unreachable';
    return set.find !== null && set.keyIds.has(keyId) ? set.find : 'unknown';
  }

  #set(url: string): KeySet {
    let set = this.#sets.get(url);
    if (set !== undefined) return set;
    const never = Number.NEGATIVE_INFINITY;
    set = { url, find: null, keyIds: new Set(), fetchedAt: never, triedAt: never, fetching: null, waiting: 0 };
    this.#sets.set(url, set);
    if (this.#sets.size > maxSets) {
      const [oldest = url] = this.#sets.keys();
      this.#sets.delete(oldest);
    }
    return set;
  }

  #mayAsk({ fetching, triedAt }: KeySet, nowMs: number): boolean {
    const agoMs = nowMs - triedAt;
    // A clock that was set back must not silence us for as long.
    return fetching === null && (agoMs < 0 || agoMs >= this.#limits.pauseMs);
  }

  #ask(set: KeySet, nowMs: number): Promise<boolean> {
    set.triedAt = nowMs;
    set.fetching = this.#fetch(set.url)
      .then((answer) => {
        // Throws for what is no key set.
        set.find = createLocalJWKSet(answer as JSONWebKeySet);
        set.keyIds = new Set((answer as JSONWebKeySet).keys.map(({ kid }) => kid ?? ''));
        set.fetchedAt = nowMs;
        return true;
      })
      .catch((err: unknown) => {
        const [url] = set.url.split('?');
        this.#observer.problem('the keys of an identity provider could not be had', { err, url });
        return false;
      })
      .finally(() => {
        set.fetching = null;
      });
    return set.fetching;
  }
}
