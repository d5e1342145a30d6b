/** Signed requests to the HTTP API, repeated where that may help. */
import { md5 } from '@noble/hashes/legacy.js';
import { type LimitState, requestSignatureText } from '@starling/protocol';
import { type ErrorCode, StarlingError } from './errors.ts';
import { type Secret, toHex } from './secret.ts';

export interface FetchAnswer {
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  text(): Promise<string>;
}

/** As much of the platform's `fetch` as is used. */
export type Fetch = (
  url: string,
  init: {
    readonly method: string;
    readonly headers: Record<string, string>;
    readonly body?: string;
    readonly redirect: 'manual';
    /** An AbortSignal. Not every platform's types know one, and `never` fits whatever a `fetch` takes for it. */
    readonly signal: never;
  },
) => Promise<FetchAnswer>;

export interface RequesterDeps {
  /** Without a slash at its end. */
  readonly url: string;
  readonly key: string;
  readonly secret: Secret;
  readonly fetch: Fetch;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Milliseconds for one attempt, its answer's body included. */
  readonly timeoutMs: number;
  /** How many more times a request is made whose answer did not come or promised better luck. */
  readonly retries: number;
}

const encoder = new TextEncoder();
const firstPauseMs = 100;
const longestPauseMs = 5_000;

export class Requester {
  readonly #deps: RequesterDeps;
  /** What of the URL's path stands before Starling's. */
  readonly #origin: string;
  readonly #prefix: string;

  constructor(deps: RequesterDeps) {
    const { origin, pathname } = new URL(deps.url);
    this.#deps = deps;
    this.#origin = origin;
    this.#prefix = pathname.replace(/\/+$/, '');
  }

  async get(path: string, query: Readonly<Record<string, string>> = {}): Promise<Record<string, unknown>> {
    return this.#repeat('GET', path, query, undefined);
  }

  /** `body` must be one that may be repeated: whatever it asks for is done once. */
  async post(path: string, body: unknown): Promise<Record<string, unknown>> {
    return this.#repeat('POST', path, {}, JSON.stringify(body));
  }

  async #repeat(
    method: 'GET' | 'POST',
    path: string,
    query: Readonly<Record<string, string>>,
    body: string | undefined,
  ): Promise<Record<string, unknown>> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#once(method, path, query, body);
      } catch (err) {
        const pauseMs = err instanceof StarlingError ? pauseBefore(err, attempt) : undefined;
        if (pauseMs === undefined || attempt >= this.#deps.retries) throw err;
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    }
  }

  /** Signed anew each time: a timestamp may have grown old. */
  async #once(
    method: 'GET' | 'POST',
    path: string,
    query: Readonly<Record<string, string>>,
    body: string | undefined,
  ): Promise<Record<string, unknown>> {
    const { key, secret, timeoutMs } = this.#deps;
    const target = this.#prefix + path;
    const pairs: Array<[name: string, value: string]> = [
      ...Object.entries(query),
      ['auth_key', key],
      ['auth_timestamp', String(Math.floor(this.#deps.now() / 1_000))],
      ['auth_version', '1.0'],
    ];
    if (body !== undefined) pairs.push(['body_md5', toHex(md5(encoder.encode(body)))]);
    pairs.push(['auth_signature', await secret.sign(requestSignatureText(method, target, pairs))]);
    const search = pairs.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&');

    const { fetch } = this.#deps;
    const signal = AbortSignal.timeout(timeoutMs);
    let answer: FetchAnswer;
    let text: string;
    try {
      answer = await fetch(`${this.#origin}${target}?${search}`, {
        method,
        headers: body === undefined ? {} : { 'content-type': 'application/json' },
        ...(body !== undefined && { body }),
        // Followed, a signed request and its body would go to whomever an answer names. Workers know no 'error'.
        redirect: 'manual',
        signal: signal as never,
      });
      text = await answer.text();
    } catch (cause) {
      if (signal.aborted)
        throw new StarlingError('timeout', `${this.#origin} did not answer in ${timeoutMs} ms`, { cause });
      throw new StarlingError('network', `${this.#origin} cannot be reached: ${reasonOf(cause)}`, { cause });
    }
    return read(answer, text);
  }
}

function read(answer: FetchAnswer, text: string): Record<string, unknown> {
  const { status } = answer;
  const value = parse(text);
  if (status >= 200 && status < 300 && value !== undefined) return value;
  const retryAfter = Number(answer.headers.get('retry-after') ?? Number.NaN);
  const retryAfterSeconds = retryAfter >= 0 ? retryAfter : undefined;
  // Starling names its rule. Others, hosted Pusher among them, say it in words only.
  const { code, error, limit } = value ?? {};
  throw new StarlingError(
    typeof code === 'string' ? (code as ErrorCode) : codeOf(status),
    typeof error === 'string' ? error : `HTTP ${status}: ${text.slice(0, 200)}`,
    { status, retryAfterSeconds, limit: limitOf(limit) },
  );
}

function limitOf(value: unknown): LimitState | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { limit, remaining, reset } = value as Partial<Record<keyof LimitState, unknown>>;
  const isWhole = typeof limit === 'number' && typeof remaining === 'number';
  return isWhole && (typeof reset === 'number' || reset === null) ? { limit, remaining, reset } : undefined;
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined;
  } catch {
    // No JSON: its text stands in the error.
    return undefined;
  }
}

function codeOf(status: number): ErrorCode {
  if (status === 401 || status === 403) return 'request_unauthenticated';
  if (status === 400) return 'request_malformed';
  if (status === 404) return 'route_unknown';
  if (status === 413) return 'request_too_large';
  if (status === 429) return 'rate_limited';
  return status >= 500 ? 'unavailable' : 'answer_unknown';
}

/** Milliseconds until the next attempt; undefined where another could not do better. */
function pauseBefore({ code, status, retryAfterSeconds, limit }: StarlingError, attempt: number): number | undefined {
  if (limit?.reset === null) return undefined;
  const mayPass = code === 'network' || code === 'timeout' || status === 429 || (status !== undefined && status >= 500);
  if (!mayPass) return undefined;
  const askedMs = (retryAfterSeconds ?? 0) * 1_000;
  // Whoever must wait so long should decide for himself.
  if (askedMs > longestPauseMs) return undefined;
  const backoffMs = Math.min(longestPauseMs, firstPauseMs * 2 ** attempt);
  return askedMs + backoffMs * (0.5 + Math.random() / 2);
}

/** `fetch` hides why in the cause. */
function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  return cause.cause instanceof Error ? `${cause.message}: ${cause.cause.message}` : cause.message;
}
