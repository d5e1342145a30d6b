/** The user a connection has signed in as, and the events that are for that user. */
import type { AskForUser, UserAuth } from './authorize.ts';
import { Channel, type ChannelHost } from './channel.ts';
import type { ServerFrame } from './link.ts';
import { Listeners, type Untyped } from './listeners.ts';
import { parseJson } from './surroundings.ts';

export interface UserData {
  readonly id: string;
  readonly [field: string]: Untyped;
}

export interface WatchlistEvent {
  readonly name: 'online' | 'offline';
  readonly user_ids: readonly string[];
}

interface WatchlistEvents {
  online: WatchlistEvent;
  offline: WatchlistEvent;
}

/** Who of the user's watchlist comes and goes. */
export class Watchlist extends Listeners<WatchlistEvents> {
  tell(data: unknown): void {
    for (const event of (data as { events: readonly WatchlistEvent[] }).events) this.emit(event.name, event);
  }
}

export class User extends Listeners<Record<string, Untyped>> {
  signin_requested = false;
  user_data: UserData | null = null;
  serverToUserChannel: Channel | null = null;
  /** Of the sign-in under way, or of the last; resolves also when it fails, or when the connection goes. */
  signinDonePromise: Promise<void> | null = null;
  readonly watchlist = new Watchlist();

  private readonly host: ChannelHost;
  private readonly askForUser: AskForUser;
  private isSigningIn = false;
  private signinDone: () => void = () => {};

  constructor(host: ChannelHost, askForUser: AskForUser) {
    super();
    this.host = host;
    this.askForUser = askForUser;
  }

  signin(): void {
    if (this.signin_requested) return;
    this.signin_requested = true;
    this.begin();
    this.connected();
  }

  connected(): void {
    const socketId = this.host.socketId();
    if (!this.signin_requested || socketId === undefined) return;
    this.begin();
    void this.askForUser(socketId).then((answer) => {
      // Signed for a connection that has gone.
      if (this.host.socketId() !== socketId) return;
      if (answer.ok) {
        const { auth, user_data }: UserAuth = answer.value;
        this.host.send_event('pusher:signin', { auth, user_data });
      } else {
        this.emit('pusher:signin_error', answer.error);
        this.signinDone();
      }
    });
  }

  disconnected(): void {
    this.user_data = null;
    this.serverToUserChannel?.unbind_all().disconnect();
    this.serverToUserChannel = null;
    if (!this.signin_requested) this.signinDone();
  }

  receive(frame: ServerFrame): void {
    const { event, data, channel } = frame;
    if (event === 'pusher:signin_success') {
      const user = parseJson((data as { user_data: string }).user_data) as UserData | undefined;
      if (typeof user?.id === 'string') this.signedIn(user);
      this.signinDone();
    } else if (event === 'pusher_internal:watchlist_events') {
      this.watchlist.tell(data);
    } else if (channel !== undefined && channel === this.serverToUserChannel?.name) {
      this.serverToUserChannel.handleEvent(frame);
    }
  }

  /** By a sign-in, or by a token that names its user. */
  signedIn(user: UserData): void {
    const isSame = this.user_data?.id === user.id;
    this.user_data = user;
    if (isSame) return;
    const channel = new Channel(`#server-to-user-${user.id}`, this.host);
    channel.bind_global((event, data) => {
      if (!/^pusher(?:_internal)?:/.test(event)) this.emit(event, data);
    });
    this.serverToUserChannel = channel;
    channel.subscribe();
  }

  private begin(): void {
    // One that waits for a connection goes on waiting.
    if (this.signinDonePromise !== null && this.isSigningIn) return;
    this.isSigningIn = true;
    this.signinDonePromise = new Promise((resolve) => {
      this.signinDone = () => {
        this.isSigningIn = false;
        resolve();
      };
    });
  }
}
