/** The official client, unmodified, in Node and in pages of a real browser, behind one set of words. */
import { createRequire } from 'node:module';
import { Starling as StarlingClient } from '@starling/client';
import { nacl } from '@starling/client/encrypted';
import { type Browser, chromium, type Page } from 'playwright-core';
import type Pusher from 'pusher-js';
import type { Options } from 'pusher-js';
import { inject } from 'vitest';
import { WebSocket } from 'ws';
import type { Starling } from '../../testing/program.ts';
import type { Backend, Build } from './backend.ts';

/** Something the client let its application know. */
export interface Told {
  /** An event's name; `state` and `error` are the connection's own. */
  readonly event: string;
  /** Where it was bound: a channel, `user` or `watchlist`; empty for the connection. */
  readonly on: string;
  readonly data: unknown;
  /** The sender of a client event. */
  readonly userId?: string;
}

export interface Who {
  readonly user?: string;
  readonly watchlist?: readonly string[];
  /** Its backend signs with a wrong secret. */
  readonly isRefused?: boolean;
  /** In the place of the app's. */
  readonly key?: string;
}

/** How long anything may take that is expected. */
const limitMs = 15_000;

type Action = (pusher: Pusher.default, ...args: unknown[]) => unknown;
type Run = (action: Action, args: readonly unknown[]) => Promise<unknown>;

export class Client {
  readonly #log: Told[] = [];
  #wake: () => void = () => {};
  readonly #run: Run;

  constructor(run: Run) {
    this.#run = run;
  }

  tell(told: Told): void {
    this.#log.push(told);
    this.#wake();
  }

  /** Everything told and not yet taken. */
  get log(): readonly Told[] {
    return this.#log;
  }

  /** Takes the first, told by now or later, that has this name and was bound there. */
  async told(event: string, on = ''): Promise<Told> {
    const [found] = await this.toldAll(1, event, on);
    return found as Told;
  }

