/** The key sets of identity providers, kept: strangers' tokens must neither hammer a provider nor wait on it in numbers. */
import { type Clock, type ElapsedMs, longAgo, msSince, type Observer } from '@starling/ports';
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
  fetchedAt: ElapsedMs;
  triedAt: ElapsedMs;
  /** Its value: whether it brought a set. */
  fetching: Promise<boolean> | null;
  waiting: number;
}

/** Providers remembered. An app has one, so more than these are apps that come and go. */
const maxSets = 1_000;

export class KeySets {
  readonly #fetch: (url: string) => Promise<unknown>;
  readonly #clock: Pick<Clock, 'elapsed'>;
  readonly #observer: Observer;
  readonly #limits: KeySetLimits;
  readonly #sets = new Map<string, KeySet>();

  constructor(
    fetch: (url: string) => Promise<unknown>,
    clock: Pick<Clock, 'elapsed'>,
    observer: Observer,
    limits: KeySetLimits,
  ) {
    this.#fetch = fetch;
    this.#clock = clock;
    this.#observer = observer;
    this.#limits = limits;
  }

  /**
   * `unknown`: the provider has just said that it has no such key. `unreachable`: it did not say, or may not be asked yet.
   * Never rejects.
   */
  async find(url: string, keyId: string): Promise<KeyFinder | 'unknown' | 'unreachable'> {
    const { freshMs, keptMs, maxWaiting } = this.#limits;
    const set = this.#set(url);
    const age = msSince(set.fetchedAt, this.#clock);
    if (set.find !== null && set.keyIds.has(keyId) && age < keptMs) {
      if (age >= freshMs && this.#mayAsk(set)) void this.#ask(set);
      return set.find;
    }
    if (set.waiting >= maxWaiting || !(set.fetching !== null || this.#mayAsk(set))) return 'unreachable';
    set.waiting++;
    const isAnswered = await (set.fetching ?? this.#ask(set));
    set.waiting--;
    if (!isAnswered) return 'unreachable';
    return set.find !== null && set.keyIds.has(keyId) ? set.find : 'unknown';
  }

  #set(url: string): KeySet {
    let set = this.#sets.get(url);
    if (set !== undefined) return set;
    set = { url, find: null, keyIds: new Set(), fetchedAt: longAgo, triedAt: longAgo, fetching: null, waiting: 0 };
    this.#sets.set(url, set);
    if (this.#sets.size > maxSets) {
      const [oldest = url] = this.#sets.keys();
      this.#sets.delete(oldest);
    }
    return set;
  }

  #mayAsk({ fetching, triedAt }: KeySet): boolean {
    return fetching === null && msSince(triedAt, this.#clock) >= this.#limits.pauseMs;
  }

  #ask(set: KeySet): Promise<boolean> {
    const askedAt = this.#clock.elapsed();
    set.triedAt = askedAt;
    set.fetching = this.#fetch(set.url)
      .then((answer) => {
        // Throws for what is no key set.
        set.find = createLocalJWKSet(answer as JSONWebKeySet);
        set.keyIds = new Set((answer as JSONWebKeySet).keys.map(({ kid }) => kid ?? ''));
        set.fetchedAt = askedAt;
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
