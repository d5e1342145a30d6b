/** The server side of one connection, from the handshake to the last membership released: read it from top to bottom. */
import { randomInt } from 'node:crypto';
import {
  type App,
  type AppStore,
  type ElapsedMs,
  type Frame,
  later,
  msSince,
  type RateLimiter,
  type Transport,
  type VerifiedToken,
} from '@starling/ports';
import {
  type AuthCommand,
  type Checked,
  type ClientCommand,
  type ClientEventCommand,
  isOriginAllowed,
  limits,
  type ProblemCode,
  parseChannelName,
  problems,
  type Refusal,
  refuseByLimit,
  resetSeconds,
  type ServerEvent,
  type SigninCommand,
  type SocketPublishCommand,
  StarlingError,
  type SubscribeCommand,
  utf8Length,
} from '@starling/protocol';
import { authorizePublish } from './authorize.ts';
import { type Charge, subscriptionCost } from './capacity.ts';
import { type Delivery, payloadOf } from './delivery.ts';
import { refuseOverShare } from './fairness.ts';
import { type Flusher, Outbox } from './outbox.ts';
import type { PublishCommand } from './publish.ts';
import { PublishQueue } from './publish-queue.ts';
import { type Fields, parseChannels, parseEventRequest, toPublishCommand } from './publish-request.ts';
import { Rate } from './rate.ts';
import type { SessionContext, SessionContextDeps, SignedIn } from './session-context.ts';
import { becomeUser, leaveUser, signin, startUser, takeUser } from './signin.ts';
import { type ChannelSubscription, joinChannel, leaveChannel, recheckChannel } from './subscribe.ts';
import type { TimingWheel } from './timing-wheel.ts';
import { renewToken, tokenFault, verifyToken } from './token.ts';
import type { AppTraffic, Traffic } from './traffic.ts';

/** What a transport knows of a peer when the conversation opens. */
export interface ConnectRequest {
  /** The app key of the address, percent-decoded. */
  readonly key: string;
  /** The query's `protocol`, as it came. */
  readonly protocol: string | undefined;
  readonly client: string | undefined;
  readonly version: string | undefined;
  readonly origin: string | undefined;
  /** The peer's IP address. */
  readonly address: string;
  readonly isTls: boolean;
}

export interface SessionSettings {
  /** What the handshake advertises, in whole seconds. */
  readonly activityTimeoutSeconds: number;
  /** Beyond the advertised time, for the network's sake. */
  readonly activityGraceMs: number;
  /** How long a probe may stay unanswered. */
  readonly pongTimeoutMs: number;
  readonly authorizationTimeoutMs: number;
  /**
   * Inbound frames of one session, beside its app's client events and, with a token to publish, its app's publishes. The
   * burst lets a client join all its channels.
   */
  readonly framesPerSecond: number;
  /** Of one address on this node, over all its apps, those included that no app has admitted yet. */
  readonly connectionsPerAddress: number;
}

export const defaultSessionSettings: SessionSettings = {
  // With the grace still below 50 s, after which HAProxy's usual settings cut what is silent, and nginx's 60 s.
  activityTimeoutSeconds: 30,
  activityGraceMs: 10_000,
  pongTimeoutMs: 30_000,
  authorizationTimeoutMs: 30_000,
  framesPerSecond: 200,
  connectionsPerAddress: 20_000,
};

export interface SessionDeps extends SessionContextDeps {
  readonly appStore: AppStore;
  readonly flusher: Flusher;
  readonly wheel: TimingWheel<Session>;
  readonly rateLimiter: RateLimiter;
  readonly traffic: Traffic;
  readonly settings: SessionSettings;
  /** The sessions' own house-keeping: admits one more connection, or says which limit refuses it. */
  readonly connectionLimiter: ConnectionLimiter;
}

export interface ConnectionLimiter {
  admit(session: Session): Refusal | null;
  dismiss(session: Session): void;
  /** The conversation is over, whether it was admitted or not. */
  forget(session: Session): void;
}

