/** Questions, answers and news between a process and one that it started. */
import { fence, type Observer } from '@starling/ports';
import { type ProblemCode, problems, StarlingError } from '@starling/protocol';

/** Node's `process` in a process that was started, and its `ChildProcess` in the one that started it. */
export interface FarProcess {
  readonly connected: boolean;
  send?(message: object, callback: (err: Error | null) => void): boolean;
  on(event: 'message', listener: (message: unknown) => void): unknown;
  on(event: 'disconnect', listener: () => void): unknown;
}

type Message =
  | { readonly starling: 'ask'; readonly id: number; readonly what: string; readonly about: unknown }
  | { readonly starling: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly starling: 'failure'; readonly id: number; readonly code: ProblemCode; readonly message: string }
  | { readonly starling: 'news'; readonly what: string; readonly about: unknown };

interface Asked {
  readonly resolve: (value: unknown) => void;
  readonly reject: (err: unknown) => void;
  readonly limit: NodeJS.Timeout;
}

/** Longer than a busy event loop takes to come round, shorter than people wait. */
const answerLimitMs = 5_000;

/**
 * One end of it. What one end sends reaches the other in that order, or not at all when either ends. Both ends must
 * serialize alike; with Node's `advanced`, any plain value passes as it is.
 */
export class IpcChannel {
  readonly #far: FarProcess;
  readonly #observer: Pick<Observer, 'defect'>;
  readonly #asked = new Map<number, Asked>();
  readonly #answers = new Map<string, (about: unknown) => unknown>();
  readonly #listeners = new Map<string, (about: unknown) => void>();
  #lastId = 0;

  constructor(far: FarProcess, observer: Pick<Observer, 'defect'>) {
    this.#far = far;
    this.#observer = observer;
    far.on(
      'message',
      fence(observer, 'control message', (message) => this.#received(message)),
    );
    far.on('disconnect', () => {
      for (const id of [...this.#asked.keys()]) this.#settle(id)?.reject(gone());
    });
  }

  /** Rejects with a StarlingError: the other end's own, or `unavailable` when it is gone or silent. */
  ask(what: string, about?: unknown, limitMs = answerLimitMs): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      const limit = setTimeout(() => {
        this.#settle(id)?.reject(new StarlingError('unavailable', `No answer in ${limitMs} ms: ${what}`));
      }, limitMs);
      this.#asked.set(id, { resolve, reject, limit });
      this.#send({ starling: 'ask', id, what, about }, (err) => this.#settle(id)?.reject(gone(err)));
    });
  }

  /** From now on this question is answered so. One question has one answerer. */
  answer(what: string, answer: (about: unknown) => unknown): void {
    this.#answers.set(what, answer);
  }

  /** Nobody learns whether it arrived. */
  tell(what: string, about?: unknown): void {
    this.#send({ starling: 'news', what, about }, () => {
      // The other end is gone, and whoever depends on it sees it end.
    });
  }

  /** From now on this news is taken so. One kind of news has one listener. */
  on(what: string, listener: (about: unknown) => void): void {
    this.#listeners.set(what, listener);
  }

  #received(given: unknown): void {
    const message = parseMessage(given);
    // Not of this class: whoever starts this process may talk to it, too, and a process manager has messages of its own.
    if (message === undefined) return;
    switch (message.starling) {
      case 'ask':
        void this.#reply(message.id, message.what, message.about);
        return;
      case 'answer':
        this.#settle(message.id)?.resolve(message.value);
        return;
      case 'failure':
        this.#settle(message.id)?.reject(new StarlingError(message.code, message.message));
        return;
      case 'news':
        this.#listeners.get(message.what)?.(message.about);
        return;
      default:
        message satisfies never;
    }
  }

  /** Never rejects. */
  async #reply(id: number, what: string, about: unknown): Promise<void> {
    let message: Message;
    try {
      const answer = this.#answers.get(what);
      if (answer === undefined) throw new StarlingError('internal', `Nobody here answers ${what}`);
      message = { starling: 'answer', id, value: await answer(about) };
    } catch (err) {
      const code = err instanceof StarlingError ? err.code : 'internal';
      message = { starling: 'failure', id, code, message: err instanceof Error ? err.message : String(err) };
    }
    this.#send(message, () => {
      // Nobody waits for the answer any more.
    });
  }

  #settle(id: number): Asked | undefined {
    const asked = this.#asked.get(id);
    if (asked === undefined) return undefined;
    this.#asked.delete(id);
    clearTimeout(asked.limit);
    return asked;
  }

  #send(message: Message, onFailure: (err?: Error) => void): void {
    if (this.#far.send === undefined || !this.#far.connected) {
      onFailure();
      return;
    }
    try {
      this.#far.send(message, (err) => {
        if (err !== null) onFailure(err);
      });
    } catch (err) {
      // Something that cannot be serialized, such as a function.
      this.#observer.defect('control message', err, { what: 'what' in message ? message.what : message.starling });
      onFailure(err instanceof Error ? err : undefined);
    }
  }
}

/**
 * Undefined for what no end of a `IpcChannel` sends. What a question or the news is about is for its listener to judge; a code
 * that a newer version of the program has stands for an internal error.
 */
function parseMessage(given: unknown): Message | undefined {
  if (typeof given !== 'object' || given === null || !('starling' in given)) return undefined;
  const { starling, id, what, about, value, code, message } = given as Readonly<Record<string, unknown>>;
  const isNumbered = typeof id === 'number';
  if (starling === 'news') return typeof what === 'string' ? { starling, what, about } : undefined;
  if (starling === 'ask') return isNumbered && typeof what === 'string' ? { starling, id, what, about } : undefined;
  if (starling === 'answer') return isNumbered ? { starling, id, value } : undefined;
  if (starling !== 'failure' || !isNumbered || typeof message !== 'string') return undefined;
  const known = typeof code === 'string' && Object.hasOwn(problems, code) ? (code as ProblemCode) : 'internal';
  return { starling, id, code: known, message };
}

function gone(cause?: Error): StarlingError {
  return new StarlingError('unavailable', 'The other process is gone', { cause });
}
