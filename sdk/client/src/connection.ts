/**
 * One connection's life, from the first try to the last: when it opens, how it is known to be alive, and what happens
 * after every way in which it may end. The whole machine is here, to be read from top to bottom.
 */
import { problem, StarlingError } from './errors.ts';
import { type Link, openLink, type ServerFrame } from './link.ts';
import { Listeners } from './listeners.ts';
import type { Settings } from './options.ts';
import { retryDelayMs, stepAfter } from './retry.ts';
import { after, steadyMs } from './surroundings.ts';
import { listenToWakes } from './wakes.ts';

export type ConnectionState = 'initialized' | 'connecting' | 'connected' | 'unavailable' | 'failed' | 'disconnected';

export interface StateChange {
  readonly previous: ConnectionState;
  readonly current: ConnectionState;
  /** In words, for logs. */
  readonly reason: string;
}

export interface ConnectionEvents {
  initialized: undefined;
  connecting: undefined;
  connected: { readonly socket_id: string };
  /** It has been tried for a while; it is tried on. */
  unavailable: undefined;
  /** There is no WebSocket here. */
  failed: undefined;
  /** Until the next `connect()`. */
  disconnected: undefined;
  state_change: StateChange;
  /** Seconds until the next try. */
  connecting_in: number;
  error: StarlingError;
  message: ServerFrame;
  ping: undefined;
  pong: undefined;
}

/**
 * Where the machine is. `idle`: until `connect()`. `opening`: from asking for a token to the handshake; the link is
 * null while the token is awaited. `waiting`: for the next try. `frozen`: the page is, and will wake.
 */
type Phase =
  | { readonly name: 'idle' | 'waiting' | 'frozen' }
  | { readonly name: 'opening'; readonly link: Link | null }
  | { readonly name: 'open'; readonly link: Link; readonly sinceMs: number };

/** A connection that lived shorter does not make the next one's failure the first. */
const lastingMs = 5_000;
/** After sleep most connections are dead, and their user is looking. */
const wakePongTimeoutMs = 5_000;

const nothing = () => {};

export interface ConnectionNeeds {
  readonly settings: Settings;
  /** The token to connect with. A StarlingError `token_refused` ends the connection, any other error is retried. */
  token(): Promise<string> | undefined;
  url(isTls: boolean, token: string | undefined): string;
  // Told before any listener, and whatever an application unbinds.
  changed(change: StateChange): void;
  received(frame: ServerFrame): void;
  erred(error: StarlingError): void;
}

export class Connection extends Listeners<ConnectionEvents> {
  state: ConnectionState = 'initialized';
  /** Of the connection there is, or of the last. */
  socket_id: string | undefined;

  private readonly needs: ConnectionNeeds;
  private isTls: boolean;
  private phase: Phase = { name: 'idle' };
  /** Tries since the last connection that lasted. */
  private attempt = 0;
  private heardSinceProbe = true;
  private heardAtMs = 0;
  private activityTimeoutMs = 0;
  /** The last fatal error that the server announced by a frame: its close is not told twice. */
  private announced: number | null = null;
  private stopStep: () => void = nothing;
  private stopWatch: () => void = nothing;
  private stopUnavailable: () => void = nothing;
  private stopWakes: () => void = nothing;

  constructor(needs: ConnectionNeeds) {
    super();
    this.needs = needs;
    this.isTls = needs.settings.address.isTls;
  }

  // ── What is asked ──────────────────────────────────────────────────────────────────────────────────────────────

  /** Without effect while connecting or connected; ends a pause between tries. */
  connect(): void {
    if (this.phase.name === 'waiting') this.open();
    if (this.phase.name !== 'idle') return;
    if (this.needs.settings.WebSocket === undefined) {
      this.err(new StarlingError('websocket_missing', 'There is no WebSocket to connect with'));
      this.update('failed', 'no WebSocket');
      return;
    }
    this.attempt = 0;
    this.stopWakes = listenToWakes({
      online: () => this.wake(true),
      offline: () => this.probe(this.needs.settings.pongTimeoutMs),
      seen: () => this.wake(false),
      frozen: () => this.freeze(),
    });
    this.seek('connect() was called');
    this.open();
  }

  disconnect(): void {
    this.end('disconnect() was called');
  }

