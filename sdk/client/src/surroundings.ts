/**
 * What is taken from where the client runs: a page, a worker or Node. Described here, structure by structure, so that
 * no signature needs the types of the DOM or of Node.
 */

/** Any WebSocket class: the browser's, Node's own, or that of the package `ws`. */
export type WebSocketConstructor = new (
  url: string,
) => {
  send(text: string): void;
  close(code?: number, reason?: string): void;
};

/** What is used of `fetch`. */
export type Fetch = (
  url: string,
  request: { method: string; headers: Record<string, string>; body: string },
) => Promise<{ readonly ok: boolean; readonly status: number; text(): Promise<string> }>;

export interface EventSource<Event = unknown> {
  addEventListener(type: string, listener: (event: Event) => void): void;
  removeEventListener(type: string, listener: (event: Event) => void): void;
}

interface Surroundings {
  readonly WebSocket?: WebSocketConstructor;
  readonly fetch?: Fetch;
  readonly document?: EventSource & { readonly visibilityState: string };
  readonly location?: { readonly protocol: string };
  readonly addEventListener?: EventSource['addEventListener'];
  readonly removeEventListener?: EventSource['removeEventListener'];
  readonly performance: { now(): number };
  readonly console?: { warn(...values: readonly unknown[]): void };
  setTimeout(callback: () => void, delayMs: number): unknown;
  clearTimeout(timer: unknown): void;
}

/** Read at each use: a test's fake timers and a late polyfill are seen. */
export const surroundings = globalThis as unknown as Surroundings;

/** The longest delay a timer takes; a longer one would fire at once. */
const longestDelayMs = 2 ** 31 - 1;

/** Returns what stops it. */
export function after(delayMs: number, callback: () => void): () => void {
  const timer = surroundings.setTimeout(callback, Math.min(delayMs, longestDelayMs));
  return () => surroundings.clearTimeout(timer);
}

/** Milliseconds since some moment in the past, by a clock that is never set. It may stand still while the device sleeps. */
export function steadyMs(): number {
  return surroundings.performance.now();
}

/** A moment by both clocks: the wall clock goes on while the device sleeps, and is set back and on. */
export interface Moment {
  readonly steadyMs: number;
  readonly wallMs: number;
}

export function thisMoment(): Moment {
  return { steadyMs: steadyMs(), wallMs: Date.now() };
}

/** By whichever clock says more. For what may be had again: too old does harm, asked for once too often does none. */
export function msSince(moment: Moment): number {
  return Math.max(steadyMs() - moment.steadyMs, Date.now() - moment.wallMs);
}

/** Undefined for text that is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The only fault JSON.parse has is "this is not JSON", which is what undefined says.
    return undefined;
  }
}

/** What a text of JSON holds; any other text is itself. */
export function decoded(text: string): unknown {
  const value = parseJson(text);
  return value === undefined ? text : value;
}
