/** The client: one connection, its channels and its user, put together. */
import { createAskForChannel, createAskForUser } from './authorize.ts';
import { Channel, type ChannelHost, PrivateChannel } from './channel.ts';
import { Connection } from './connection.ts';
import { EncryptedChannel } from './encrypted-channel.ts';
import { StarlingError } from './errors.ts';
import type { ServerFrame } from './link.ts';
import { Listeners, type Untyped } from './listeners.ts';
import { type Address, addressOf, connectionUrl, type Options, readOptions, type Settings } from './options.ts';
import { PresenceChannel } from './presence-channel.ts';
import { Publisher, type PublishOptions } from './publish.ts';
import { surroundings } from './surroundings.ts';
import { Tokens } from './tokens.ts';
import { User } from './user.ts';

/** Data by event by channel; a channel's name may be a pattern such as `` `private-room-${number}` ``. */
export type AnyEvents = Record<string, Record<string, Untyped>>;

export type ChannelName<Events extends object> = keyof Events & string;

type EventsOf<Events extends object, Name> = Name extends keyof Events
  ? Events[Name] extends object
    ? Events[Name]
    : never
  : never;

/** Of an event on a channel; of the protocol's own events, whatever pusher-js gives. */
export type DataOf<Events extends object, Name, Event> = Event extends keyof EventsOf<Events, Name>
  ? EventsOf<Events, Name>[Event]
  : Untyped;

export type ChannelOf<Events extends object, Name extends string> = Name extends `presence-${string}`
  ? PresenceChannel<EventsOf<Events, Name>>
  : Channel<EventsOf<Events, Name>>;

/** Every channel there is, by name; the shape is that of pusher-js, which other libraries reach into. */
class Channels {
  readonly channels: Record<string, Channel> = Object.create(null);

  find(name: string): Channel | undefined {
    return this.channels[name];
  }

  all(): Channel[] {
    return Object.values(this.channels);
  }
}

export class Starling<Events extends object = AnyEvents> extends Listeners<Record<string, Untyped>> {
  /** Tells state changes, errors and frames to the console. */
  static logToConsole = false;
  /** In the place of the console. */
  static log: ((message: string) => void) | undefined;

  key: string;
  readonly options: Options;
  readonly connection: Connection;
  readonly user: User;
  readonly channels = new Channels();

  private address: Address;
  private readonly settings: Settings;
  private readonly host: ChannelHost;
  private readonly tokens: Tokens | undefined;
  private readonly publisher: Publisher;

  /** Connects at once, unless `autoConnect` is false. */
  constructor(key: string, options: Options) {
    super();
    if (typeof key !== 'string' || key === '')
      throw new TypeError('The first argument is the key of the app, a string');
    this.key = key;
    this.options = options;
    this.settings = readOptions(options ?? {});
    this.address = this.settings.address;
    const { tokenProvider: provider } = this.settings;
    const send_event = this.send_event.bind(this);
    const socketId = () => (this.connection.state === 'connected' ? this.connection.socket_id : undefined);
    const erred = (error: { readonly number: number | null; readonly message: string; readonly fix: string }) => {
      // Bad, revoked or at its end: in no case to be shown again.
      if ([4010, 4011, 4110].includes(error.number ?? 0)) this.tokens?.drop();
      this.log(`error: ${error.message}. ${error.fix}`);
    };
    this.connection = new Connection({
      settings: this.settings,
      token: () => this.tokens?.current(),
      url: (isTls, token) => connectionUrl(this.address, isTls, this.key, token),
      changed: ({ previous, current, reason }) => {
        this.log(`${previous} -> ${current}: ${reason}`);
        if (previous === 'connected') this.disconnected();
        if (current === 'connected') this.connected();
      },
      received: (frame) => this.receive(frame),
      erred,
    });
    this.tokens =
      provider &&
      new Tokens({
        provider,
        send_event,
        erred: (error) => {
          erred(error);
          this.connection.emit('error', error);
        },
      });
    this.publisher = new Publisher({ timeoutMs: this.settings.publishTimeoutMs, socketId, send_event });
    this.host = {
      socketId,
      send_event,
      isOpenByToken: (name) => this.tokens !== undefined && (!this.settings.hasChannelAuth || this.tokens.opens(name)),
      user: async () => {
        if (this.tokens?.userId !== undefined) return this.tokens.userId;
        await this.user.signinDonePromise;
        return this.user.user_data?.id;
      },
      askForChannel: createAskForChannel(this.settings),
      forget: (name) => {
        delete this.channels.channels[name];
      },
    };
    this.user = new User(this.host, createAskForUser(this.settings));
    if (options.autoConnect !== false) this.connect();
  }

  /** Where pusher-js has the listeners of all channels; here they are the client's own. */
  get global_emitter(): this {
    return this;
  }

  connect(): void {
    this.connection.connect();
  }