  /** Whether it was handed to an open socket. */
  send(text: string): boolean {
    return this.phase.name === 'open' && this.phase.link.send(text);
  }

  send_event(event: string, data: unknown, channel?: string): boolean {
    return this.send(JSON.stringify({ event, data, channel }));
  }

  isUsingTLS(): boolean {
    return this.isTls;
  }

  // ── Opening ────────────────────────────────────────────────────────────────────────────────────────────────────

  private open(): void {
    this.leavePhase();
    this.announced = null;
    const token = this.needs.token();
    if (token !== undefined) {
      const phase: Phase = { name: 'opening', link: null };
      this.phase = phase;
      token.then(
        (value) => {
          if (this.phase === phase) this.openLink(this.needs.url(this.isTls, value));
        },
        (err: unknown) => {
          if (this.phase === phase) this.tokenFailed(err);
        },
      );
      return;
    }
    this.openLink(this.needs.url(this.isTls, undefined));
  }

  private openLink(url: string): void {
    const { WebSocket, handshakeTimeoutMs } = this.needs.settings;
    if (WebSocket === undefined) return;
    this.stopStep = after(handshakeTimeoutMs, () => {
      const reason = `No handshake within ${handshakeTimeoutMs} ms`;
      this.lost(1006, reason, new StarlingError('handshake_failed', reason));
    });
    let link: Link | null = null;
    const isThisOne = () => 'link' in this.phase && this.phase.link === link;
    try {
      link = openLink(WebSocket, url, {
        frame: (frame) => isThisOne() && this.receive(frame),
        end: (code, reason) => isThisOne() && this.lost(code, reason),
      });
    } catch (err) {
      // Of a constructor: a bad address, or a page that may not connect there. No later try will do better.
      this.err(new StarlingError('connection_lost', `No WebSocket to ${url.split('?')[0]}: ${err}`, { cause: err }));
      this.end('no WebSocket could be made');
      return;
    }
    this.phase = { name: 'opening', link };
  }

  private tokenFailed(err: unknown): void {
    const isRefused = err instanceof StarlingError && err.code === 'token_refused';
    if (err instanceof StarlingError) this.err(err);
    if (isRefused) this.end(err.message);
    else this.pause(retryDelayMs(this.attempt, this.needs.settings, Math.random()), 'no token yet');
  }

  // ── While it is open ───────────────────────────────────────────────────────────────────────────────────────────

  private receive(frame: ServerFrame): void {
    this.heardSinceProbe = true;
    this.heardAtMs = steadyMs();
    if (this.phase.name === 'opening') this.handshake(frame);
    else this.route(frame);
  }

  private handshake({ event, data }: ServerFrame): void {
    const { phase } = this;
    if (phase.name !== 'opening' || phase.link === null) return;
    const { code, message, socket_id, activity_timeout } = Object(data) as Record<string, unknown>;
    if (event === 'pusher:error') {
      this.lost(Number(code) || 1006, String(message));
    } else if (event !== 'pusher:connection_established' || typeof socket_id !== 'string') {
      const reason = `The first frame was ${event}, not pusher:connection_established`;
      this.lost(1002, reason, new StarlingError('handshake_failed', reason));
    } else {
      this.stopStep();
      this.phase = { name: 'open', link: phase.link, sinceMs: steadyMs() };
      const { activityTimeoutMs } = this.needs.settings;
      this.activityTimeoutMs = Math.min(activityTimeoutMs, Number(activity_timeout) * 1_000 || activityTimeoutMs);
      this.socket_id = socket_id;
      this.watch();
      this.update('connected', 'the handshake succeeded', { socket_id });
    }
  }

  private route(frame: ServerFrame): void {
    if (frame.event === 'pusher:ping') {
      this.send_event('pusher:pong', {});
      this.emit('ping');
    } else if (frame.event === 'pusher:pong') {
      this.emit('pong');
    } else if (frame.event === 'pusher:error') {
      const { code, message } = Object(frame.data) as Record<string, unknown>;
      this.announced = typeof code === 'number' ? code : null;
      this.err(problem(this.announced, String(message)));
    }
    this.needs.received(frame);
    this.emit('message', frame);
  }

