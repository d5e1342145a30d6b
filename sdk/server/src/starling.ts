/** An app's backend, as Starling knows it. */
import {
  type Channel,
  type Checked,
  channelSignatureText,
  isSocketId,
  limits,
  parseChannelName,
  parseEventName,
  parseUserId,
  signinSignatureText,
  userChannelName,
} from '@starling/protocol';
import { EncryptionKey } from './encryption.ts';
import { invalid, StarlingError } from './errors.ts';
import { type Fetch, Requester } from './request.ts';
import { type Secret, secretOf, toBase64 } from './secret.ts';
import { createToken, type TokenRequest } from './token.ts';
import { verifyWebhook, type Webhook, type WebhookRequest } from './webhook.ts';

/** Of each event's name, what its data is: `new Starling<{ 'order-created': { id: number } }>(…)`. */
export type EventMap = Record<string, unknown>;

export interface StarlingOptions {
  readonly appId: string;
  readonly key: string;
  readonly secret: string;
  /** Where Starling is, such as `https://realtime.example.com`; a path in it is kept. */
  readonly url: string;
  /** 32 bytes in base64, for channels whose names begin with `private-encrypted-`. */
  readonly encryptionMasterKey?: string;
  /** For one attempt of a request, in milliseconds; 5,000 unless given. */
  readonly timeoutMs?: number;
  /** How often a request is repeated that failed on the way or was told to come back; 3 unless given. */
  readonly retries?: number;
  /** Other keys of the app whose webhooks count: an older one that is being replaced. */
  readonly webhookKeys?: ReadonlyArray<{ readonly key: string; readonly secret: string }>;
  /** The platform's own unless given. */
  readonly fetch?: Fetch;
  /** Milliseconds since 1970; the platform's clock unless given. */
  readonly now?: () => number;
}

export type Info = 'user_count' | 'subscription_count';

export interface TriggerOptions {
  /** The connection that must not get it: usually the one whose user caused it. */
  readonly socketId?: string;
  /** What to tell of each channel in return. */
  readonly info?: readonly Info[];
  /** Under which it is delivered once, however often it is triggered within five minutes; a random one unless given. */
  readonly messageId?: string;
}

export type BatchEvent<Events extends EventMap = EventMap> = {
  [Name in keyof Events & string]: TriggerOptions & {
    readonly channel: string;
    readonly event: Name;
    readonly data: Events[Name];
  };
}[keyof Events & string];

/** What was asked for and the channel has: `userCount` on presence channels, `subscriptionCount` where it is enabled. */
export interface ChannelInfo {
  readonly userCount?: number;
  readonly subscriptionCount?: number;
}

export interface Member {
  readonly id: string | number;
  /** At most 1 KiB as JSON. */
  readonly info?: Readonly<Record<string, unknown>>;
}

export interface User {
  readonly id: string;
  /** Whose comings and goings this user is told of: at most 100 user ids. */
  readonly watchlist?: readonly string[];
  /** Anything else goes to the client as it is. */
  readonly [field: string]: unknown;
}

/** What the client that asked is to be answered, as JSON. */
export interface ChannelAuthorization {
  readonly auth: string;
  readonly channel_data?: string;
  readonly shared_secret?: string;
}

/** A client's question about many channels at once, as it posts it. */
export interface ChannelRequest {
  readonly socketId: string;
  readonly channels: readonly string[];
}

export type ChannelAnswer = ChannelAuthorization | { readonly error: string; readonly status: number };

export interface UserAuthentication {
  readonly auth: string;
  readonly user_data: string;
}

type Json = Record<string, unknown>;

export class Starling<Events extends EventMap = EventMap> {
  readonly #key: string;
  readonly #secret: Secret;
  readonly #webhookSecrets: ReadonlyMap<string, Secret>;
  readonly #requester: Requester;
  readonly #encryption: EncryptionKey | undefined;
  readonly #now: () => number;
  readonly #path: string;

