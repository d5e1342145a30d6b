/** A node without a network, for the engine's tests: memory adapters, a clock that stands still, peers that keep what they get. */
import { createHmac } from 'node:crypto';
import {
  FakeClock,
  MemoryAppStore,
  MemoryBroker,
  MemoryPresenceStore,
  MemoryRateLimiter,
  MemoryTokenVerifier,
} from '@starling/adapters/memory';
import {
  type App,
  type Broker,
  type Codec,
  defaultAppLimits,
  defaultTokenSettings,
  type Fanout,
  type Observer,
  type PresenceStore,
  type RateLimiter,
  type TokenVerifier,
  type Transport,
} from '@starling/ports';
import { tokenOf } from '@starling/ports/contract';
import { pusherDialect } from '@starling/protocol';
import {
  type ConnectRequest,
  Hub,
  type MemoryBudget,
  type OutboxLimits,
  type Session,
  type SessionSettings,
  Sessions,
  Traffic,
} from './index.ts';
import { defaultSessionSettings } from './session.ts';

/** One whole frame per line, so that a write of several can be taken apart. */
export const lineCodec: Codec = {
  name: 'line',
  dialect: pusherDialect,
  frame: (payload) => Buffer.concat([payload, Buffer.from('\n')]),
};

export interface Received {
  readonly event: string;
  readonly channel?: string;
  readonly data: unknown;
  readonly user_id?: string;
}

export class TestPeer implements Transport {
  readonly codec: Codec;
  readonly fanout?: Fanout;
  session!: Session;
  /** Every write as it came: the bytes of one flush. */
  readonly writes: Uint8Array[] = [];
  readonly raw: string[] = [];
  closedWith: { code: number; reason: string } | null = null;
  probes = 0;
  /** What the "kernel" has not taken; a test sets it. */
  bufferedBytes = 0;

  constructor(codec: Codec = lineCodec, fanout?: Fanout) {
    this.codec = codec;
    if (fanout !== undefined) this.fanout = fanout;
  }

  write(frames: Uint8Array): void {
    this.writes.push(frames);
    for (const line of Buffer.from(frames).toString().split('\n')) if (line !== '') this.raw.push(line);
  }

  probe(): void {
    this.probes++;
  }

  close(code: number, reason: string): void {
    this.closedWith ??= { code, reason };
  }

  /** Everything received so far, with string data parsed. */
  get received(): Received[] {
    return this.raw.map((line) => {
      const frame = JSON.parse(line);
      return typeof frame.data === 'string' ? { ...frame, data: safeParse(frame.data) } : frame;
    });
  }

  /** What has been received since the last call. */
  take(): Received[] {
    const all = this.received;
    this.raw.length = 0;
    return all;
  }

