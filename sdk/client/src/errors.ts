/** What went wrong, as a developer needs it: a stable code, the reason, and what to do. */
import { fixes } from '@starling/protocol';

/** What the client itself finds; the rest of the codes are the server's, by the table of the protocol. */
export const fixesOfClient: Readonly<Record<string, string>> = {
  connection_lost: 'Nothing: the client reconnects. If it happens often, look for proxies that cut idle connections.',
  handshake_failed: 'See that a Starling server is at this host and port, and that proxies pass WebSockets on.',
  websocket_missing: 'Give a WebSocket class as an option, such as that of the package ws.',
  not_connected: 'Publish when connection.state is "connected": nothing is queued.',
  publish_unknown: 'Publish again only where a second delivery does no harm.',
  token_refused: 'See why the token provider refuses this user, then call connect().',
  token_unavailable: 'Nothing: it is tried again. See cause.',
};

export interface ErrorOptions {
  /** As in `pusher:error` and closes. */
  readonly number?: number | null;
  readonly cause?: unknown;
  /** Of a refusal for haste: when to come again. */
  readonly retryAfterSeconds?: number;
}

export class StarlingError extends Error {
  override readonly name = 'StarlingError';
  /** What pusher-js says here. */
  readonly type = 'PusherError';
  /** A stable name, such as `app_unknown`. */
  readonly code: string;
  /** The number on the wire, where there is one. */
  readonly number: number | null;
  /** What a developer can do about it. */
  readonly fix: string;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: string, reason: string, options: ErrorOptions = {}) {
    super(reason, options.cause === undefined ? undefined : { cause: options.cause });
    const { number = null } = options;
    this.code = code;
    this.number = number;
    this.fix = fixesOfClient[code] ?? (number === null ? undefined : fixes[number]?.fix) ?? '';
    this.retryAfterSeconds = options.retryAfterSeconds;
  }

  get reason(): string {
    return this.message;
  }

  /** As pusher-js gives it: handlers look for the number here, or below `error`. */
  get data(): { readonly code: number | null; readonly message: string } {
    return { code: this.number, message: this.message };
  }

  get error(): this {
    return this;
  }
}

/** A close or a `pusher:error` with this number. */
export function problem(number: number | null, reason: string): StarlingError {
  const known = number === null ? undefined : fixes[number];
  return new StarlingError(known?.code ?? (number === null ? 'refused' : 'connection_lost'), reason, { number });
}