  constructor(options: StarlingOptions) {
    const { appId, key, secret, url, webhookKeys = [] } = options;
    for (const [name, value] of Object.entries({ appId, key, secret, url })) {
      if (typeof value !== 'string' || value === '') throw invalid(`${name} must be a string that is not empty`);
    }
    if (!/^https?:\/\//.test(url) || !URL.canParse(url)) {
      throw invalid(`url must be like https://realtime.example.com, got ${JSON.stringify(url)}`);
    }
    if (!/^\d+$/.test(appId)) throw invalid(`appId must be digits, got ${JSON.stringify(appId)}`);
    this.#key = key;
    this.#secret = secretOf(secret);
    this.#webhookSecrets = new Map([
      [key, this.#secret],
      ...webhookKeys.map((other) => [other.key, secretOf(other.secret)] as const),
    ]);
    this.#path = `/apps/${appId}`;
    this.#now = options.now ?? Date.now;
    const { encryptionMasterKey } = options;
    this.#encryption = encryptionMasterKey === undefined ? undefined : new EncryptionKey(encryptionMasterKey);
    this.#requester = new Requester({
      url,
      key,
      secret: this.#secret,
      now: this.#now,
      fetch: options.fetch ?? ((target, init) => fetch(target, init)),
      timeoutMs: options.timeoutMs ?? 5_000,
      retries: options.retries ?? 3,
    });
  }

  /** `http://KEY:SECRET@HOST:PORT/apps/ID`, the form in which Pusher's libraries take everything at once. */
  static fromUrl<Events extends EventMap = EventMap>(
    connection: string,
    options: Partial<Omit<StarlingOptions, 'appId' | 'key' | 'secret' | 'url'>> = {},
  ): Starling<Events> {
    const url = URL.canParse(connection) ? new URL(connection) : undefined;
    const path = /^(.*)\/apps\/(\d+)\/?$/.exec(url?.pathname ?? '');
    if (url === undefined || path === null || url.username === '' || url.password === '') {
      // Without what was given: it holds a secret.
      throw invalid('Expected a URL like http://KEY:SECRET@HOST:PORT/apps/ID');
    }
    const [, prefix = '', appId = ''] = path;
    const [key, secret] = [decodeURIComponent(url.username), decodeURIComponent(url.password)];
    return new Starling<Events>({ ...options, appId, key, secret, url: `${url.protocol}//${url.host}${prefix}` });
  }

  /**
   * Sends an event to everyone subscribed to any of the channels (1 to 100). Data that is no string is sent as JSON.
   * Resolves with what `info` asked for, by channel. A failure on the way is repeated, and delivers nothing twice.
   */
  async trigger<Name extends keyof Events & string>(
    channels: string | readonly string[],
    event: Name,
    data: Events[Name],
    options: TriggerOptions = {},
  ): Promise<Readonly<Record<string, ChannelInfo>>> {
    const parsed = (typeof channels === 'string' ? [channels] : channels).map((name) => given(parseChannelName(name)));
    const [first] = parsed;
    if (first === undefined || parsed.length > limits.channelsPerTrigger) {
      throw invalid(`An event goes to 1 to ${limits.channelsPerTrigger} channels, got ${parsed.length}`);
    }
    if (parsed.length > 1 && parsed.some(({ isEncrypted }) => isEncrypted)) {
      throw invalid('An encrypted channel has a key of its own: trigger on it alone');
    }
    const body = {
      ...(await this.#eventBody(first, event, data, options)),
      channels: parsed.map(({ name }) => name),
    };
    const answer = await this.#requester.post(`${this.#path}/events`, body);
    return byName(answer['channels'], infoOf);
  }

  /** Up to 10 events in their order, all or, when one of them is refused, none. Resolves with one answer for each. */
  async triggerBatch(events: ReadonlyArray<BatchEvent<Events>>): Promise<readonly ChannelInfo[]> {
    if (events.length > limits.eventsPerBatch) {
      throw invalid(`A batch holds up to ${limits.eventsPerBatch} events, got ${events.length}`);
    }
    const batch = await Promise.all(
      events.map(async (each: TriggerOptions & { channel: string; event: string; data: unknown }) => {
        const channel = given(parseChannelName(each.channel));
        return { ...(await this.#eventBody(channel, each.event, each.data, each)), channel: channel.name };
      }),
    );
    const answer = await this.#requester.post(`${this.#path}/batch_events`, { batch });
    const found = answer['batch'];
    return events.map((_, index) => infoOf(Array.isArray(found) ? found[index] : {}));
  }

  /** To every connection signed in as the user. */
  async sendToUser<Name extends keyof Events & string>(
    userId: string,
    event: Name,
    data: Events[Name],
    options: Pick<TriggerOptions, 'messageId'> = {},
  ): Promise<void> {
    await this.trigger(userChannelName(given(parseUserId(userId))), event, data, options);
  }

  /** Closes every connection signed in as the user, on every node. They may come back: see `revokeTokens`. */
  async terminateUserConnections(userId: string): Promise<void> {
    const id = encodeURIComponent(given(parseUserId(userId)));
    await this.#requester.post(`${this.#path}/users/${id}/terminate_connections`, {});
  }

  /** All tokens of a user made until now, or the one of an id, are refused from now on, and their connections closed. */
  async revokeTokens(which: { readonly userId: string } | { readonly tokenId: string }): Promise<void> {
    const body = 'userId' in which ? { user_id: which.userId } : { token_id: which.tokenId };
    await this.#requester.post(`${this.#path}/revocations`, body);
  }

  /** The occupied channels, by name. `userCount` can be had of presence channels only, and needs such a prefix. */
  async channels(
    options: { readonly prefix?: string; readonly info?: readonly Info[] } = {},
  ): Promise<Readonly<Record<string, ChannelInfo>>> {
    const { prefix, info = [] } = options;
    const answer = await this.#requester.get(`${this.#path}/channels`, {
      ...(prefix !== undefined && { filter_by_prefix: prefix }),
      ...(info.length > 0 && { info: info.join(',') }),
    });
    return byName(answer['channels'], infoOf);
  }

  async channel(
    name: string,
    options: { readonly info?: readonly Info[] } = {},
  ): Promise<ChannelInfo & { readonly isOccupied: boolean }> {
    const { info = [] } = options;
    const path = `${this.#path}/channels/${segment(name)}`;
    const answer = await this.#requester.get(path, info.length > 0 ? { info: info.join(',') } : {});
    return { isOccupied: answer['occupied'] === true, ...infoOf(answer) };
  }

  /** The ids of those who are in a presence channel. */
  async users(channel: string): Promise<readonly string[]> {
    const answer = await this.#requester.get(`${this.#path}/channels/${segment(channel)}/users`);
    const { users } = answer;
    if (!Array.isArray(users)) throw unknownAnswer('users');
    return users.map(({ id }: { id: unknown }) => String(id));
  }

  /**
   * Lets one connection into a private or presence channel: answer the client's request with this, as JSON. Whether the
   * user may is yours to decide before.
   */
  async authorizeChannel(socketId: string, channel: string, member?: Member): Promise<ChannelAuthorization> {
    const { name, kind, isEncrypted } = given(parseChannelName(channel));
    if (!isSocketId(socketId)) throw invalid('socketId must be digits, a dot and digits, as the client sent it');
    if (kind === 'presence' && member === undefined) {
      throw invalid(`${name} is a presence channel: say who comes, as { id, info }`);
    }
    const data = member === undefined ? undefined : memberData(member);
    const auth = `${this.#key}:${await this.#secret.sign(channelSignatureText(socketId, name, data))}`;
    return {
      auth,
      ...(data !== undefined && { channel_data: data }),
      ...(isEncrypted && { shared_secret: toBase64(await this.#encryptionFor(name).channelKey(name)) }),
    };
  }

  /**
   * Answers a client that asks for many channels in one request. `decide` is asked for each: true, or the member for a
   * presence channel, lets the connection in; false answers 403 for this one channel.
   */
  async authorizeChannels(
    { socketId, channels }: ChannelRequest,
    decide: (channel: string) => boolean | Member | Promise<boolean | Member>,
  ): Promise<{ readonly channels: Readonly<Record<string, ChannelAnswer>> }> {
    const answers = await Promise.all(
      channels.map(async (channel): Promise<readonly [string, ChannelAnswer]> => {
        const checked = parseChannelName(channel);
        // Said by the client, and so no mistake of who wrote this call.
        if (!checked.ok) return [String(channel), { error: checked.refusal.message, status: 400 }];
        const decision = await decide(channel);
        if (decision === false) return [channel, { error: 'Forbidden', status: 403 }];
        return [channel, await this.authorizeChannel(socketId, channel, decision === true ? undefined : decision)];
      }),
    );
    return { channels: Object.fromEntries(answers) };
  }

  /** Signs a connection in as the user: answer the client's request with this, as JSON. */
  async authenticateUser(socketId: string, user: User): Promise<UserAuthentication> {
    if (!isSocketId(socketId)) throw invalid('socketId must be digits, a dot and digits, as the client sent it');
    given(parseUserId(user.id));
    const userData = JSON.stringify(user);
    return {
      auth: `${this.#key}:${await this.#secret.sign(signinSignatureText(socketId, userData))}`,
      user_data: userData,
    };
  }

  /** A JWT that a client connects with in place of being authorised for each channel. */
  async createToken(request: TokenRequest): Promise<string> {
    if (request.userId !== undefined) given(parseUserId(request.userId));
    return createToken(request, this.#key, this.#secret, this.#now());
  }

  /** Throws `webhook_invalid` for what did not come from Starling. */
  async verifyWebhook(request: WebhookRequest): Promise<Webhook> {
    return verifyWebhook(request, this.#webhookSecrets);
  }

  async #eventBody(channel: Channel, event: string, data: unknown, options: TriggerOptions): Promise<Json> {
    const { socketId, info = [] } = options;
    if (socketId !== undefined && !isSocketId(socketId)) {
      throw invalid('socketId must be digits, a dot and digits, as the client knows it');
    }
    return {
      name: given(parseEventName(event)),
      data: await this.#eventData(channel, data),
      message_id: messageIdOf(options),
      ...(socketId !== undefined && { socket_id: socketId }),
      ...(info.length > 0 && { info: info.join(',') }),
    };
  }

  async #eventData({ name, isEncrypted }: Channel, data: unknown): Promise<string> {
    const text = typeof data === 'string' && !isEncrypted ? data : toJson(data);
    return isEncrypted ? JSON.stringify(await this.#encryptionFor(name).encrypt(name, text)) : text;
  }

  #encryptionFor(channel: string): EncryptionKey {
    if (this.#encryption !== undefined) return this.#encryption;
    throw invalid(
      `${channel} is an encrypted channel: give encryptionMasterKey, such as openssl rand -base64 32 prints`,
    );
  }
}

/** The value, or an error that tells whoever wrote the call what is wrong with it. */
function given<T>(checked: Checked<T>): T {
  if (checked.ok) return checked.value;
  throw invalid(checked.refusal.message);
}

function messageIdOf({ messageId = crypto.randomUUID() }: TriggerOptions): string {
  if (messageId === '' || messageId.length > limits.messageIdLength) {
    throw invalid(`messageId must have 1 to ${limits.messageIdLength} characters, got ${messageId.length}`);
  }
  return messageId;
}

function toJson(data: unknown): string {
  const text = JSON.stringify(data) as string | undefined;
  if (text === undefined) throw invalid('data must be something that JSON can hold; use null for nothing');
  return text;
}

function memberData({ id, info }: Member): string {
  given(parseUserId(id));
  return JSON.stringify({ user_id: id, ...(info !== undefined && { user_info: info }) });
}

/** A channel's name as a part of a path: user channels begin with `#`. */
function segment(channel: string): string {
  return encodeURIComponent(given(parseChannelName(channel)).name);
}

function byName<T>(found: unknown, read: (value: unknown) => T): Readonly<Record<string, T>> {
  if (typeof found !== 'object' || found === null) return {};
  return Object.fromEntries(Object.entries(found).map(([name, value]) => [name, read(value)]));
}

function infoOf(value: unknown): ChannelInfo {
  const { user_count: userCount, subscription_count: subscriptionCount } = (value ?? {}) as Json;
  return {
    ...(typeof userCount === 'number' && { userCount }),
    ...(typeof subscriptionCount === 'number' && { subscriptionCount }),
  };
}

function unknownAnswer(what: string): StarlingError {
  return new StarlingError('answer_unknown', `The answer has no "${what}": is this a Starling?`);
}
