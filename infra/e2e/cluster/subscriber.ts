/** A client as pusher-js makes one: it comes back after every close, somewhere, and joins its channels again. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Node } from './cluster.ts';
import { app } from './cluster.ts';
import { Connection } from './connection.ts';

/** One connection of a subscriber, and whose it was. */
export interface Life {
  readonly node: Node;
  readonly connection: Connection;
}

/** As pusher-js waits after a close that does not say "reconnect now", and as an app might after a refused subscribe. */
const comeBackMs = 1_000;
const askAgainMs = 500;

export class Subscriber {
  /** Who it is since it last connected. */
  user = '';
  readonly channels: readonly string[];
  readonly lives: Life[] = [];
  readonly #identify: () => string;
  readonly #choose: () => Node;
  #isStopped = false;
  #living: Promise<void> = Promise.resolve();
  readonly #stopping = new AbortController();

  /** `identify`: who comes back; `choose`: the load balancer. */
  constructor(identify: () => string, channels: readonly string[], choose: () => Node) {
    this.#identify = identify;
    this.channels = channels;
    this.#choose = choose;
  }

  start(): void {
    this.#living = this.#live();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#stopping.abort();
    this.current?.connection.close();
    await this.#living;
  }

  get current(): Life | undefined {
    return this.lives.at(-1);
  }

  /** Connected, and in all its channels. */
  get isHome(): boolean {
    const connection = this.current?.connection;
    if (connection === undefined || connection.isClosed) return false;
    return this.channels.every((channel) => connection.joinedAtMs.has(channel));
  }

  async #live(): Promise<void> {
    while (!this.#isStopped) {
      const code = await this.#liveOnce();
      if (code < 4200 || code > 4299) await this.#pause(comeBackMs);
    }
  }

  /** Resolves with the code of the close; 0 when it did not come to a connection. */
  async #liveOnce(): Promise<number> {
    const node = this.#choose();
    let connection: Connection;
    try {
      connection = await Connection.open(node.url, app);
    } catch {
      // Refused, or cut in the handshake: the node is gone, and the load balancer will know.
      return 0;
    }
    this.lives.push({ node, connection });
    const user = this.#identify();
    this.user = user;
    const join = (channel: string): void => {
      if (!connection.isClosed) connection.subscribe(channel, channel.startsWith('presence-') ? user : undefined);
    };
    connection.onHeard = ({ event, channel }) => {
      if (event === 'pusher:subscription_error') void this.#pause(askAgainMs).then(() => join(channel));
    };
    for (const channel of this.channels) join(channel);
    if (this.#isStopped) connection.close();
    return connection.closed;
  }

  /** Shorter when it is told to stop. */
  async #pause(durationMs: number): Promise<void> {
    await delay(durationMs, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
  }
}
