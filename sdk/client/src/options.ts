/** What a user may ask for, pusher-js's options among them, made into the settings everything else reads. */
import type { AuthOptions, AuthSettings, ChannelAuth, ChannelAuthOptions, UserAuth } from './authorize.ts';
import type { RetryLimits } from './retry.ts';
import { type Fetch, surroundings, type WebSocketConstructor } from './surroundings.ts';
import type { TokenProvider } from './tokens.ts';

/** For end-to-end encrypted channels: what `@starling/client/encrypted` exports, or tweetnacl. */
export interface Nacl {
  readonly secretbox: {
    open(box: Uint8Array, nonce: Uint8Array, key: Uint8Array): Uint8Array | null;
  };
}

/** Takes the WebSocket class there is, and gives one whose connections are one for all tabs. */
export type ShareConnection = (WebSocketHere: WebSocketConstructor) => WebSocketConstructor;

export interface Options {
  /** Where the server is: `https://realtime.example.com`, `http://localhost:6001`, or a bare host (then with TLS). */
  readonly host?: string;
  /** False: not before `connect()` is called, as where pages are made on a server. */
  readonly autoConnect?: boolean;
  /** A capability token that outlives this client. */
  readonly token?: string;
  /** Gives capability tokens, also ahead of their expiry. Throw an error with `status` 401 or 403 to refuse for good. */
  readonly tokenProvider?: TokenProvider;
  /** What `@starling/client/shared` exports: one connection for all tabs of the page's origin. */
  readonly shareConnection?: ShareConnection;
  /** In the place of the runtime's own. */
  readonly WebSocket?: WebSocketConstructor;
  readonly fetch?: Fetch;
  /** How long an answer to `publish` is waited for. 20,000. */
  readonly publishTimeoutMs?: number;
  /** How long opening a connection may take, its handshake included. 15,000. */
  readonly handshakeTimeoutMs?: number;
  /** The first pause before a reconnect; each further one doubles. 1,000. */
  readonly retryMinMs?: number;
  /** 30,000. */
  readonly retryMaxMs?: number;

  // As in pusher-js, where times are in milliseconds.
  readonly cluster?: string;
  readonly wsHost?: string;
  readonly wsPort?: number;
  readonly wssPort?: number;
  readonly wsPath?: string;
  readonly forceTLS?: boolean;
  readonly activityTimeout?: number;
  readonly pongTimeout?: number;
  readonly unavailableTimeout?: number;
  readonly enabledTransports?: readonly string[];
  readonly disabledTransports?: readonly string[];
  readonly channelAuthorization?: ChannelAuthOptions;
  readonly userAuthentication?: AuthOptions<{ socketId: string }, UserAuth>;
  readonly authEndpoint?: string;
  readonly authTransport?: 'ajax' | 'jsonp';
  readonly auth?: Pick<ChannelAuthOptions, 'params' | 'headers'>;
  readonly authorizer?: (
    channel: { readonly name: string },
    options: unknown,
  ) => { authorize(socketId: string, callback: (error: Error | null, answer: ChannelAuth | null) => void): void };
  readonly nacl?: Nacl;

  // Taken, so that old options compile, and without effect: everything goes over one WebSocket, nothing is measured.
  readonly httpHost?: string;
  readonly httpPort?: number;
  readonly httpsPort?: number;
  readonly httpPath?: string;
  readonly statsHost?: string;
  readonly enableStats?: boolean;
  readonly disableStats?: boolean;
  readonly timelineParams?: unknown;
  readonly ignoreNullOrigin?: boolean;
}

export interface Address {
  readonly host: string;
  readonly port: number;
  readonly securePort: number;
  readonly path: string;
  readonly isTls: boolean;
}

export interface Settings extends RetryLimits, AuthSettings {
  readonly address: Address;
  readonly WebSocket: WebSocketConstructor | undefined;
  readonly activityTimeoutMs: number;
  readonly pongTimeoutMs: number;
  readonly unavailableTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  readonly publishTimeoutMs: number;
  readonly nacl: Nacl | undefined;
  /** Whether the backend's signature was asked for in so many words. */
  readonly hasChannelAuth: boolean;
  readonly tokenProvider: TokenProvider | undefined;
}

