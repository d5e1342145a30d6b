/**
 * A server in memory for the tests of applications: no network, no timers, nothing to start. It speaks the protocol to
 * clients of this package and believes all they say; rules that a server enforces are tested against a real one.
 */
import {
  decodeCommand,
  encodeCacheMiss,
  encodeConnectionEstablished,
  encodeError,
  encodeEvent,
  encodeMemberAdded,
  encodeMemberRemoved,
  encodeSigninSuccess,
  encodeSubscriptionError,
  encodeSubscriptionSucceeded,
  type Member as ProtocolMember,
  parseChannelName,
  parseMember,
  parseUser,
  pongFrame,
  type SubscribeCommand,
} from '@starling/protocol';
import type { Options, WebSocketConstructor } from './index.ts';
import { claimsOf } from './tokens.ts';

export interface TestUser {
  readonly id: string;
  readonly info?: object;
}

/** What a client published with `publish()`. */
export interface Published {
  readonly channels: readonly string[];
  readonly event: string;
  readonly data: unknown;
}

export interface Refusal {
  readonly code: string;
  readonly message: string;
}

interface TestSocket {
  readyState: number;
  onmessage: ((event: { data: string }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
}

interface Session {
  readonly socket: TestSocket;
  readonly socketId: string;
  /** The membership, where it is a presence channel. */
  readonly channels: Map<string, ProtocolMember | null>;
  user: ProtocolMember | null;
}

/** How many turns without anything new are rest: more than any promise chain of the client is long. */
const restTurns = 50;

export class TestServer {
  /** Everything clients published, in order. */
  readonly published: Published[] = [];
  /** Every capability token clients gave, in order; all are good, and those that say nothing of it last an hour. */
  readonly tokens: string[] = [];

  private readonly sessions = new Set<Session>();
  /** Members who are no clients of this process, by channel. */
  private readonly others = new Map<string, Map<string, ProtocolMember>>();
  private readonly cached = new Map<string, string>();
  private readonly refusedChannels = new Map<string, { readonly error: string; readonly status: number }>();
  private refusal: { readonly code: number; readonly message: string } | null = null;
  private publishRefusal: Refusal | null = null;
  private isSilent = false;
  private serial = 0;
  private deliveries: Promise<void> = Promise.resolve();
  private delivered = 0;

  /** For `new Starling('any-key', server.options())`: a client that is this user on presence channels and at sign-in. */
  options(user: TestUser = { id: 'user' }): Options {
    const info = { user_info: user.info ?? null };
    return {
      host: 'http://starling.test',
      WebSocket: this.socketClass(),
      channelAuthorization: {
        customHandler: ({ channelName }, callback) => {
          const channel_data = JSON.stringify({ user_id: user.id, ...info });
          callback(null, { auth: 'test:test', ...(channelName.startsWith('presence-') && { channel_data }) });
        },
      },
      userAuthentication: {
        customHandler: (_params, callback) =>
          callback(null, { auth: 'test:test', user_data: JSON.stringify({ id: user.id, ...info }) }),
      },
    };
  }

  // ── What the backend and other people do ───────────────────────────────────────────────────────────────────────

  /** As by a backend. */
  publish(channel: string, event: string, data: unknown): void {
    const frame = encodeEvent(event, channel, typeof data === 'string' ? data : JSON.stringify(data ?? null));
    const parsed = parseChannelName(channel);
    if (parsed.ok && parsed.value.isCache) this.cached.set(channel, frame);
    this.broadcast(channel, frame);
  }

  publishToUser(userId: string, event: string, data: unknown): void {
    this.publish(`#server-to-user-${userId}`, event, data);
  }

  /** Somebody else comes to a presence channel. */
  join(channel: string, user: TestUser): void {
    const member = { userId: user.id, userInfo: JSON.stringify(user.info ?? null) };
    const isNew = !this.membersOf(channel).has(user.id);
    const others = this.others.get(channel) ?? new Map();
    this.others.set(channel, others.set(user.id, member));
    if (isNew) this.broadcast(channel, encodeMemberAdded(channel, member));
  }

  /** Somebody who came by `join` goes. */
  leave(channel: string, userId: string): void {
    if (!this.others.get(channel)?.delete(userId)) return;
    if (!this.membersOf(channel).has(userId)) this.broadcast(channel, encodeMemberRemoved(channel, userId));
  }

  // ── What goes wrong ────────────────────────────────────────────────────────────────────────────────────────────

  /** Ends every connection; by default so that clients come back at once. */
  disconnect(code = 4200, reason = 'Dropped by the test'): void {
    for (const session of [...this.sessions]) this.end(session, code, reason);
  }

  /** Refuses new connections, until `accept`. 4001: for good; 4100: to be tried again. */
  refuse(code: number, message = 'Refused by the test'): void {
    this.refusal = { code, message };
  }

  /** Refuses to let anybody join the channel, until `accept`. */
  refuseChannel(channel: string, error = 'Refused by the test', status = 403): void {
    this.refusedChannels.set(channel, { error, status });
  }

  /** Refuses what clients publish, until `accept`. */
  refusePublish(code = 'capability_missing', message = 'Refused by the test'): void {
    this.publishRefusal = { code, message };
  }

  /** Takes everything and answers nothing, as a network does that is gone, until `accept`. */
  silence(): void {
    this.isSilent = true;
  }

  /** Ends all refusals. What was said into silence stays unheard. */
  accept(): void {
    this.refusal = null;
    this.refusedChannels.clear();
    this.publishRefusal = null;
    this.isSilent = false;
  }

  // ── What there is ──────────────────────────────────────────────────────────────────────────────────────────────

  get connectionCount(): number {
    return this.sessions.size;
  }

  /** How many connections have joined the channel. */
  subscriberCount(channel: string): number {
    return [...this.sessions].filter(({ channels }) => channels.has(channel)).length;
  }

  /** The ids of its members. */
  members(channel: string): readonly string[] {
    return [...this.membersOf(channel).keys()];
  }

  /** Resolves when everything said by now has been heard, and whatever was said to that. */
  async settled(): Promise<void> {
    for (let turns = 0, seen = this.delivered; turns < restTurns; turns++) {
      await this.deliveries;
      if (seen !== this.delivered) turns = 0;
      seen = this.delivered;
    }
  }

  // ── A connection ───────────────────────────────────────────────────────────────────────────────────────────────

  private socketClass(): WebSocketConstructor {
    const server = this;
    return class implements TestSocket {
      readyState = 0;
      onmessage: TestSocket['onmessage'] = null;
      onclose: TestSocket['onclose'] = null;
      private readonly session: Session;

      constructor(url: string) {
        const token = /[?&]token=([^&]+)/.exec(url)?.[1];
        this.session = { socket: this, socketId: `1.${++server.serial}`, channels: new Map(), user: null };
        server.later(() => server.open(this.session, token));
      }

      send(text: string): void {
        server.later(() => server.receive(this.session, text));
      }

      close(): void {
        if (this.readyState === 3) return;
        this.readyState = 3;
        server.later(() => server.forget(this.session));
      }
    };
  }

  /** In order, and never within the call that caused it. */
  private later(deliver: () => void): void {
    this.delivered++;
    this.deliveries = this.deliveries.then(deliver);
  }

  private open(session: Session, token: string | undefined): void {
    const { socket, socketId } = session;
    if (socket.readyState !== 0 || this.isSilent) return;
    socket.readyState = 1;
    if (this.refusal !== null) {
      this.end(session, this.refusal.code, this.refusal.message);
      return;
    }
    this.sessions.add(session);
    this.say(session, encodeConnectionEstablished(socketId, 120));
    if (token !== undefined) this.receiveToken(session, decodeURIComponent(token));
  }

  private say({ socket }: Session, text: string): void {
    if (this.isSilent) return;
    this.later(() => {
      if (socket.readyState === 1) socket.onmessage?.({ data: text });
    });
  }

  private end(session: Session, code: number, reason: string): void {
    // As a server does: codes of its own are announced by a frame before the close.
    if (code >= 4000 && session.socket.readyState === 1) this.say(session, encodeError(code, reason));
    this.later(() => {
      this.forget(session);
      if (session.socket.readyState === 3) return;
      session.socket.readyState = 3;
      session.socket.onclose?.({ code, reason });
    });
  }

  private forget(session: Session): void {
    for (const channel of [...session.channels.keys()]) this.part(session, channel);
    this.sessions.delete(session);
  }

  private broadcast(channel: string, frame: string, except?: Session): void {
    for (const session of this.sessions) {
      if (session !== except && session.channels.has(channel)) this.say(session, frame);
    }
  }

  private receive(session: Session, text: string): void {
    if (!this.sessions.has(session) || this.isSilent) return;
    const { event, data } = JSON.parse(text) as { event: string; data: Record<string, unknown> };
    if (event === 'starling:publish') {
      this.receivePublish(session, data);
      return;
    }
    if (event === 'starling:auth') {
      this.receiveToken(session, String(data['token']));
      return;
    }
    const decoded = decodeCommand(text);
    if (!decoded.ok) {
      this.say(session, encodeError(null, decoded.refusal.message));
      return;
    }
    const command = decoded.value;
    if (command.type === 'ping') this.say(session, pongFrame);
    else if (command.type === 'subscribe') this.subscribe(session, command);
    else if (command.type === 'unsubscribe') this.part(session, command.channel);
    else if (command.type === 'signin') {
      const user = parseUser(command.userData);
      session.user = user.ok ? user.value : null;
      this.say(session, encodeSigninSuccess(command.userData));
    } else if (command.type === 'client-event') {
      const { channel, event: name, data: sent } = command;
      const userId = session.channels.get(channel)?.userId;
      this.broadcast(channel, encodeEvent(name, channel, sent, userId), session);
    }
  }

  private subscribe(session: Session, { channel, channelData }: SubscribeCommand): void {
    const parsed = parseChannelName(channel);
    const refused = parsed.ok ? this.refusedChannels.get(channel) : { error: parsed.refusal.message, status: 400 };
    if (refused !== undefined) {
      const [frame] = encodeSubscriptionError(channel, { type: 'AuthError', ...refused });
      this.say(session, frame);
      return;
    }
    const isPresence = parsed.ok && parsed.value.kind === 'presence';
    const given = channelData === undefined ? null : parseMember(channelData);
    const member = given === null ? session.user : given.ok ? given.value : null;
    const isNew = isPresence && member !== null && !this.membersOf(channel).has(member.userId);
    session.channels.set(channel, isPresence ? member : null);
    if (isNew) this.broadcast(channel, encodeMemberAdded(channel, member), session);
    const members = isPresence ? [...this.membersOf(channel).values()] : undefined;
    this.say(session, encodeSubscriptionSucceeded(channel, members));
    if (parsed.ok && parsed.value.isCache) this.say(session, this.cached.get(channel) ?? encodeCacheMiss(channel));
  }

  private part(session: Session, channel: string): void {
    const member = session.channels.get(channel);
    session.channels.delete(channel);
    if (member && !this.membersOf(channel).has(member.userId)) {
      this.broadcast(channel, encodeMemberRemoved(channel, member.userId));
    }
  }

  private receivePublish(session: Session, command: Record<string, unknown>): void {
    const { id, channels, name, data, socket_id } = command as {
      id: string;
      channels: readonly string[];
      name: string;
      data: string;
      socket_id?: string;
    };
    const refusal = this.publishRefusal;
    if (refusal !== null) {
      this.say(session, JSON.stringify({ event: 'starling:publish_error', data: JSON.stringify({ id, ...refusal }) }));
      return;
    }
    this.published.push({ channels, event: name, data: plain(data) });
    const except = socket_id === session.socketId ? session : undefined;
    for (const channel of channels) this.broadcast(channel, encodeEvent(name, channel, data), except);
    this.say(session, JSON.stringify({ event: 'starling:publish_ack', data: JSON.stringify({ id }) }));
  }

  private receiveToken(session: Session, token: string): void {
    this.tokens.push(token);
    const { sub = null, info = null, exp = 0, iat = 0, cap = {} } = claimsOf(token);
    if (sub !== null) session.user = { userId: sub, userInfo: JSON.stringify(info) };
    const data = JSON.stringify({ user_id: sub, expires_in: exp - iat || 3_600, capabilities: cap });
    this.say(session, JSON.stringify({ event: 'starling:auth_success', data }));
  }

  private membersOf(channel: string): Map<string, ProtocolMember> {
    const members = [...this.sessions].flatMap(({ channels }) => channels.get(channel) ?? []);
    return new Map([...members.map((member) => [member.userId, member] as const), ...(this.others.get(channel) ?? [])]);
  }
}

function plain(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    // Data need not be JSON: then it is the text itself.
    return data;
  }
}
