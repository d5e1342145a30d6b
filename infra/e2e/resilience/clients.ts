/** The official client in four major versions side by side, in Node and in Chromium, each with a record of what befell it. */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { Browser } from 'playwright-core';
import Pusher from 'pusher';
import type PusherClient from 'pusher-js';
import { WebSocket } from 'ws';
import type { Credentials } from '../../testing/program.ts';
import { eventually } from '../cluster/cluster.ts';

const packages = { 3: 'pusher-js-3', 5: 'pusher-js-5', 7: 'pusher-js-7', 8: 'pusher-js' } as const;
export type Major = keyof typeof packages;
export const majors: readonly Major[] = [3, 5, 7, 8];

export const room = 'room';
export const hall = 'presence-hall';

/** One thing that befell a client; `atMs` is the wall clock's, the same for pages and for this process. */
export type ClientRecord =
  | { readonly atMs: number; readonly kind: 'state'; readonly state: string }
  | { readonly atMs: number; readonly kind: 'opened' }
  /** Of a socket that was open, or was refused: then it has no code. */
  | { readonly atMs: number; readonly kind: 'closed'; readonly code: number | null; readonly wasClean: boolean }
  | { readonly atMs: number; readonly kind: 'subscribed'; readonly channel: string }
  | { readonly atMs: number; readonly kind: 'event'; readonly id: string };

export interface ClientOptions {
  readonly major: Major;
  readonly place: 'node' | 'page';
  /** Where it connects, such as `http://127.0.0.1:6001`. */
  readonly url: string;
  /** Its user in the presence channel. */
  readonly user: string;
  /** `all`: with the fallbacks over HTTP, too, which it expects at the same address. */
  readonly transports?: 'ws' | 'all';
  readonly channels?: readonly string[];
  /** What the figures are grouped by, such as the proxy's name. */
  readonly group?: string;
}

export interface Client extends Required<ClientOptions> {
  /** Everything until now. */
  records(): Promise<readonly ClientRecord[]>;
  close(): Promise<void>;
}

type AnyPusher = PusherClient.default & { timeline: { log(level: number, event: object): void } };
type AnyPusherClass = new (key: string, options: object) => AnyPusher;

/** Makes a client and keeps its record. Runs in Node and in pages: it may use nothing but its arguments. */
function openClient(
  PusherHere: AnyPusherClass,
  key: string,
  options: object,
  channels: readonly string[],
  records: ClientRecord[],
): AnyPusher {
  const pusher = new PusherHere(key, options);
  const { timeline } = pusher;
  const log = timeline.log.bind(timeline);
  // What becomes of each socket only the client's own diary says: its state stays "connected" while it waits to retry.
  timeline.log = (level, event) => {
    const { cid, state, params } = event as {
      cid?: number;
      state?: string;
      params?: { code?: number; wasClean?: boolean };
    };
    if (cid !== undefined && state === 'open') records.push({ atMs: Date.now(), kind: 'opened' });
    if (cid !== undefined && state === 'closed') {
      const { code = null, wasClean = false } = params ?? {};
      records.push({ atMs: Date.now(), kind: 'closed', code, wasClean });
    }
    log(level, event);
  };
  pusher.connection.bind('state_change', ({ current }: { current: string }) => {
    records.push({ atMs: Date.now(), kind: 'state', state: current });
  });
  // The client throws where an error has no listener.
  pusher.connection.bind('error', () => undefined);
  for (const channel of channels) {
    const subscription = pusher.subscribe(channel);
    subscription.bind('pusher:subscription_succeeded', () => {
      records.push({ atMs: Date.now(), kind: 'subscribed', channel });
    });
    subscription.bind('published', ({ id }: { id: string }) => {
      records.push({ atMs: Date.now(), kind: 'event', id });
    });
  }
  return pusher;
}

const require = createRequire(import.meta.url);

/** Serves the pages with their client, and signs for the presence channel whatever user the query names. */
export class ClientHost {
  readonly #app: Credentials;
  readonly #browser: Browser;
  readonly #url: string;
  readonly #closeServer: () => Promise<void>;
  readonly #clients: Client[] = [];

  private constructor(app: Credentials, browser: Browser, url: string, closeServer: () => Promise<void>) {
    this.#app = app;
    this.#browser = browser;
    this.#url = url;
    this.#closeServer = closeServer;
  }