/** Frames held while the app is looked up. A real client sends none before the handshake. */
const maxEarlyFrames = 16;
/** In bytes, of one of those. */
const earlyFrameBytes = 16_384;
/** In bytes, of a frame, beside the data of an event: its names, a token, a member, a watchlist. */
const frameOverheadBytes = 4_096;
/** JSON writes one byte of data in so many at most: a control character as `\u0000`. */
const escapedBytes = 6;
/** JSON writes a byte of ordinary data in so many at most. A frame that is larger for it counts as several. */
const ordinaryEscapedBytes = 2;
const noAppYet = { channelsPerConnection: 0, clientEventsPerSecond: 0, publishesPerSecond: 0 };
/** The protocol versions spoken, as the query gives them. */
const protocols = ['4', '5', '6', '7'];

export class Session implements SessionContext {
  readonly connectRequest: ConnectRequest;
  readonly transport: Transport;
  readonly outbox: Outbox;
  readonly deps: SessionDeps;
  readonly charge: Charge;
  /** Empty until the handshake. */
  socketId = '';
  traffic: AppTraffic;
  user: SignedIn | null = null;
  /** By channel name. A channel stays here while anything of it is undecided. */
  readonly channelSubscriptions = new Map<string, ChannelSubscription>();

  #app: App | null = null;
  #token: VerifiedToken | null = null;
  #publishes: PublishQueue | null = null;
  #state: 'opening' | 'open' | 'closed' = 'opening';
  #hasEnded = false;
  #early: string[] | null = null;
  readonly #frames = new Rate();
  #clientEvents: Rate | null = null;
  #heardAt: ElapsedMs;
  /** What of the charge is for messages that have not come whole. */
  #arrivingBytes = 0;
  /** When the unanswered probe was sent; null when there is none. */
  #probedAt: ElapsedMs | null = null;
  /** When an unauthorised connection is closed; null when it need not be. */
  #authorizeBy: ElapsedMs | null = null;
  /** Orders given but not yet carried out, over all channels. */
  #waiting = 0;
  #signins: Promise<void> = Promise.resolve();
  #opening: Promise<void> | null = null;

  constructor(deps: SessionDeps, transport: Transport, connectRequest: ConnectRequest, charge: Charge) {
    this.deps = deps;
    this.charge = charge;
    this.transport = transport;
    this.connectRequest = connectRequest;
    this.traffic = deps.traffic.unknownApp;
    this.outbox = new Outbox(transport, deps.flusher, this);
    this.#heardAt = deps.clock.elapsed();
  }

