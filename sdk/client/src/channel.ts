/** One channel as its subscriber sees it: joined or not, and what is told on it. */
import { type Answer, type AuthError, type ChannelAuth, isPassing } from './authorize.ts';
import type { ServerFrame } from './link.ts';
import { Listeners, type Untyped } from './listeners.ts';
import { retryDelayMs } from './retry.ts';
import { after } from './surroundings.ts';

export interface SubscriptionError extends AuthError {
  /** Whether the channel tries again by itself, without waiting for the next connection. */
  readonly willRetry?: boolean;
}

export interface ChannelSystemEvents {
  'pusher:subscription_succeeded': Untyped;
  'pusher:subscription_error': SubscriptionError;
  'pusher:subscription_count': { readonly subscription_count: number };
  'pusher:cache_miss': Untyped;
}

/** What a channel needs of its client. */
export interface ChannelHost {
  /** Undefined while there is no connection. */
  socketId(): string | undefined;
  send_event(event: string, data: unknown, channel?: string): boolean;
  /** Whether the connection's token opens the channel, so that nobody need be asked. */
  isOpenByToken(name: string): boolean;
  /** The user of the connection, once it is known whether there is one. */
  user(): Promise<string | undefined>;
  askForChannel(channel: { readonly name: string }, socketId: string): Promise<Answer<ChannelAuth>>;
  /** The channel has been left for good. */
  forget(name: string): void;
}

/** How a subscribe is allowed: nothing to show, or what the backend said. */
export type Permission = Partial<ChannelAuth>;

const subscribeRetry = { retryMinMs: 1_000, retryMaxMs: 30_000 };

export class Channel<
  Events extends object = Record<string, Untyped>,
  System extends object = ChannelSystemEvents,
> extends Listeners<Events & System> {
  readonly name: string;
  subscribed = false;
  subscriptionPending = false;
  /** Unsubscribed while pending: it is left as soon as it is joined. */
  subscriptionCancelled = false;
  /** Connections, as last told; only where the app has turned the counts on. */
  subscriptionCount: number | null = null;

  protected readonly host: ChannelHost;
  /** Answers to what was asked before it changed are stale. */
  private turn = 0;
  private attempt = 0;
  private stopRetry: () => void = () => {};

  constructor(name: string, host: ChannelHost) {
    super();
    this.name = name;
    this.host = host;
  }

  /** Sends an event to the other subscribers. True: handed to an open connection, not more. */
  trigger<E extends keyof Events & string>(event: E, data: Events[E]): boolean {
    if (!event.startsWith('client-')) {
      throw new TypeError(`A client event's name begins with "client-", unlike "${event}"`);
    }
    return this.host.send_event(event, data, this.name);
  }

  /** Without effect while joined or pending, or without a connection: each new one joins anew. */
  subscribe(): void {
    const socketId = this.host.socketId();
    if (this.subscribed || this.subscriptionPending || socketId === undefined) return;
    this.stopRetry();
    this.subscriptionPending = true;
    this.subscriptionCancelled = false;
    const turn = ++this.turn;
    const permission = this.permission(socketId);
    if (!(permission instanceof Promise)) {
      this.ask(permission);
      return;
    }
    void permission.then((answer) => {
      if (turn !== this.turn) return;
      if (answer.ok) this.ask(answer.value);
      else this.fail(answer.error, isPassing(answer.error));
    });
  }

  unsubscribe(): void {
    this.reset();
    this.host.send_event('pusher:unsubscribe', { channel: this.name });
  }

  cancelSubscription(): void {
    this.subscriptionCancelled = true;
  }

  reinstateSubscription(): void {
    this.subscriptionCancelled = false;
  }

  /** The connection has gone. */
  disconnect(): void {
    this.reset();
  }

  handleEvent({ event, data, user_id }: ServerFrame): void {
    if (event === 'pusher_internal:subscription_succeeded') {
      this.subscriptionPending = false;
      this.attempt = 0;
      if (this.subscriptionCancelled) {
        this.leave();
        return;
      }
      this.subscribed = true;
      this.tell('pusher:subscription_succeeded', this.joined(data));
    } else if (event === 'pusher_internal:subscription_count') {
      this.subscriptionCount = (data as { subscription_count: number }).subscription_count;
      this.tell('pusher:subscription_count', data);
    } else if (event === 'pusher:subscription_error') {
      this.fail(data as AuthError, false);
    } else if (event.startsWith('pusher_internal:')) {
      this.handleInternal(event, data);
    } else {
      this.tellEvent(event, data, user_id);
    }
  }

  // ── What other kinds do differently ────────────────────────────────────────────────────────────────────────────

  /** What to subscribe with; at once, where nobody need be asked. */
  protected permission(_socketId: string): Permission | Promise<Answer<Permission>> {
    return {};
  }

  /** What `pusher:subscription_succeeded` tells. */
  protected joined(data: unknown): unknown {
    return data;
  }

  protected handleInternal(_event: string, _data: unknown): void {}

  protected tellEvent(event: string, data: unknown, _userId: string | undefined): void {
    this.tell(event, data);
  }

  /** Names and data that come from the server fit no narrower type. */
  protected tell(event: string, data: unknown, userId?: string): void {
    (this as unknown as Listeners<Record<string, unknown>>).emit(
      event,
      data,
      userId === undefined ? {} : { user_id: userId },
    );
  }

  protected reset(): void {
    this.turn++;
    this.stopRetry();
    this.subscribed = false;
    this.subscriptionPending = false;
  }

  // ── ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

  private ask({ auth = '', channel_data }: Permission): void {
    // Never sent where nobody waits for it any more.
    if (this.subscriptionCancelled) this.leave();
    else this.host.send_event('pusher:subscribe', { auth, channel_data, channel: this.name });
  }

  private leave(): void {
    this.unsubscribe();
    this.host.forget(this.name);
  }

  private fail(error: AuthError, willRetry: boolean): void {
    this.reset();
    if (this.subscriptionCancelled) {
      this.host.forget(this.name);
      return;
    }
    if (willRetry) {
      this.stopRetry = after(retryDelayMs(this.attempt++, subscribeRetry, Math.random()), () => this.subscribe());
    }
    this.tell('pusher:subscription_error', { ...error, ...(willRetry && { willRetry }) });
  }
}

export class PrivateChannel<
  Events extends object = Record<string, Untyped>,
  System extends object = ChannelSystemEvents,
> extends Channel<Events, System> {
  protected override permission(socketId: string): Permission | Promise<Answer<Permission>> {
    return this.host.isOpenByToken(this.name) ? {} : this.host.askForChannel(this, socketId);
  }
}
