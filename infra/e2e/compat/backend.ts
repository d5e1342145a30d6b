/** What a user of Starling has beside it: a backend that publishes, authorises its clients and serves their page. */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import Pusher from 'pusher';
import type { Starling } from '../../testing/program.ts';

const resolve = createRequire(import.meta.url).resolve;

export type Build = 'pusher' | 'pusher-with-encryption' | 'starling' | 'starling-esm';

/** What a page needs for its `Pusher`. */
const heads: Record<Build, string> = {
  pusher: '<script src="/pusher.js"></script>',
  'pusher-with-encryption': '<script src="/pusher-with-encryption.js"></script>',
  starling:
    '<script src="/client/starling.min.js"></script><script src="/client/starling-encrypted.min.js"></script>' +
    '<script>class Pusher extends Starling { constructor(key, options) { super(key, { ...options, nacl: StarlingEncrypted.nacl }); } }</script>',
  'starling-esm':
    '<script type="module">import { Starling } from "/client/index.mjs"; import { nacl } from "/client/encrypted.mjs";' +
    'globalThis.Pusher = class extends Starling { constructor(key, options) { super(key, { ...options, nacl }); } }</script>',
};

export interface Backend {
  readonly url: string;
  /** The official server library, unmodified. */
  readonly pusher: Pusher;
  /** The page that loads a build of the official client. */
  pageUrl(build: Build): string;
  close(): Promise<void>;
}

export function serverLibrary({ url, app }: Pick<Starling, 'url' | 'app'>): Pusher {
  const { hostname, port } = new URL(url);
  return new Pusher({
    appId: app.id,
    key: app.key,
    secret: app.secret,
    host: hostname,
    port,
    useTLS: false,
    encryptionMasterKeyBase64: Buffer.alloc(32, 'k').toString('base64'),
  });
}

/**
 * It believes of its clients what they say in the query: `user`, `watchlist`. With `refuse` it signs wrongly. Our own
 * client is served from the folder it was built in.
 */
export async function openBackend(starling: Pick<Starling, 'url' | 'app'>, clientFolder?: string): Promise<Backend> {
  const pusher = serverLibrary(starling);
  const forger = serverLibrary({ ...starling, app: { ...starling.app, secret: 'wrong' } });

  async function answer(req: IncomingMessage): Promise<{ type: string; body: string }> {
    const { pathname, searchParams } = new URL(req.url ?? '/', 'http://backend');
    const script = /^\/(pusher|pusher-with-encryption)\.js$/.exec(pathname)?.[1];
    if (script !== undefined) {
      return { type: 'text/javascript', body: readFileSync(resolve(`pusher-js/dist/web/${script}.js`), 'utf8') };
    }
    if (pathname === '/') {
      const head = heads[searchParams.get('build') as Build];
      return { type: 'text/html', body: `<!doctype html><link rel="icon" href="data:,">${head}` };
    }
    const own = /^\/client\/([\w.-]+\.m?js)$/.exec(pathname)?.[1];
    if (own !== undefined && clientFolder !== undefined) {
      return { type: 'text/javascript', body: readFileSync(join(clientFolder, own), 'utf8') };
    }
    const form = new URLSearchParams(await text(req));
    const [socketId, channel] = [form.get('socket_id') ?? '', form.get('channel_name') ?? ''];
    const user = searchParams.get('user') ?? '';
    const signer = searchParams.has('refuse') ? forger : pusher;
    const watchlist = searchParams.get('watchlist')?.split(',');
    const signed =
      pathname === '/user-auth'
        ? signer.authenticateUser(socketId, {
            id: user,
            user_info: { name: `User ${user}` },
            ...(watchlist && { watchlist }),
          })
        : channel.startsWith('presence-')
          ? signer.authorizeChannel(socketId, channel, { user_id: user, user_info: { name: `User ${user}` } })
          : signer.authorizeChannel(socketId, channel);
    return { type: 'application/json', body: JSON.stringify(signed) };
  }

  const server = createServer((req, res) => {
    answer(req).then(
      ({ type, body }) => res.setHeader('content-type', type).end(body),
      (err: unknown) => res.writeHead(500).end(String(err)),
    );
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    pusher,
    pageUrl: (build) => `${url}/?build=${build}`,
    close: async () => {
      server.closeAllConnections();
      await new Promise((ended) => server.close(ended));
    },
  };
}
