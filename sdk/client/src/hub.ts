/** One connection for many tabs: what each of them says goes out, and what comes back goes to those it is for. */
import {
  decodeCommand,
  encodeCacheMiss,
  encodeError,
  encodeEvent,
  limits,
  parseChannelName,
  type SubscribeCommand,
  wireProblems,
} from '@starling/protocol';
import { type Moment, msSince, parseJson, steadyMs, thisMoment, type WebSocketConstructor } from './surroundings.ts';

/** What a tab says. `open` is for whoever leads. */
export type TabMessage =
  | { readonly from: string; readonly kind: 'open' }
  | { readonly from: string; readonly kind: 'leave' }
  | { readonly from: string; readonly kind: 'say'; readonly hub: string; readonly text: string };

/** What a hub says; without `to`, to all. */
export type HubMessage = { readonly hub: string; readonly to?: readonly string[] } & (
  | { readonly kind: 'lead' | 'welcome' | 'apart' }
  | { readonly kind: 'frame'; readonly text: string }
  | { readonly kind: 'close'; readonly code: number; readonly reason: string }
);

export interface HubNeeds {
  readonly id: string;
  readonly url: string;
  readonly WebSocket: WebSocketConstructor;
  post(message: HubMessage): void;
  /** Calls back when the tab is no more, whether it said so or not. Returns what ends the watch. */
  watch(tab: string, gone: () => void): () => void;
  /** The last tab has left. */
  emptied(): void;
  /** Once, and the last that is told. */
  ended(): void;
}

interface Tab {
  readonly id: string;
  /** Sets its publishes apart from those of others. */
  readonly serial: number;
  readonly stopWatch: () => void;
  /** As it asked to sign in. */
  userData: string | null;
  isSignedIn: boolean;
  /** When it asked for a pong that has not come yet. */
  pingedAtMs: number | null;
}

/** A subscribe that is under way, and who waits for its answer. */
interface Ask {
  readonly permission: string;
  readonly tabs: Set<Tab>;
  /** The channel has been left since: whoever comes now must ask anew. */
  isLeft: boolean;
}

interface Channel {
  readonly isPresence: boolean;
  readonly isCache: boolean;
  /** Who is there, on a presence channel: the first tab's, and so everyone's. */
  channelData: string | undefined;
  /** Answered in this order. */
  readonly asks: Ask[];
  readonly joined: Set<Tab>;
  /** With what the server let somebody in. */
  readonly accepted: Set<string>;
  /** Told once by the server, and by the hub to those who join later. */
  lastEvent: { readonly text: string; readonly at: Moment } | null;
  lastCount: string | null;
}

interface Socket {
  readyState: number;
  send(text: string): void;
  close(code?: number): void;
  onmessage: ((event: { readonly data: unknown }) => void) | null;
  onerror: (() => void) | null;
  onclose: ((event: { readonly code?: number; readonly reason?: string }) => void) | null;
}

type Fields = Readonly<Record<string, unknown>>;

/** What the server said of the token it has taken. */
interface Token {
  readonly data: Fields;
  readonly since: Moment;
  readonly lastsMs: number;
}

/** A tab that leaves sooner after its ping has not given up on the answer. */
const patienceMs = 1_000;

const frameOf = (event: string, data: unknown, channel?: string) =>
  JSON.stringify({ event, data: JSON.stringify(data), channel });
const isEmpty = ({ joined, asks }: Channel) => joined.size === 0 && asks.every(({ tabs }) => tabs.size === 0);
const isUserChannel = (name: string) => name.startsWith('#server-to-user-');

export class Hub {
  private readonly needs: HubNeeds;
  private readonly socket: Socket;
  private readonly hasToken: boolean;
  private readonly tabs = new Map<string, Tab>();
  private readonly channels = new Map<string, Channel>();
  /** Who is online of the watchlist. */
  private readonly watched = new Map<string, boolean>();
  /** Who gave the server a new token, in the order of the answers. */
  private readonly renewing: Tab[] = [];
  private serial = 0;
  private established: string | null = null;
  private token: Token | null = null;
  private heardAtMs = 0;
  private hasEnded = false;

