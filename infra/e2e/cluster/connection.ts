/** A client that speaks the protocol by hand, keeps all it is told, and knows what it must never be told. */
import { createHmac } from 'node:crypto';
import { WebSocket } from 'ws';
import type { Credentials } from '../../testing/program.ts';

export interface Heard {
  readonly event: string;
  readonly channel: string;
  /** What the JSON in `data` says, or `data` itself where it is not JSON. */
  readonly data: unknown;
  readonly userId: string | undefined;
  /** `performance.now()` */
  readonly atMs: number;
}

/** What one connection is told of a presence channel. */
interface View {
  readonly users: Set<string>;
  /** `+ada`, `-ada`, in the order in which they came. */
  readonly changes: string[];
}

/** What no server may ever say. */
export interface Fault {
  readonly text: string;
  readonly atMs: number;
}

export class Connection {
  /** Where it is connected to. */
  readonly url: string;
  readonly heard: Heard[] = [];
  /** By channel: when it was first told that it has joined. */
  readonly joinedAtMs = new Map<string, number>();
  readonly views = new Map<string, View>();
  readonly faults: Fault[] = [];
  socketId = '';
  closeCode: number | undefined;
  closedAtMs = Number.POSITIVE_INFINITY;
  readonly #app: Credentials;
  readonly #socket: WebSocket;
  readonly #watchers = new Set<() => void>();
  /** Resolves with the code when it has closed, however long that takes. */
  readonly closed: Promise<number>;
  /** Told of each frame. */
  onHeard: (heard: Heard) => void = () => undefined;