/** Throws a TypeError that says what is accepted. */
export function readOptions(options: Options): Settings {
  const { channelAuthorization, authEndpoint, authTransport, auth, authorizer, token, tokenProvider } = options;
  const channelAuth = channelAuthorization ?? {
    ...(authEndpoint !== undefined && { endpoint: authEndpoint }),
    ...(authTransport && { transport: authTransport }),
    ...auth,
  };
  for (const { transport } of [channelAuth, options.userAuthentication ?? {}]) {
    if (transport === 'jsonp') throw new TypeError('transport "jsonp" is not supported: use "ajax", and CORS');
  }
  const { enabledTransports, disabledTransports = [] } = options;
  const allowsSocket = ['ws', 'wss'].some(
    (name) => (enabledTransports?.includes(name) ?? true) && !disabledTransports.includes(name),
  );
  const WebSocketHere = allowsSocket ? (options.WebSocket ?? surroundings.WebSocket) : undefined;
  return {
    address: addressOf(options),
    WebSocket: (WebSocketHere && options.shareConnection?.(WebSocketHere)) ?? WebSocketHere,
    fetch: options.fetch ?? surroundings.fetch?.bind(surroundings),
    // A falsy time means the usual one, as in pusher-js.
    activityTimeoutMs: options.activityTimeout || 120_000,
    pongTimeoutMs: options.pongTimeout || 30_000,
    unavailableTimeoutMs: options.unavailableTimeout || 10_000,
    handshakeTimeoutMs: options.handshakeTimeoutMs ?? 15_000,
    publishTimeoutMs: options.publishTimeoutMs ?? 20_000,
    retryMinMs: options.retryMinMs ?? 1_000,
    retryMaxMs: options.retryMaxMs ?? 30_000,
    nacl: options.nacl,
    channelAuth,
    hasChannelAuth: channelAuthorization !== undefined || authEndpoint !== undefined || authorizer !== undefined,
    authorizer:
      authorizer && channelAuthorization === undefined
        ? (channel, socketId, callback) => authorizer(channel, options).authorize(socketId, callback)
        : undefined,
    userAuth: options.userAuthentication ?? {},
    tokenProvider: tokenProvider ?? (token === undefined ? undefined : () => token),
  };
}

export function addressOf(options: Options): Address {
  const { cluster, host, wsHost, wsPort = 80, wssPort = 443, wsPath = '' } = options;
  const isSecurePage = surroundings.location?.protocol === 'https:';
  const isTls = isSecurePage || options.forceTLS !== false;
  if (host === undefined) {
    if (wsHost === undefined && cluster === undefined) {
      throw new TypeError('Say where the server is: host: "https://realtime.example.com", or wsHost, or cluster');
    }
    return { host: wsHost ?? `ws-${cluster}.pusher.com`, port: wsPort, securePort: wssPort, path: wsPath, isTls };
  }
  const [, scheme, name, port, path = ''] =
    /^(?:(https?|wss?):\/\/)?([^/:[\]]+|\[[^\]]+\])(?::(\d+))?(\/.*)?$/.exec(host) ?? [];
  if (name === undefined) throw new TypeError(`host must be like "https://realtime.example.com:8443", not "${host}"`);
  return {
    host: name,
    port: Number(port ?? wsPort),
    securePort: Number(port ?? wssPort),
    // Of `https://host/` the slash stands before nothing.
    path: path.replace(/\/+$/, '') + wsPath,
    isTls: scheme === undefined ? isTls : scheme === 'https' || scheme === 'wss',
  };
}

export function connectionUrl(address: Address, isTls: boolean, key: string, token: string | undefined): string {
  const { host, path } = address;
  const start = isTls ? `wss://${host}:${address.securePort}` : `ws://${host}:${address.port}`;
  const query = `protocol=7&client=starling-js&version=${version}`;
  return `${start}${path}/app/${encodeURIComponent(key)}?${query}${token === undefined ? '' : `&token=${encodeURIComponent(token)}`}`;
}

/** As in package.json; a test compares them. */
export const version = '0.1.0';