  /** Takes so many of them. */
  async toldAll(count: number, event: string, on = ''): Promise<Told[]> {
    const isMeant = (told: Told) => told.event === event && told.on === on;
    const deadline = AbortSignal.timeout(limitMs);
    for (;;) {
      const found = this.#log.filter(isMeant);
      if (found.length >= count) {
        for (const told of found.slice(0, count)) this.#log.splice(this.#log.indexOf(told), 1);
        return found.slice(0, count);
      }
      if (deadline.aborted)
        throw new Error(`No ${event} on "${on}", but: ${JSON.stringify(this.#log).slice(0, 4_000)}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        deadline.onabort = () => resolve();
      });
    }
  }

  /** Runs where the client is, so it may use nothing but its arguments, which must be JSON. */
  async do<Args extends unknown[], Result>(
    action: (pusher: Pusher.default, ...args: Args) => Result,
    ...args: Args
  ): Promise<Awaited<Result>> {
    return (await this.#run(action as Action, args)) as Awaited<Result>;
  }

  /** Subscribes, and lets its events be told. */
  async subscribe(channel: string): Promise<void> {
    await this.do((pusher, name) => {
      pusher.subscribe(name);
    }, channel);
  }

  /** Subscribes, and waits for the success. */
  async join(channel: string): Promise<Told> {
    await this.subscribe(channel);
    return this.told('pusher:subscription_succeeded', channel);
  }

  /** Waits for the state after those already taken. */
  async connected(): Promise<string> {
    for (;;) {
      const { data } = await this.told('state');
      if (data === 'connected') return this.do((pusher) => pusher.connection.socket_id);
    }
  }

  trigger(channel: string, event: string, data: unknown): Promise<boolean> {
    return this.do((pusher, ...args) => pusher.channel(args[0]).trigger(args[1], args[2]), channel, event, data);
  }

  /** Signs in as its user, and waits until that is done and the user's channel is open. */
  async signIn(): Promise<void> {
    await this.do(async (pusher) => {
      pusher.signin();
      await pusher.user.signinDonePromise;
      const channel = pusher.user.serverToUserChannel;
      if (!channel.subscribed) {
        await new Promise<void>((resolve) => {
          channel.bind('pusher:subscription_succeeded', () => resolve());
        });
      }
    });
  }

  close(): Promise<void> {
    return this.do((pusher) => pusher.disconnect());
  }
}

/** Where clients run. */
export interface Place {
  readonly canDecrypt: boolean;
  /** Not yet connected, perhaps. */
  open(who?: Who): Promise<Client>;
  /** Ends every client that was opened. */
  closeClients(): Promise<void>;
  close(): Promise<void>;
}

function optionsOf({ url }: Pick<Starling, 'url'>, backend: Backend, who: Who): Options {
  const { hostname, port } = new URL(url);
  const query = new URLSearchParams({
    user: who.user ?? '',
    ...(who.watchlist && { watchlist: who.watchlist.join(',') }),
    ...(who.isRefused === true && { refuse: '' }),
  });
  return {
    cluster: '',
    wsHost: hostname,
    wsPort: Number(port),
    forceTLS: false,
    enabledTransports: ['ws'],
    channelAuthorization: { endpoint: `${backend.url}/channel-auth?${query}`, transport: 'ajax' },
    userAuthentication: { endpoint: `${backend.url}/user-auth?${query}`, transport: 'ajax' },
  };
}

/**
 * Makes a client and passes on what it tells. Runs in Node and in pages: it may use nothing but its arguments, and
 * what it passes on must be JSON.
 */
function openClient(
  PusherHere: typeof Pusher.default,
  key: string,
  options: Options,
  tell: (told: Told) => void,
): Pusher.default {
  const pusher = new PusherHere(key, options);
  pusher.connection.bind('state_change', ({ current }: { current: string }) => {
    tell({ event: 'state', on: '', data: current });
  });
  // Within another where the connection was refused, by itself where it lives on.
  pusher.connection.bind('error', (error: { data?: unknown; error?: { data?: unknown } }) => {
    tell({ event: 'error', on: '', data: error.error?.data ?? error.data ?? null });
  });
  pusher.user.bind_global((event: string, data: unknown) => tell({ event, on: 'user', data }));
  pusher.user.watchlist.bind_global((event: string, data: unknown) => tell({ event, on: 'watchlist', data }));
  const subscribe = pusher.subscribe.bind(pusher);
  pusher.subscribe = (name) => {
    const isKnown = pusher.channel(name) !== undefined;
    const channel = subscribe(name);
    if (isKnown) return channel;
    channel.bind_global((event: string, data: unknown) => {
      if (!event.startsWith('client-')) tell({ event, on: name, data: JSON.parse(JSON.stringify(data ?? null)) });
    });
    // Only listeners of one event are told who sent it.
    for (const event of ['client-event', 'client-other']) {
      channel.bind(event, (data: unknown, sender?: { user_id?: string }) => {
        tell({ event, on: name, data, ...(sender?.user_id !== undefined && { userId: sender.user_id }) });
      });
    }
    return channel;
  };
  return pusher;
}

const require = createRequire(import.meta.url);

export function nodePlace(starling: Pick<Starling, 'url' | 'app'>, backend: Backend): Promise<Place> {
  return placeInNode(require('pusher-js') as typeof Pusher.default, {}, starling, backend);
}

/** Ours, used as if it were pusher-js: that is what it promises. */
export function starlingInNode(starling: Pick<Starling, 'url' | 'app'>, backend: Backend): Promise<Place> {
  return placeInNode(StarlingClient as unknown as typeof Pusher.default, { WebSocket, nacl }, starling, backend);
}

async function placeInNode(
  PusherHere: typeof Pusher.default,
  more: object,
  starling: Pick<Starling, 'url' | 'app'>,
  backend: Backend,
): Promise<Place> {
  const clients = new Set<Pusher.default>();
  const closeClients = async () => {
    for (const pusher of clients) pusher.disconnect();
    clients.clear();
  };
  return {
    canDecrypt: true,
    open: async (who = {}) => {
      const client: Client = new Client(async (action, args) => action(pusher, ...args));
      const options = { ...optionsOf(starling, backend, who), ...more };
      const pusher = openClient(PusherHere, who.key ?? starling.app.key, options, (told) => client.tell(told));
      clients.add(pusher);
      return client;
    },
    closeClients,
    close: closeClients,
  };
}

export async function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: inject('chromiumPath'),
    // Chromium refuses its sandbox to root, which is who runs tests in a container.
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
  });
}

/** One page, in which every client lives. */
export async function pagePlace(
  browser: Browser,
  build: Build,
  starling: Pick<Starling, 'url' | 'app'>,
  backend: Backend,
): Promise<Place> {
  const page: Page = await browser.newPage();
  const clients: Client[] = [];
  await page.exposeFunction('tell', (index: number, told: Told) => clients[index]?.tell(told));
  await page.goto(backend.pageUrl(build));
  await page.evaluate('globalThis.pushers = []');
  return {
    canDecrypt: build !== 'pusher',
    open: async (who = {}) => {
      const index = clients.length;
      const client = new Client((action, args) =>
        page.evaluate(`(${action})(pushers[${index}], ...${JSON.stringify(args)})`),
      );
      clients.push(client);
      const [key, options] = [who.key ?? starling.app.key, optionsOf(starling, backend, who)].map((value) =>
        JSON.stringify(value),
      );
      await page.evaluate(
        `void (pushers[${index}] = (${openClient})(Pusher, ${key}, ${options}, (told) => tell(${index}, told)))`,
      );
      return client;
    },
    closeClients: () => page.evaluate('for (const pusher of pushers) pusher.disconnect()'),
    close: () => page.close(),
  };
}