  private constructor(url: string, app: Credentials) {
    this.url = url;
    this.#app = app;
    this.#socket = new WebSocket(`${url.replace(/^http/, 'ws')}/app/${app.key}?protocol=7&client=hand&version=0`);
    this.#socket.on('message', (text) => this.#hear(String(text)));
    // A failure to connect is a close like any other.
    this.#socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      this.#socket.on('close', (code) => {
        this.closeCode = code;
        this.closedAtMs = performance.now();
        resolve(code);
        this.#wake();
      });
    });
  }

  /** Resolves when the server has greeted; rejects when it has closed instead. */
  static async open(url: string, app: Credentials): Promise<Connection> {
    const connection = new Connection(url, app);
    await connection.until('the connect request', () => connection.socketId !== '');
    return connection;
  }

  get isClosed(): boolean {
    return this.closeCode !== undefined;
  }

  /** Resolves once `isSo` after whatever is heard; rejects at the limit, or when the connection closes before. */
  async until(what: string, isSo: () => boolean, limitMs = 10_000): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const end = (settle: () => void): void => {
        clearTimeout(timer);
        this.#watchers.delete(watcher);
        settle();
      };
      const fail = (why: string): void =>
        end(() => reject(new Error(`${why} before ${what}; last heard: ${JSON.stringify(this.heard.slice(-5))}`)));
      const watcher = (): void => {
        if (isSo()) end(resolve);
        else if (this.isClosed) fail(`Closed with ${this.closeCode}`);
      };
      const timer = setTimeout(() => fail(`${limitMs} ms went by`), limitMs);
      this.#watchers.add(watcher);
      watcher();
    });
  }

  /** Resolves with what has that event name on that channel, from now or before. */
  async hears(event: string, channel = '', limitMs = 10_000): Promise<Heard> {
    const find = () => this.heard.find((each) => each.event === event && each.channel === channel);
    await this.until(`${event} on ${channel}`, () => find() !== undefined, limitMs);
    return find() as Heard;
  }

  async closes(limitMs = 10_000): Promise<number> {
    await this.until('a close', () => this.isClosed, limitMs);
    return this.closeCode ?? 0;
  }

  /** The data of all events of that name on that channel, so far. */
  all(event: string, channel = ''): unknown[] {
    return this.heard.filter((each) => each.event === event && each.channel === channel).map(({ data }) => data);
  }

  /** Who is in a presence channel, as far as this connection was told. */
  usersOf(channel: string): string[] {
    return [...(this.views.get(channel)?.users ?? [])].sort();
  }

  changesOf(channel: string): readonly string[] {
    return this.views.get(channel)?.changes ?? [];
  }

  say(event: string, data: unknown, channel?: string): void {
    this.#socket.send(JSON.stringify({ event, data, channel }));
  }

  /** As this user where one is given. */
  subscribe(channel: string, user?: string): void {
    const channelData = user === undefined ? undefined : JSON.stringify({ user_id: user });
    const signed = [this.socketId, channel, ...(channelData === undefined ? [] : [channelData])].join(':');
    const auth = /^(private|presence)-/.test(channel) ? this.#sign(signed) : undefined;
    this.say('pusher:subscribe', { channel, auth, channel_data: channelData });
  }

  /** Resolves when the server has said yes. */
  async join(channel: string, user?: string): Promise<void> {
    this.subscribe(channel, user);
    await this.until(`joining ${channel}`, () => this.joinedAtMs.has(channel));
  }

  async signin(user: string, watchlist: readonly string[] = []): Promise<void> {
    const userData = JSON.stringify({ id: user, watchlist });
    this.say('pusher:signin', { auth: this.#sign(`${this.socketId}::user::${userData}`), user_data: userData });
    await this.hears('pusher:signin_success');
  }

  /** Resolves when everything the server sent before has been heard. */
  async catchUp(): Promise<void> {
    const before = this.all('pusher:pong').length;
    this.say('pusher:ping', {});
    await this.until('a pong', () => this.all('pusher:pong').length > before);
  }

  close(): void {
    this.#socket.close();
  }

  #sign(text: string): string {
    return `${this.#app.key}:${createHmac('sha256', this.#app.secret).update(text).digest('hex')}`;
  }

  #hear(text: string): void {
    const frame = JSON.parse(text) as { event: string; channel?: string; data?: unknown; user_id?: string };
    const { event, channel = '' } = frame;
    const data = parsed(frame.data);
    const heard = { event, channel, data, userId: frame.user_id, atMs: performance.now() };
    this.heard.push(heard);
    if (event === 'pusher:connection_established') this.socketId = (data as { socket_id: string }).socket_id;
    if (event === 'pusher_internal:subscription_succeeded') {
      if (!this.joinedAtMs.has(channel)) this.joinedAtMs.set(channel, performance.now());
      const { presence } = data as { presence?: { ids: string[]; count: number } };
      if (presence !== undefined) this.#list(channel, presence);
    }
    if (/member_(added|removed)$/.test(event)) this.#change(channel, event, (data as { user_id: string }).user_id);
    this.onHeard(heard);
    this.#wake();
  }

  #list(channel: string, { ids, count }: { ids: string[]; count: number }): void {
    const view = this.views.get(channel) ?? { users: new Set(), changes: [] };
    this.views.set(channel, view);
    view.users.clear();
    for (const id of ids) view.users.add(id);
    if (view.users.size !== count) this.#fault(`${channel} has ${count} members, named were ${ids}`);
  }

  #change(channel: string, event: string, user: string): void {
    const view = this.views.get(channel);
    if (view === undefined) {
      this.#fault(`${event} of ${user} on ${channel} before it was joined`);
      return;
    }
    const isAdded = event.endsWith('added');
    view.changes.push(`${isAdded ? '+' : '-'}${user}`);
    if (view.users.has(user) === isAdded) {
      this.#fault(`${event} of ${user} on ${channel}, who was ${isAdded ? 'there' : 'gone'} already`);
    }
    if (isAdded) view.users.add(user);
    else view.users.delete(user);
  }

  #fault(text: string): void {
    this.faults.push({ text, atMs: performance.now() });
  }

  #wake(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }
}

function parsed(data: unknown): unknown {
  if (typeof data !== 'string') return data;
  try {
    return JSON.parse(data);
  } catch {
    // An app's data need not be JSON.
    return data;
  }
}