  /** The app of an open session. */
  get app(): App {
    if (this.#app === null) throw new StarlingError('internal', 'The session has no app before its handshake');
    return this.#app;
  }

  get token(): VerifiedToken | null {
    return this.#token;
  }

  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  // ── Opening ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Looks the app up, verifies the token if there is one, then greets or refuses. Called once; never rejects. */
  open(token?: string): Promise<void> {
    this.#opening = this.#open(token).finally(() => {
      this.#opening = null;
    });
    return this.#opening;
  }

  async #open(token: string | undefined): Promise<void> {
    try {
      const { protocol, key } = this.connectRequest;
      if (protocol !== undefined && !protocols.includes(protocol)) {
        this.refuse('protocol_unsupported', `Unsupported protocol version ${protocol.slice(0, 16)}: use 4 to 7`);
        return;
      }
      const app = await this.deps.appStore.byKey(key);
      if (this.#state !== 'opening') return;
      const refusal = this.#admit(app);
      if (refusal !== null) {
        this.refuse(refusal.code, refusal.message);
        return;
      }
      // 66 bits: unguessable, and two alike are not met in the life of a planet.
      this.socketId = `${randomInt(1, 10 ** 10)}.${randomInt(1, 10 ** 10)}`;
      if (token === undefined) this.#establish();
      else {
        const opening = this.#openWithToken(token);
        // What the end of the session releases, it releases behind this.
        this.#signins = opening.catch(() => undefined);
        await opening;
      }
    } catch (err) {
      this.#fail(err, 'opening a connection');
    }
  }

  /** Greets only when the user is signed in: from then on a terminate must reach it. */
  async #openWithToken(text: string): Promise<void> {
    const checked = await verifyToken(this, text);
    if (this.#state !== 'opening') return;
    if (!checked.ok) {
      this.refuse(checked.refusal.code, checked.refusal.message);
      return;
    }
    const { user } = checked.value;
    const full = this.#keepToken(checked.value) ?? (user === null ? null : takeUser(this, user, []));
    if (full !== null) {
      this.refuse(full.code, full.message);
      return;
    }
    const reading = user === null ? null : await becomeUser(this, user, []);
    if (this.#state !== 'opening') return;
    this.#establish();
    if (reading !== null) startUser(this, reading);
  }

  #admit(app: App | undefined): Refusal | null {
    const { key, origin, isTls } = this.connectRequest;
    const refusal = (code: ProblemCode, message: string = problems[code].text): Refusal => ({ code, message });
    if (app === undefined) return refusal('app_unknown', `No app has the key ${key.slice(0, 40)}`);
    this.traffic = this.deps.traffic.of(app.id);
    if (!app.isEnabled) return refusal('app_disabled');
    if (!isKeyEnabled(app, key)) return refusal('app_disabled', 'This key is disabled');
    if (app.requiresTls && !isTls) return refusal('tls_required');
    if (!isOriginAllowed(app.allowedOrigins, origin)) return refusal('origin_not_allowed');
    const overShare = refuseOverShare(this.traffic, 'over_capacity');
    if (overShare !== null) return overShare;
    this.#app = app;
    return this.charge.joinApp(app.id) ?? this.deps.connectionLimiter.admit(this);
  }

  /** Puts it in the place of the one before, where there is memory for it. */
  #keepToken(token: VerifiedToken): Refusal | null {
    const cost = tokenCost(token);
    const more = cost - (this.#token === null ? 0 : tokenCost(this.#token));
    const full = more > 0 ? this.charge.take(more) : null;
    if (full !== null) return full;
    if (more < 0) this.charge.give(-more);
    this.#token = token;
    return null;
  }

  /**
   * So many bytes of messages have come that are not whole; 0 when they are, or are too few to count. Closes the connection
   * where that is too much.
   */
  arriving(bytes: number): void {
    const more = bytes - this.#arrivingBytes;
    const full = more > 0 ? this.charge.take(more) : null;
    if (full !== null) {
      this.refuse(full.code, full.message);
      return;
    }
    if (more < 0) this.charge.give(-more);
    this.#arrivingBytes = bytes;
  }

  #establish(): void {
    const { clock, settings, observer } = this.deps;
    this.#state = 'open';
    this.traffic.opened();
    this.traffic.keyUses.set(this.connectRequest.key, clock.now());
    const { activityTimeoutSeconds } = settings;
    this.tell({ type: 'established', socketId: this.socketId, activityTimeoutSeconds });
    if (this.#token !== null) this.#sayToken(this.#token);
    else if (this.app.admitsAuthorizedOnly) {
      this.#authorizeBy = later(clock.elapsed(), settings.authorizationTimeoutMs);
    }
    this.#scheduleCheck();
    if (observer.notes) {
      const { client, version, address } = this.connectRequest;
      this.note('connection opened', { client, version, address });
    }
    const early = this.#early ?? [];
    this.#early = null;
    for (const text of early) this.receive(text);
  }

  // ── Inbound ────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * One text message from the peer. Never throws. `workBytes`: what had to be worked through to get at it, where that was
   * more than its own bytes, as of one that came compressed.
   */
  receive(text: string, workBytes = text.length): void {
    const now = this.deps.clock.elapsed();
    this.#heardAt = now;
    if (this.#state === 'closed') return;
    if (this.#state === 'opening') {
      this.#early ??= [];
      if (this.#early.push(text) > maxEarlyFrames) {
        this.#refuseRate('Wait for the handshake before sending', 'frames', maxEarlyFrames);
      }
      return;
    }
    try {
      this.traffic.framesIn++;
      this.traffic.receivedBytes += text.length;
      if (!this.#admitFrame(now, workBytes)) return;
      const decoded = this.transport.codec.dialect.decode(text);
      if (decoded.ok) this.#obey(decoded.value);
      else this.refuse(decoded.refusal.code, decoded.refusal.message);
    } catch (err) {
      this.#fail(err, 'handling a frame');
    } finally {
      this.traffic.spent(msSince(now, this.deps.clock));
    }
  }

  /** Any other sign of life. It counts as a frame. */
  touch(): void {
    const now = this.deps.clock.elapsed();
    this.#heardAt = now;
    if (this.#state !== 'closed') this.#admitFrame(now, 0);
  }

  /**
   * In bytes, of one message: what any frame needs that this session may send, and nothing that only costs. As much as an
   * event of the app may have of data, escaped.
   */
  get messageBytes(): number {
    return this.#state === 'open' ? frameOverheadBytes + escapedBytes * this.#eventDataBytes : earlyFrameBytes;
  }

  /** Of one event that this session may send. Other frames need as much as a client event, whatever the app allows. */
  get #eventDataBytes(): number {
    return this.#mayPublish ? Math.max(limits.eventDataBytes, this.app.limits.eventDataBytes) : limits.eventDataBytes;
  }

  get #mayPublish(): boolean {
    return this.#token?.capabilities.has('publish') === true;
  }

  #admitFrame(now: ElapsedMs, workBytes: number): boolean {
    const { framesPerSecond } = this.deps.settings;
    // Nothing is known of the app yet, and what may come then is little.
    const { channelsPerConnection, clientEventsPerSecond, publishesPerSecond } = this.#app?.limits ?? noAppYet;
    const publishes = this.#mayPublish ? publishesPerSecond : 0;
    const perSecond = framesPerSecond + clientEventsPerSecond + publishes;
    const burst = 2 * perSecond - publishes + 2 * channelsPerConnection;
    const ordinaryBytes = frameOverheadBytes + ordinaryEscapedBytes * this.#eventDataBytes;
    const cost = 1 + Math.max(0, Math.ceil((workBytes - ordinaryBytes) / 1_024));
    // One of the largest size is taken whenever the budget is whole, however small that is.
    const count = Math.min(cost, burst);
    if (this.#frames.take(now, perSecond, burst, count)) return true;
    const waitMs = this.#frames.waitMs(now, perSecond, burst, count);
    this.#refuseRate(problems.frame_rate.text, 'frames per second', perSecond, waitMs);
    return false;
  }

  /**
   * Resolves when all that the peer sent until now is answered, and the answers are with the transport; null where it is
   * so. For a peer that closes: it is owed what it asked for before.
   */
  answered(): Promise<void> | null {
    if (this.#state === 'closed') return null;
    if (this.#waiting === 0 && this.#opening === null && this.#publishes?.answered == null) {
      this.outbox.flush();
      return null;
    }
    return this.#answerAll();
  }

  async #answerAll(): Promise<void> {
    const pending = (): Array<Promise<void>> => {
      const channels = [...this.channelSubscriptions.values()].map(({ last }) => last);
      return [this.#opening, this.#publishes?.answered, ...channels].filter((each) => each != null);
    };
    // By what is pending and not by a count: while that stays, a loop over settled promises would never end. What was held
    // until the handshake comes behind it, so that one round is not enough.
    do await Promise.all([...pending(), this.#signins]);
    while (this.#state !== 'closed' && pending().length > 0);
    this.outbox.flush();
  }

  #obey(command: ClientCommand): void {
    switch (command.type) {
      case 'ping':
        this.tell({ type: 'pong' });
        return;
      case 'pong':
        return;
      case 'subscribe':
        this.#subscribe(command);
        return;
      case 'unsubscribe': {
        const channelSubscription = this.channelSubscriptions.get(command.channel);
        if (channelSubscription !== undefined)
          this.#inOrder(channelSubscription, commandBytes, () => leaveChannel(this, channelSubscription));
        return;
      }
      case 'signin':
        this.#signin(command);
        return;
      case 'client-event': {
        const channelSubscription = this.channelSubscriptions.get(command.channel);
        const cost = commandBytes + 2 * command.data.length;
        if (channelSubscription !== undefined && channelSubscription.waiting > 0)
          this.#inOrder(channelSubscription, cost, () => this.#relay(command));
        else this.#alone(cost, () => this.#relay(command), 'relaying a client event');
        return;
      }
      case 'publish':
        this.#publish(command);
        return;
      case 'auth':
        this.#auth(command);
        return;
      default:
        command satisfies never;
    }
  }

  #subscribe(command: SubscribeCommand): void {
    const channel = parseChannelName(command.channel);
    if (!channel.ok) {
      this.refuseSubscription(command.channel, channel.refusal);
      return;
    }
    let channelSubscription = this.channelSubscriptions.get(command.channel);
    if (channelSubscription === undefined) {
      const limit = this.app.limits.channelsPerConnection;
      if (this.channelSubscriptions.size >= limit) {
        const state = { limit, remaining: 0, reset: null };
        const { refusal } = refuseByLimit('channel_limit', problems.channel_limit.text, 'channels', state);
        this.refuseSubscription(command.channel, refusal);
        return;
      }
      const cost = subscriptionCost(command.channel.length, command.channelData?.length);
      const full = this.charge.take(cost);
      if (full !== null) {
        this.refuseSubscription(command.channel, full);
        return;
      }
      channelSubscription = {
        channel: channel.value,
        cost,
        membership: null,
        subscription: null,
        isByToken: false,
        waiting: 0,
        last: null,
      };
      this.channelSubscriptions.set(command.channel, channelSubscription);
    }
    const joining = channelSubscription;
    const cost = commandBytes + 2 * ((command.auth?.length ?? 0) + (command.channelData?.length ?? 0));
    const refuse = (full: Refusal) => this.refuseSubscription(command.channel, full);
    this.#inOrder(joining, cost, () => joinChannel(this, joining, command), refuse);
  }

  #signin(command: SigninCommand): void {
    this.#identify(2 * command.userData.length, () => signin(this, command), 'a sign-in');
  }

  #auth({ token }: AuthCommand): void {
    this.#identify(2 * (token?.length ?? 0), () => renewToken(this, token), 'taking over a token');
  }

  /** One after another: the second must see what the first came to. */
  #identify(cost: number, run: () => Promise<void>, what: string): void {
    if (!this.#mayWait(commandBytes + cost)) return;
    this.#signins = this.#signins
      .then(run)
      .catch((err: unknown) => this.#fail(err, what))
      .finally(() => {
        this.#waiting--;
        this.charge.give(commandBytes + cost);
      });
  }

  #publish({ id, fields }: SocketPublishCommand): void {
    this.#publishes ??= new PublishQueue(this, this.deps);
    const overShare = refuseOverShare(this.traffic, 'rate_limited');
    if (overShare !== null) {
      this.#publishes.refuse(id, overShare);
      return;
    }
    const commands = this.#parsePublish(fields);
    if (commands.ok) this.#publishes.add(id, commands.value);
    else this.#publishes.refuse(id, commands.refusal);
  }

  #parsePublish(fields: Fields): Checked<readonly PublishCommand[]> {
    const event = parseEventRequest(this.app, fields);
    if (!event.ok) return event;
    const channels = parseChannels(fields);
    if (!channels.ok) return channels;
    const allowed = authorizePublish(this.#token, channels.value);
    if (!allowed.ok) return allowed;
    return { ok: true, value: channels.value.map((channel) => toPublishCommand(event.value, channel)) };
  }

  async #relay(command: ClientEventCommand): Promise<void> {
    const { app, deps } = this;
    const channelSubscription = this.channelSubscriptions.get(command.channel);
    const refusal = this.#checkClientEvent(command, channelSubscription);
    if (refusal !== null || channelSubscription?.subscription == null) {
      if (refusal !== null) this.refuse(refusal.code, refusal.message);
      return;
    }
    const { channel, subscription, membership } = channelSubscription;
    const { event, data } = command;
    this.traffic.clientEvents++;
    if (deps.observer.notes) {
      this.note('client event', { channel: channel.name, event, ...(!app.hidesData && { data }) });
    }
    try {
      await deps.broker.publish(subscription.topic, {
        kind: 'event',
        payload: payloadOf({ type: 'event', channel: channel.name, event, data, userId: membership?.member?.userId }),
        except: this.socketId,
      });
    } catch (err) {
      this.refuse('unavailable', 'The client event could not be published: try again');
      deps.observer.problem('client event not published', { err, app: app.id, channel: channel.name });
    }
  }

  #checkClientEvent(command: ClientEventCommand, channelSubscription: ChannelSubscription | undefined): Refusal | null {
    const { app } = this;
    const refusal = (code: ProblemCode, message: string = problems[code].text): Refusal => ({ code, message });
    if (!app.hasClientEvents) return refusal('client_events_disabled');
    const channel = parseChannelName(command.channel);
    if (!channel.ok) return channel.refusal;
    const { kind, isEncrypted } = channel.value;
    if ((kind !== 'private' && kind !== 'presence') || isEncrypted) return refusal('client_event_channel');
    if (channelSubscription?.subscription == null) {
      return refusal('not_subscribed', `The connection is not subscribed to ${channel.value.name}`);
    }
    const limit = Math.min(app.limits.eventDataBytes, limits.eventDataBytes);
    if (command.data.length > limit || utf8Length(command.data) > limit) {
      const state = { limit, remaining: limit, reset: null };
      return refuseByLimit('data_too_large', 'The data of this client event is too large', 'bytes', state).refusal;
    }
    this.#clientEvents ??= new Rate();
    const now = this.deps.clock.elapsed();
    const perSecond = app.limits.clientEventsPerSecond;
    if (this.#clientEvents.take(now, perSecond, perSecond)) return null;
    const reset = perSecond <= 0 ? null : resetSeconds(this.#clientEvents.waitMs(now, perSecond, perSecond));
    const state = { limit: perSecond, remaining: 0, reset };
    return refuseByLimit('client_event_rate', problems.client_event_rate.text, 'client events per second', state)
      .refusal;
  }

  // ── Order ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Commands for one channel are carried out one after another, those of different channels side by side. */
  #inOrder(
    channelSubscription: ChannelSubscription,
    cost: number,
    run: () => Promise<void>,
    refuse?: (full: Refusal) => void,
  ): void {
    if (this.#mayWait(cost, refuse)) this.#queue(channelSubscription, cost, run);
    else this.#dropIdle(channelSubscription);
  }

  /** `cost`: bytes of the charge, which are released when the command is done. */
  #queue(channelSubscription: ChannelSubscription, cost: number, run: () => Promise<void>): void {
    channelSubscription.waiting++;
    // With nothing before it, the command's first step happens now, in the turn that brought it.
    const started = channelSubscription.last === null ? run() : channelSubscription.last.then(run);
    channelSubscription.last = started
      .catch((err: unknown) => this.#fail(err, `channel ${channelSubscription.channel.name}`))
      .finally(() => {
        this.#waiting--;
        this.charge.give(cost);
        if (--channelSubscription.waiting > 0) return;
        channelSubscription.last = null;
        this.#dropIdle(channelSubscription);
      });
  }

  /** A channel of which there is nothing, and nothing is to come. */
  #dropIdle({ channel, cost, waiting, subscription, membership }: ChannelSubscription): void {
    if (waiting > 0 || subscription !== null || membership !== null) return;
    if (this.channelSubscriptions.delete(channel.name)) this.charge.give(cost);
  }

  /** What need not wait for anything, but holds its bytes until it is done. */
  #alone(cost: number, run: () => Promise<void>, what: string): void {
    if (!this.#mayWait(cost)) return;
    run()
      .catch((err: unknown) => this.#fail(err, what))
      .finally(() => {
        this.#waiting--;
        this.charge.give(cost);
      });
  }

  #mayWait(cost: number, refuse = (full: Refusal): void => this.refuse('unavailable', full.message)): boolean {
    if (this.#waiting >= 2 * this.app.limits.channelsPerConnection) {
      const limit = 2 * this.app.limits.channelsPerConnection;
      this.#refuseRate('Too many commands of this connection are waiting', 'commands', limit);
      return false;
    }
    const full = this.charge.take(cost);
    if (full !== null) {
      refuse(full);
      return false;
    }
    this.#waiting++;
    return true;
  }

  // ── Outbound ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Something for this session alone. */
  tell(event: ServerEvent): void {
    const { codec } = this.outbox;
    for (const text of codec.dialect.encode(event)) this.#queueFrame(codec.frame(Buffer.from(text)));
  }

  deliver(delivery: Delivery): void {
    const frame = delivery.frame(this.outbox.codec);
    if (frame !== null) this.#queueFrame(frame);
  }

  #queueFrame(frame: Frame): void {
    this.outbox.push(frame);
    this.traffic.delivered++;
    this.traffic.deliveredBytes += frame.byteLength;
    this.outbox.sharesFlush(this.traffic);
  }

  /** Says no to the whole connection or to one frame of it, as the problem's row says. */
  refuse(code: ProblemCode, message: string = problems[code].text): void {
    if (this.#state === 'closed') return;
    this.traffic.refused(code);
    this.#noteProblem('refused', code, message);
    const { number, closes } = problems[code];
    this.tell({ type: 'refused', refusal: { code, message } });
    if (closes && number !== null) this.#close(number, message);
  }

  /** The connection ends; the next one begins with a whole budget. */
  #refuseRate(what: string, unit: string, limit: number, waitMs = 0): void {
    const state = { limit, remaining: 0, reset: resetSeconds(waitMs) };
    this.refuse('frame_rate', refuseByLimit('frame_rate', what, unit, state).refusal.message);
  }

  refuseSubscription(channel: string, refusal: Refusal): void {
    if (this.#state === 'closed') return;
    this.traffic.refused(refusal.code);
    this.#noteProblem('subscription refused', refusal.code, refusal.message);
    // An invalid name is echoed cut: it may be as long as a frame.
    this.tell({ type: 'subscription-refused', channel: channel.slice(0, limits.channelNameLength), refusal });
  }

  useToken(token: VerifiedToken): void {
    const full = this.#keepToken(token);
    if (full !== null) {
      this.refuseToken(full);
      return;
    }
    this.#sayToken(token);
    this.#scheduleCheck();
    // Behind what is under way: a subscribe that the former token allowed may be about to succeed.
    for (const channelSubscription of this.channelSubscriptions.values()) {
      this.#waiting++;
      this.#queue(channelSubscription, 0, () => recheckChannel(this, channelSubscription));
    }
  }

  #sayToken({ user, expiresAtMs, capabilities }: VerifiedToken): void {
    this.authorized();
    const expiresInSeconds = Math.max(0, Math.floor((expiresAtMs - this.deps.clock.now()) / 1_000));
    const userId = user?.userId ?? null;
    this.tell({ type: 'token-accepted', userId, expiresInSeconds, capabilities: capabilities.json });
  }

  refuseToken(refusal: Refusal): void {
    if (this.#state === 'closed') return;
    this.traffic.refused(refusal.code);
    this.#noteProblem('token refused', refusal.code, refusal.message);
    this.tell({ type: 'token-refused', refusal });
  }

  drained(): void {
    this.outbox.drained();
  }

  // ── Liveness ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Signed in, with a token, or in a private or presence channel. */
  authorized(): void {
    this.#authorizeBy = null;
  }

  /** Called by the wheel when something about this session may be due. */
  check(): void {
    if (this.#state !== 'open') return;
    const { clock } = this.deps;
    const now = clock.elapsed();
    if (this.#authorizeBy !== null && now >= this.#authorizeBy) {
      this.refuse('authorization_timeout');
      return;
    }
    // By the wall clock, as whoever made it meant; a clock that was set on is noticed with the next check.
    if (this.#token !== null && clock.now() >= this.#token.expiresAtMs) {
      this.refuse('token_expired');
      return;
    }
    const { pongTimeoutMs } = this.deps.settings;
    if (this.#probedAt !== null && this.#heardAt >= this.#probedAt) this.#probedAt = null;
    if (this.#probedAt !== null && now >= later(this.#probedAt, pongTimeoutMs)) {
      this.refuse('pong_timeout');
      return;
    }
    if (this.#probedAt === null && now >= this.#quietBy()) {
      this.#probedAt = now;
      this.transport.probe();
      // Native pings reach every client; the JSON one is for those behind a proxy that answers pings itself.
      if (this.connectRequest.protocol !== '4') this.tell({ type: 'ping' });
    }
    this.#scheduleCheck();
  }

  /** Until when nothing need be heard of the peer before it is probed. */
  #quietBy(): ElapsedMs {
    const { activityTimeoutSeconds, activityGraceMs } = this.deps.settings;
    return later(this.#heardAt, activityTimeoutSeconds * 1_000 + activityGraceMs);
  }

  #scheduleCheck(): void {
    const { clock, settings, wheel } = this.deps;
    let dueAt = this.#probedAt === null ? this.#quietBy() : later(this.#probedAt, settings.pongTimeoutMs);
    if (this.#authorizeBy !== null && this.#authorizeBy < dueAt) dueAt = this.#authorizeBy;
    if (this.#token !== null) {
      const expiresAt = later(clock.elapsed(), this.#token.expiresAtMs - clock.now());
      if (expiresAt < dueAt) dueAt = expiresAt;
    }
    wheel.schedule(this, dueAt);
  }

  // ── Closing ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The backend ordered this user's connections closed. */
  terminate(): void {
    this.refuse('terminated');
  }

  /** The peer does not read: no error frame could reach it. */
  slow(): void {
    if (this.#state === 'closed') return;
    this.traffic.refused('slow_reader');
    this.#noteProblem('closed', 'slow_reader', problems.slow_reader.text);
    this.#close(problems.slow_reader.number, problems.slow_reader.text);
  }

  /** The app was changed; undefined when it is gone. */
  appChanged(app: App | undefined): void {
    if (this.#state === 'closed' || this.#app === null) return;
    if (app === undefined) this.refuse('app_unknown', 'The app has been deleted');
    else if (!app.isEnabled) this.refuse('app_disabled');
    else if (!isKeyEnabled(app, this.connectRequest.key)) this.refuse('app_disabled', 'This key is disabled');
    else {
      this.#app = app;
      const fault = this.#token === null ? null : tokenFault(app, this.#token);
      if (fault !== null) this.refuse(fault.code, fault.message);
    }
  }

  /** The conversation is over, whatever the reason. */
  ended(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#leaveAll('the client went away');
    // Only now: a conversation that was told to close is there until its peer has closed it, too.
    this.deps.connectionLimiter.forget(this);
  }

  /** Something done for this connection threw: its state is unknown, and it ends. Never throws. */
  broken(err: unknown): void {
    const { number, text } = problems.internal_close;
    this.#defect(err);
    // Any of these may be what threw, and none may keep the others from being done.
    for (const step of [
      () => this.refuse('internal_close'),
      () => this.#leaveAll('a defect', number),
      () => this.transport.close(number, text),
    ]) {
      try {
        step();
      } catch (second) {
        this.#defect(second);
      }
    }
  }

  #defect(err: unknown, details: Record<string, unknown> = {}): void {
    this.deps.observer.defect('connection', err, { app: this.#app?.id, socketId: this.socketId, ...details });
  }

  #close(code: number, reason: string): void {
    this.#publishes?.cut();
    this.outbox.flush();
    this.#leaveAll(reason, code);
    this.transport.close(code, reason);
  }

  #leaveAll(reason: string, code?: number): void {
    if (this.#state === 'closed') return;
    if (this.#state === 'open') {
      this.traffic.closed();
      if (this.deps.observer.notes) this.note('connection closed', { reason, closeCode: code });
    }
    this.#state = 'closed';
    this.outbox.close();
    this.deps.wheel.remove(this);
    if (this.#app !== null) this.deps.connectionLimiter.dismiss(this);
    // Behind whatever is under way for the channel, so that a membership taken a moment from now is released too.
    for (const channelSubscription of this.channelSubscriptions.values()) {
      this.#waiting++;
      this.#queue(channelSubscription, 0, () => leaveChannel(this, channelSubscription));
    }
    this.#signins = this.#signins.then(() => leaveUser(this)).catch((err: unknown) => this.#fail(err, 'a sign-out'));
  }

  /** A defect or a failure of the world: it costs this connection at most one frame or its life. Never throws. */
  #fail(err: unknown, during: string): void {
    try {
      if (err instanceof StarlingError) {
        this.deps.observer.problem(`failed: ${during}`, { err, app: this.#app?.id, socketId: this.socketId });
      } else this.#defect(err, { during });
      const isUnavailable = err instanceof StarlingError && err.code === 'unavailable';
      if (this.#state === 'opening') this.refuse('over_capacity', 'The connection could not be opened: try again');
      else if (!isUnavailable) this.refuse('internal_close');
    } catch (second) {
      this.broken(second);
    }
  }

  /** Call it only where `observer.notes`. */
  note(what: string, details: Record<string, unknown>): void {
    this.deps.observer.note(what, { app: this.#app?.id, socketId: this.socketId, ...details });
  }

  #noteProblem(what: string, code: ProblemCode, message: string): void {
    if (this.deps.observer.notes) this.note(what, { code, message });
  }
}

/** What a command costs while it waits, beside its texts. */
const commandBytes = 512;

/** The text of a token was read, and what it says of channels is kept as text and as patterns. */
function tokenCost({ capabilities }: VerifiedToken): number {
  return 1_024 + 6 * capabilities.json.length;
}

function isKeyEnabled(app: App, key: string): boolean {
  return app.keys.some((candidate) => candidate.key === key && candidate.isEnabled);
}