  static async open(app: Credentials, browser: Browser): Promise<ClientHost> {
    const signer = new Pusher({ appId: app.id, key: app.key, secret: app.secret, host: '127.0.0.1' });
    const server = createServer((req, res) => {
      answer(req, signer).then(
        ({ type, body }) => res.setHeader('content-type', type).end(body),
        (err: unknown) => res.writeHead(500).end(String(err)),
      );
    });
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return new ClientHost(app, browser, url, async () => {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    });
  }

  /** Not yet connected, perhaps. */
  async open(options: ClientOptions): Promise<Client> {
    const full = { transports: 'ws', group: '', channels: [room, hall], ...options } as const;
    const client = await (options.place === 'node' ? this.#inNode(full) : this.#inPage(full));
    this.#clients.push(client);
    return client;
  }

  /** Closes every client, then the server. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#clients.map((client) => client.close()));
    await this.#closeServer();
  }

  #optionsOf({ url, user, transports }: Required<ClientOptions>): object {
    const { hostname, port } = new URL(url);
    return {
      cluster: '',
      wsHost: hostname,
      wsPort: Number(port),
      // Nothing is there: where the client is left all its transports, it must fail there without a query to the world.
      wssPort: 1,
      httpHost: hostname,
      httpPort: Number(port),
      httpsPort: 1,
      forceTLS: false,
      enableStats: false,
      disableStats: true,
      authEndpoint: `${this.#url}/auth?user=${user}`,
      ...(transports === 'ws' && { enabledTransports: ['ws'] }),
    };
  }

  async #inNode(options: Required<ClientOptions>): Promise<Client> {
    const PusherHere = require(`${packages[options.major]}/dist/node/pusher.js`) as AnyPusherClass;
    const records: ClientRecord[] = [];
    const pusher = openClient(PusherHere, this.#app.key, this.#optionsOf(options), options.channels, records);
    return { ...options, records: async () => records, close: async () => pusher.disconnect() };
  }

  /** In a context of its own: clients remember in `localStorage` which transport served them last. */
  async #inPage(options: Required<ClientOptions>): Promise<Client> {
    const context = await this.#browser.newContext();
    const page = await context.newPage();
    await page.goto(`${this.#url}/page?major=${options.major}`);
    const given = [this.#app.key, this.#optionsOf(options), options.channels].map((value) => JSON.stringify(value));
    await page.evaluate(
      `globalThis.records = []; void (globalThis.pusher = (${openClient})(Pusher, ${given.join(', ')}, records))`,
    );
    return {
      ...options,
      records: () => page.evaluate('records') as Promise<ClientRecord[]>,
      close: () => context.close(),
    };
  }
}

/** Resolves when each is in all its channels. */
export async function untilInChannels(clients: readonly Client[]): Promise<void> {
  await eventually('all are in their channels', 40_000, async () => {
    const isIn = await Promise.all(
      clients.map(async (client) => {
        const subscribed = (await client.records()).filter(({ kind }) => kind === 'subscribed');
        return subscribed.length >= client.channels.length;
      }),
    );
    return isIn.every(Boolean) || `${isIn.filter((is) => !is).length} are not`;
  });
}

async function answer(req: IncomingMessage, signer: Pusher): Promise<{ type: string; body: string }> {
  const { pathname, searchParams } = new URL(req.url ?? '/', 'http://host');
  const major = Number(searchParams.get('major')) as Major;
  if (pathname === '/pusher.js') {
    const file = require.resolve(`${packages[major]}/dist/web/pusher.min.js`);
    return { type: 'text/javascript', body: readFileSync(file, 'utf8') };
  }
  if (pathname === '/page') {
    const body = `<!doctype html><link rel="icon" href="data:,"><script src="/pusher.js?major=${major}"></script>`;
    return { type: 'text/html', body };
  }
  const form = new URLSearchParams(await text(req));
  const user = searchParams.get('user') ?? '';
  const signed = signer.authorizeChannel(form.get('socket_id') ?? '', form.get('channel_name') ?? '', {
    user_id: user,
  });
  return { type: 'application/json', body: JSON.stringify(signed) };
}

/** Connects and then does nothing but answer pings of the WebSocket protocol, as clients without one of their own do. */
export class SilentClient {
  closeCode: number | undefined;
  readonly #socket: WebSocket;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('close', (code) => {
      this.closeCode = code;
    });
  }

  static async open(url: string, key: string): Promise<SilentClient> {
    const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/app/${key}?protocol=7&client=silent&version=0`);
    await new Promise<void>((resolve, reject) => {
      socket.once('message', () => resolve());
      socket.once('error', reject);
    });
    return new SilentClient(socket);
  }

  close(): void {
    this.#socket.terminate();
  }
}