  say(frame: unknown): void {
    this.session.receive(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }
}

export const testApp: App = {
  id: '1001',
  version: 1,
  name: 'test',
  isEnabled: true,
  keys: [
    { key: 'old-key', secret: 'old-secret', isEnabled: false },
    { key: 'app-key', secret: 'app-secret', isEnabled: true },
    { key: 'next-key', secret: 'next-secret', isEnabled: true },
  ],
  hasClientEvents: true,
  hasSubscriptionCounts: false,
  hasWatchlists: true,
  admitsAuthorizedOnly: false,
  requiresTls: false,
  hidesData: false,
  allowedOrigins: [],
  tokens: defaultTokenSettings,
  revocations: [],
  limits: defaultAppLimits,
};

export interface WorldOptions {
  readonly app?: Partial<App>;
  readonly settings?: Partial<SessionSettings>;
  readonly connectionsElsewhere?: (appId: string) => number;
  readonly outbox?: Partial<OutboxLimits>;
  readonly memory?: MemoryBudget;
  /** Stand between the engine and a store: to delay its answers, or to fail. */
  readonly wrapBroker?: (broker: MemoryBroker) => Broker;
  readonly wrapPresence?: (store: MemoryPresenceStore) => PresenceStore;
  readonly wrapVerifier?: (verifier: TokenVerifier) => TokenVerifier;
  readonly wrapRateLimiter?: (limiter: RateLimiter) => RateLimiter;
}

export function createWorld(options: WorldOptions = {}) {
  const clock = new FakeClock();
  const broker = new MemoryBroker(clock);
  const presenceStore = new MemoryPresenceStore(broker);
  const rateLimiter = new MemoryRateLimiter(clock);
  const tokenVerifier = new MemoryTokenVerifier();
  const app: App = { ...testApp, ...options.app };
  const appStore = new MemoryAppStore([app], () => clock.now());
  const traffic = new Traffic();
  const problems: Array<{ what: string; err?: unknown }> = [];
  const noted: Array<{ what: string } & Record<string, unknown>> = [];
  const observer: Observer = {
    notes: true,
    note: (what, details) => {
      noted.push({ what, ...details });
    },
    problem: (what, { err }) => {
      problems.push({ what, err });
    },
    defect: (kind, err) => {
      problems.push({ what: `defect: ${kind}`, err });
    },
  };
  const engineBroker = options.wrapBroker?.(broker) ?? broker;
  const hub = new Hub({ broker: engineBroker, clock, observer, nodeId: 'node' });
  hub.start();
  const sessions = new Sessions(
    {
      appStore,
      broker: engineBroker,
      presenceStore: options.wrapPresence?.(presenceStore) ?? presenceStore,
      rateLimiter: options.wrapRateLimiter?.(rateLimiter) ?? rateLimiter,
      tokenVerifier: options.wrapVerifier?.(tokenVerifier) ?? tokenVerifier,
      hub,
      clock,
      observer,
      traffic,
      ...(options.memory && { memory: options.memory }),
      ...(options.connectionsElsewhere && { connectionsElsewhere: options.connectionsElsewhere }),
    },
    { ...defaultSessionSettings, ...options.settings },
    options.outbox,
  );
  sessions.start();

  /** Lets every promise that can be settled be settled, and flushes what was queued. */
  async function settle(): Promise<void> {
    for (let turn = 0; turn < 40; turn++) await Promise.resolve();
    clock.flush();
  }

  function open(connectRequest: Partial<ConnectRequest> = {}, peer = new TestPeer(), token?: string): TestPeer {
    const whole = {
      key: 'app-key',
      protocol: '7',
      client: 'test',
      version: '1',
      origin: undefined,
      address: '192.0.2.1',
      isTls: false,
      ...connectRequest,
    };
    peer.session = sessions.open(peer, whole, token);
    return peer;
  }

  /** Opens and takes the handshake away. */
  async function connect(
    connectRequest: Partial<ConnectRequest> = {},
    peer = new TestPeer(),
    token?: string,
  ): Promise<TestPeer> {
    open(connectRequest, peer, token);
    await settle();
    peer.take();
    return peer;
  }

  /** Good for an hour from now, unless `claims` say otherwise; signed by hand. */
  function mint(claims: Readonly<Record<string, unknown>> = {}, key = 'app-key', secret = 'app-secret'): string {
    const iat = Math.floor(clock.now() / 1_000);
    return tokenOf({ alg: 'HS256', kid: key }, { iat, exp: iat + 3_600, cap: {}, ...claims }, secret);
  }

  /** Connects with a token of these claims, and takes the handshake away. */
  async function connectWith(claims: Readonly<Record<string, unknown>>): Promise<TestPeer> {
    return connect({}, new TestPeer(), mint(claims));
  }

  /** What is told in answer to `starling:auth`, and because of it. */
  async function renew(peer: TestPeer, token: unknown): Promise<Received[]> {
    peer.say({ event: 'starling:auth', data: { token } });
    await settle();
    return peer.take();
  }

  /** Everything a subscribe needs for this peer, signed. */
  function subscribeFrame(
    peer: TestPeer,
    channel: string,
    channelData?: unknown,
    secret = 'app-secret',
    key = 'app-key',
  ) {
    const data = channelData === undefined ? undefined : JSON.stringify(channelData);
    const text = [peer.session.socketId, channel, ...(data === undefined ? [] : [data])].join(':');
    return {
      event: 'pusher:subscribe',
      data: { channel, auth: `${key}:${hmac(secret, text)}`, ...(data === undefined ? {} : { channel_data: data }) },
    };
  }

  async function subscribe(peer: TestPeer, channel: string, channelData?: unknown): Promise<Received[]> {
    peer.say(subscribeFrame(peer, channel, channelData));
    await settle();
    return peer.take();
  }

  function signinFrame(peer: TestPeer, user: unknown, secret = 'app-secret') {
    const userData = JSON.stringify(user);
    const auth = `app-key:${hmac(secret, `${peer.session.socketId}::user::${userData}`)}`;
    return { event: 'pusher:signin', data: { auth, user_data: userData } };
  }

  async function signin(peer: TestPeer, user: unknown, secret?: string): Promise<Received[]> {
    peer.say(signinFrame(peer, user, secret));
    await settle();
    return peer.take();
  }

  return {
    app,
    appStore,
    broker,
    clock,
    noted,
    connect,
    connectWith,
    hub,
    mint,
    open,
    presenceStore,
    problems,
    rateLimiter,
    renew,
    sessions,
    settle,
    signin,
    signinFrame,
    subscribe,
    subscribeFrame,
    traffic,
  };
}

export type World = ReturnType<typeof createWorld>;

export function hmac(secret: string, text: string): string {
  return createHmac('sha256', secret).update(text).digest('hex');
}

function safeParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