  private err(error: StarlingError): void {
    this.needs.erred(error);
    this.emit('error', error);
  }

  /** Looks again when silence would have lasted too long: one timer, however many frames come. */
  private watch(): void {
    this.stopWatch();
    const quietMs = steadyMs() - this.heardAtMs;
    if (quietMs >= this.activityTimeoutMs) this.probe(this.needs.settings.pongTimeoutMs);
    else this.stopWatch = after(this.activityTimeoutMs - quietMs, () => this.watch());
  }

  /** Any frame is an answer. */
  private probe(limitMs: number): void {
    if (this.phase.name !== 'open') return;
    this.stopWatch();
    this.heardSinceProbe = false;
    this.send_event('pusher:ping', {});
    this.stopWatch = after(limitMs, () => {
      if (this.heardSinceProbe) this.watch();
      else this.lost(4201, `No answer to a ping within ${limitMs} ms`);
    });
  }

  // ── How it ends, and begins again ──────────────────────────────────────────────────────────────────────────────

  private lost(
    code: number,
    reason: string,
    error = problem(code, reason || `The connection was closed with ${code}`),
  ): void {
    const { phase, isTls } = this;
    const hasLasted = phase.name === 'open' && steadyMs() - phase.sinceMs >= lastingMs;
    if (hasLasted) this.attempt = 0;
    const step = stepAfter({ code, attempt: this.attempt, isTls, hasLasted }, this.needs.settings, Math.random());
    this.leavePhase();
    const isOrderly = code === 1000 || code === 1001;
    if (!isOrderly && this.announced !== code) this.err(error);
    // A listener may have called disconnect(), or connect().
    if (this.phase.name !== 'waiting') return;
    if (step.next === 'give-up') {
      this.end(`${code}: ${error.message}`);
      return;
    }
    if (step.withTls === true) this.isTls = true;
    this.pause(step.delayMs, `${code}: ${error.message}`);
  }

  private pause(delayMs: number, reason: string): void {
    this.leavePhase();
    this.attempt++;
    if (this.state === 'connected') this.seek(reason);
    if (this.phase.name !== 'waiting') return;
    this.stopStep = after(delayMs, () => this.open());
    if (delayMs > 0) this.emit('connecting_in', Math.round(delayMs / 1_000));
  }

  /** Connecting from now on, and unavailable if that takes long. */
  private seek(reason: string): void {
    const { unavailableTimeoutMs } = this.needs.settings;
    this.stopUnavailable();
    this.stopUnavailable = after(unavailableTimeoutMs, () =>
      this.update('unavailable', `not connected within ${unavailableTimeoutMs} ms`),
    );
    this.update('connecting', reason);
  }

  private wake(isNetworkNew: boolean): void {
    const { name } = this.phase;
    if (name === 'open') this.probe(Math.min(wakePongTimeoutMs, this.needs.settings.pongTimeoutMs));
    // A try that began without a network may hang until its limit.
    else if (name === 'waiting' || name === 'frozen' || (name === 'opening' && isNetworkNew)) this.open();
  }

  /** A frozen page answers no ping: better to be gone than to be cut, and a page without sockets may be kept whole. */
  private freeze(): void {
    if (this.phase.name === 'idle') return;
    this.leavePhase();
    this.phase = { name: 'frozen' };
    if (this.state === 'connected') this.seek('the page was frozen');
  }

  /** To stay away until `connect()`. */
  private end(reason: string): void {
    this.leavePhase();
    this.phase = { name: 'idle' };
    this.stopWakes();
    this.stopUnavailable();
    this.update('disconnected', reason);
  }

  /** Ends whatever link and timer belong to the phase. */
  private leavePhase(): void {
    this.stopStep();
    this.stopWatch();
    const { phase } = this;
    this.phase = { name: 'waiting' };
    if ('link' in phase) phase.link?.close();
  }

  private update(current: ConnectionState, reason: string, data?: ConnectionEvents['connected']): void {
    const previous = this.state;
    if (current === 'connected' || current === 'failed') this.stopUnavailable();
    if (previous === current) return;
    this.state = current;
    const change = { previous, current, reason };
    this.needs.changed(change);
    this.emit('state_change', change);
    // A listener may have changed it.
    if (this.state === current) this.emit(current, data);
  }
}