  disconnect(): void {
    this.connection.disconnect();
  }

  /** The channel, joined as soon as there is a connection, and again after each reconnect. */
  subscribe<Name extends ChannelName<Events>>(name: Name): ChannelOf<Events, Name> {
    const channel = this.channels.find(name) ?? this.createChannel(name);
    this.channels.channels[name] = channel;
    if (channel.subscriptionPending && channel.subscriptionCancelled) channel.reinstateSubscription();
    else channel.subscribe();
    return channel as unknown as ChannelOf<Events, Name>;
  }

  unsubscribe(name: ChannelName<Events>): void {
    const channel = this.channels.find(name);
    if (channel?.subscriptionPending) {
      channel.cancelSubscription();
      return;
    }
    delete this.channels.channels[name];
    if (channel?.subscribed) channel.unsubscribe();
    else channel?.disconnect();
  }

  channel<Name extends ChannelName<Events>>(name: Name): ChannelOf<Events, Name> | undefined {
    return this.channels.find(name) as unknown as ChannelOf<Events, Name> | undefined;
  }

  allChannels(): Channel[] {
    return this.channels.all();
  }

  subscribeAll(): void {
    for (const channel of this.channels.all()) channel.subscribe();
  }

  /** Whether it was handed to an open connection. */
  send_event(event: string, data: unknown, channel?: string): boolean {
    return this.connection.send_event(event, data, channel);
  }

  signin(): void {
    this.user.signin();
  }

  /**
   * Publishes over the connection, as the token allows, and resolves once it is done. Rejects with a StarlingError:
   * `not_connected`, when nothing was sent; `publish_unknown`, when the answer is lost; else with why the server refused.
   */
  publish<Name extends ChannelName<Events>, Event extends keyof EventsOf<Events, Name> & string>(
    channels: Name | readonly Name[],
    event: Event,
    data: EventsOf<Events, Name>[Event],
    options?: PublishOptions,
  ): Promise<void> {
    return this.publisher.publish(channels, event, data, options);
  }

  /** Asks the provider for a new token now: the user or the user's rights have changed. */
  refreshToken(): void {
    this.tokens?.refresh();
  }

  shouldUseTLS(): boolean {
    return this.connection.isUsingTLS();
  }

  /** Moves to another app; channels and what is bound stay. */
  switchCluster({ appKey, cluster }: { readonly appKey: string; readonly cluster: string }): void {
    this.disconnect();
    this.key = appKey;
    this.address = addressOf({ ...this.options, cluster });
    this.connect();
  }

  private createChannel(name: string): Channel {
    if (name.startsWith('#')) {
      throw new TypeError(`Channel names that begin with # are the server's own: "${name}"`);
    }
    if (name.startsWith('private-encrypted-')) {
      const { nacl } = this.settings;
      if (nacl === undefined) {
        throw new TypeError(
          `${name} is encrypted: import { nacl } from '@starling/client/encrypted', and give it as an option`,
        );
      }
      return new EncryptedChannel(name, this.host, nacl);
    }
    if (name.startsWith('private-')) return new PrivateChannel(name, this.host);
    if (name.startsWith('presence-')) return new PresenceChannel(name, this.host) as unknown as Channel;
    return new Channel(name, this.host);
  }

  private connected(): void {
    this.user.connected();
    this.subscribeAll();
  }

  private disconnected(): void {
    for (const channel of this.channels.all()) {
      channel.disconnect();
      if (channel.subscriptionCancelled) this.host.forget(channel.name);
    }
    this.user.disconnected();
    this.publisher.cut();
    this.tokens?.pause();
  }

  private receive(frame: ServerFrame): void {
    const { event, data, channel } = frame;
    this.log(`<- ${event}${channel === undefined ? '' : ` on ${channel}`}`);
    if (event.startsWith('starling:')) this.receiveOwn(event, data);
    this.user.receive(frame);
    if (channel !== undefined) this.channels.find(channel)?.handleEvent(frame);
    if (!event.startsWith('pusher_internal:')) this.emit(event, data);
  }

  /** What Starling says beyond Pusher. */
  private receiveOwn(event: string, data: unknown): void {
    const { user_id, expires_in } = data as { user_id?: string | null; expires_in: number };
    if (event === 'starling:auth_success') {
      this.tokens?.accepted(expires_in);
      if (user_id) this.user.signedIn({ id: user_id });
    } else if (event === 'starling:auth_error') {
      const { code, message } = data as { code: string; message: string };
      this.connection.emit('error', new StarlingError(code, message));
    } else {
      this.publisher.answered(event, data);
    }
  }

  private log(message: string): void {
    const { log, logToConsole } = Starling;
    if (log !== undefined) log(`Starling: ${message}`);
    else if (logToConsole) surroundings.console?.warn(`Starling: ${message}`);
  }
}