  constructor(needs: HubNeeds) {
    this.needs = needs;
    this.hasToken = /[?&]token=/.test(needs.url);
    this.socket = new needs.WebSocket(needs.url) as unknown as Socket;
    this.socket.onmessage = ({ data }) => this.hear(String(data));
    this.socket.onclose = ({ code = 1006, reason = '' }) => this.end(code, String(reason));
    // A close follows.
    this.socket.onerror = () => {};
    needs.post({ hub: needs.id, kind: 'lead' });
  }

  /** Tells every tab that its connection was closed. */
  end(code: number, reason: string): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.socket.onclose = null;
    this.socket.onmessage = null;
    if (this.socket.readyState < 2) this.socket.close(1000);
    for (const { stopWatch } of this.tabs.values()) stopWatch();
    this.needs.post({ hub: this.needs.id, kind: 'close', code, reason });
    this.needs.ended();
  }

  // ── From the tabs ──────────────────────────────────────────────────────────────────────────────────────────────

  receive(message: TabMessage): void {
    if (this.hasEnded) return;
    const tab = this.tabs.get(message.from);
    if (tab === undefined) {
      if (message.kind === 'open') this.welcome(message.from);
    } else if (message.kind === 'leave') {
      this.leave(tab);
    } else if (message.kind === 'say' && message.hub === this.needs.id) {
      this.say(tab, message.text);
    }
  }

  private welcome(id: string): void {
    const stopWatch = this.needs.watch(id, () => this.leave(tab));
    const tab: Tab = { id, serial: ++this.serial, stopWatch, userData: null, isSignedIn: false, pingedAtMs: null };
    this.tabs.set(id, tab);
    this.needs.post({ hub: this.needs.id, to: [id], kind: 'welcome' });
    if (this.established !== null) this.tell([tab], this.established);
    if (this.token !== null) this.tell([tab], this.tokenFrame(this.token));
  }

  private leave(tab: Tab): void {
    if (this.hasEnded || !this.tabs.delete(tab.id)) return;
    tab.stopWatch();
    if (tab.pingedAtMs !== null && this.heardAtMs <= tab.pingedAtMs && steadyMs() - tab.pingedAtMs >= patienceMs) {
      this.end(4201, 'The server did not answer a ping of one of the tabs');
      return;
    }
    for (const name of this.channels.keys()) this.part(tab, name);
    if (this.tabs.size === 0) this.needs.emptied();
  }

  private say(tab: Tab, text: string): void {
    const decoded = decodeCommand(text);
    if (!decoded.ok) {
      this.send(text);
      return;
    }
    const command = decoded.value;
    switch (command.type) {
      case 'ping': {
        const isAsked = [...this.tabs.values()].some(({ pingedAtMs }) => pingedAtMs !== null);
        tab.pingedAtMs ??= steadyMs();
        if (!isAsked) this.send(text);
        break;
      }
      case 'pong':
        // The server's pings are answered here.
        break;
      case 'subscribe':
        this.join(tab, command, text);
        break;
      case 'unsubscribe':
        this.part(tab, command.channel);
        break;
      case 'signin':
        if ([...this.tabs.values()].some(({ userData }) => userData && idOf(userData) !== idOf(command.userData))) {
          this.sendApart(tab);
        } else {
          tab.userData = command.userData;
          this.send(text);
        }
        break;
      case 'client-event': {
        const channel = this.channels.get(command.channel);
        if (channel?.joined.has(tab) !== true) {
          // By the rights of another tab nothing is sent.
          this.tell([tab], encodeError(wireProblems.not_subscribed.number, wireProblems.not_subscribed.text));
          break;
        }
        this.send(text);
        const userId = channel.isPresence ? this.userIdOf(channel) : undefined;
        const others = [...channel.joined].filter((each) => each !== tab);
        this.tell(others, encodeEvent(command.event, command.channel, command.data, userId));
        break;
      }
      case 'auth':
        this.renewing.push(tab);
        this.send(text);
        break;
      case 'publish': {
        const id = `${tab.serial}.${command.id}`;
        this.send(JSON.stringify({ event: 'starling:publish', data: { ...command.fields, id } }));
        break;
      }
    }
  }

  private join(tab: Tab, command: SubscribeCommand, text: string): void {
    const { channel: name, auth = '', channelData } = command;
    const parsed = parseChannelName(name);
    const isPresence = parsed.ok && parsed.value.kind === 'presence';
    const channel: Channel = this.channels.get(name) ?? {
      isPresence,
      isCache: parsed.ok && parsed.value.isCache,
      channelData,
      asks: [],
      joined: new Set(),
      accepted: new Set(),
      lastEvent: null,
      lastCount: null,
    };
    this.channels.set(name, channel);
    if (isEmpty(channel)) channel.channelData = channelData;
    // One connection is one member.
    if (isPresence && channel.channelData !== channelData) {
      this.sendApart(tab);
      return;
    }
    const last = channel.asks.at(-1);
    if (last?.permission === auth && !last.isLeft) {
      last.tabs.add(tab);
    } else if (!isPresence && channel.joined.size > 0 && channel.accepted.has(auth)) {
      this.joined([tab], name, channel, frameOf('pusher_internal:subscription_succeeded', {}, name));
    } else {
      // Also of a channel that is joined: the server checks this tab's permission, and says who is there now.
      channel.asks.push({ permission: auth, tabs: new Set([tab]), isLeft: false });
      this.send(text);
    }
  }

  private joined(tabs: readonly Tab[], name: string, channel: Channel, text: string): void {
    const { lastEvent, lastCount } = channel;
    for (const tab of tabs) channel.joined.add(tab);
    this.tell(tabs, text);
    if (lastEvent !== null) {
      const isFresh = msSince(lastEvent.at) < limits.cacheSeconds * 1_000;
      this.tell(tabs, isFresh ? lastEvent.text : encodeCacheMiss(name));
    }
    if (lastCount !== null) this.tell(tabs, lastCount);
  }

  private part(tab: Tab, name: string): void {
    const channel = this.channels.get(name);
    if (channel === undefined) return;
    const wasThere = channel.joined.delete(tab);
    const asked = channel.asks.filter(({ tabs }) => tabs.delete(tab)).length > 0;
    if (wasThere || asked) this.leaveIfEmpty(name, channel);
  }

  /** With the last tab the connection leaves, too. */
  private leaveIfEmpty(name: string, channel: Channel): void {
    if (!isEmpty(channel)) return;
    this.send(JSON.stringify({ event: 'pusher:unsubscribe', data: { channel: name } }));
    for (const ask of channel.asks) ask.isLeft = true;
    channel.accepted.clear();
    channel.lastEvent = null;
    channel.lastCount = null;
    // Answers that are still to come are nobody's, but must not be taken for those to later asks.
    if (channel.asks.length === 0) this.channels.delete(name);
  }

  private sendApart(tab: Tab): void {
    this.needs.post({ hub: this.needs.id, to: [tab.id], kind: 'apart' });
    this.leave(tab);
  }

  // ── From the server ────────────────────────────────────────────────────────────────────────────────────────────

  private hear(text: string): void {
    this.heardAtMs = steadyMs();
    const frame = Object(parseJson(text)) as { event?: string; channel?: string; data?: unknown };
    const { event = '', channel: name } = frame;
    const data = Object(typeof frame.data === 'string' ? parseJson(frame.data) : frame.data) as Fields;
    const all = [...this.tabs.values()];
    if (name !== undefined && event === 'pusher_internal:subscription_succeeded') {
      this.subscribed(name, text);
    } else if (name !== undefined && event === 'pusher:subscription_error') {
      this.refused(name, text);
    } else if (name !== undefined) {
      this.toChannel(name, event, text);
    } else if (event === 'pusher:ping') {
      this.send(JSON.stringify({ event: 'pusher:pong', data: {} }));
    } else if (event === 'pusher:pong') {
      const waiting = all.filter(({ pingedAtMs }) => pingedAtMs !== null);
      for (const tab of waiting) tab.pingedAtMs = null;
      this.tell(waiting, text);
    } else if (event === 'pusher:connection_established') {
      this.established = text;
      this.tell(all, text);
    } else if (event === 'pusher:signin_success') {
      const signedIn = all.filter(({ userData }) => userData !== null && userData === data['user_data']);
      for (const tab of signedIn) tab.isSignedIn = true;
      this.tell(signedIn, text);
      if (this.watched.size > 0) this.tell(signedIn, this.watchlistFrame());
    } else if (event === 'pusher_internal:watchlist_events') {
      for (const { name: state, user_ids } of data['events'] as ReadonlyArray<{ name: string; user_ids: string[] }>) {
        for (const id of user_ids) this.watched.set(id, state === 'online');
      }
      this.tell(
        all.filter(({ isSignedIn }) => isSignedIn),
        text,
      );
    } else if (event === 'starling:auth_success' || event === 'starling:auth_error') {
      this.renewed(event, data, text, all);
    } else if (event === 'starling:publish_ack' || event === 'starling:publish_error') {
      const [, serial, id] = /^(\d+)\.(.*)$/s.exec(String(data['id'])) ?? [];
      this.tell(
        all.filter((tab) => tab.serial === Number(serial)),
        frameOf(event, { ...data, id }),
      );
    } else {
      this.tell(all, text);
    }
  }

  private subscribed(name: string, text: string): void {
    const channel = this.channels.get(name);
    if (channel === undefined) return;
    const ask = channel.asks.shift();
    if (ask === undefined) {
      // Told anew, after changes may have been missed.
      this.tell([...channel.joined], text);
      return;
    }
    if (ask.tabs.size > 0) {
      channel.accepted.add(ask.permission);
      this.joined([...ask.tabs], name, channel, text);
    } else {
      this.leaveIfEmpty(name, channel);
    }
  }

  private refused(name: string, text: string): void {
    const channel = this.channels.get(name);
    if (channel === undefined) return;
    const ask = channel.asks.shift();
    // Without an ask: a new token has taken the channel from all of them.
    this.tell([...(ask?.tabs ?? channel.joined)], text);
    if (ask === undefined) channel.joined.clear();
    this.leaveIfEmpty(name, channel);
  }

  private toChannel(name: string, event: string, text: string): void {
    const channel = this.channels.get(name);
    const isOwn = event.startsWith('pusher');
    if (channel !== undefined) {
      if (event === 'pusher_internal:subscription_count') channel.lastCount = text;
      const isKept = event === 'pusher:cache_miss' || (!isOwn && !event.startsWith('client-'));
      if (channel.isCache && isKept) channel.lastEvent = { text, at: thisMoment() };
    }
    const isMeant = (tab: Tab) =>
      channel?.joined.has(tab) === true || (isUserChannel(name) && (this.hasToken || tab.isSignedIn));
    this.tell([...this.tabs.values()].filter(isMeant), text);
  }

  private renewed(event: string, data: Fields, text: string, all: readonly Tab[]): void {
    const asked = this.renewing.shift();
    if (event === 'starling:auth_success') {
      this.token = { data, since: thisMoment(), lastsMs: Number(data['expires_in']) * 1_000 };
    }
    this.tell(asked === undefined ? all : [asked], text);
  }

  // ── ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

  private userIdOf({ channelData }: Channel): string | undefined {
    if (channelData !== undefined) return userOf(channelData, 'user_id');
    const signedIn = [...this.tabs.values()].find(({ isSignedIn }) => isSignedIn)?.userData;
    const byToken = this.token?.data['user_id'];
    return signedIn ? idOf(signedIn) : typeof byToken === 'string' ? byToken : undefined;
  }

  private tokenFrame({ data, since, lastsMs }: Token): string {
    const expires_in = Math.max(1, Math.floor((lastsMs - msSince(since)) / 1_000));
    return frameOf('starling:auth_success', { ...data, expires_in });
  }

  private watchlistFrame(): string {
    const ids = (isOnline: boolean) => [...this.watched].filter(([, is]) => is === isOnline).map(([id]) => id);
    const events = [
      { name: 'online', user_ids: ids(true) },
      { name: 'offline', user_ids: ids(false) },
    ].filter(({ user_ids }) => user_ids.length > 0);
    return frameOf('pusher_internal:watchlist_events', { events });
  }

  private tell(tabs: readonly Tab[], text: string): void {
    const to = tabs.filter(({ id }) => this.tabs.has(id)).map(({ id }) => id);
    if (to.length > 0) this.needs.post({ hub: this.needs.id, to, kind: 'frame', text });
  }

  private send(text: string): void {
    if (!this.hasEnded && this.socket.readyState === 1) this.socket.send(text);
  }
}

const idOf = (userData: string) => userOf(userData, 'id');

function userOf(text: string, field: string): string | undefined {
  const id = (Object(parseJson(text)) as Fields)[field];
  return id === undefined ? undefined : String(id);
}
