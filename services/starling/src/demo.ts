/** The page at `/` and the client that it loads, both from this server: it needs nothing from elsewhere. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

/** Beside the bundle, where the build puts the client, too; or beside this file, without it. */
const folder = fileURLToPath(new URL('./demo', import.meta.url));

const types = {
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
  woff2: 'font/woff2',
} as const;

/** Where each file is served. The page names them relative to itself, so that a path prefix does no harm. */
const assets = {
  'starling.min.js': 'starling.min.js',
  'demo/page.js': 'page.js',
  'demo/page.css': 'page.css',
  'demo/icon.svg': 'icon.svg',
  'demo/geist.woff2': 'geist.woff2',
  'demo/geist-mono.woff2': 'geist-mono.woff2',
} as const;

const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "font-src 'self'",
  "img-src 'self'",
  // That of this origin, which holds for its WebSockets, too.
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join('; ');

const everywhere = { 'x-content-type-options': 'nosniff' } as const;

const pageHeaders = {
  ...everywhere,
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-cache',
  'content-security-policy': policy,
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
} as const;

interface Asset {
  readonly body: Buffer;
  readonly digest: string;
}

/** `GET /`, `/starling.min.js` and what the page is made of. All of it is read once, when it is mounted. */
export async function demo(server: FastifyInstance): Promise<void> {
  const digests = new Map<string, string>();
  for (const [path, file] of Object.entries(assets)) {
    // Where the program runs from its source, nobody has built the client.
    if (!existsSync(join(folder, file))) continue;
    const asset = read(file);
    digests.set(path, asset.digest);
    const type = types[file.slice(file.lastIndexOf('.') + 1) as keyof typeof types];
    const headers = {
      ...everywhere,
      'content-type': type,
      // Pages of other origins load the client from here.
      ...(file === 'starling.min.js' && {
        'cross-origin-resource-policy': 'cross-origin',
        'access-control-allow-origin': '*',
      }),
    };
    server.get(`/${path}`, (request, reply) => {
      // With its digest in the address it never changes; by its plain name it is asked for again each time.
      const isNamed = (request.query as Record<string, unknown>)['v'] === asset.digest;
      return answer(request, reply, asset, {
        ...headers,
        'cache-control': isNamed ? 'public, max-age=31536000, immutable' : 'public, no-cache',
      });
    });
  }
  const page = withDigests(read('page.html').body.toString(), digests);
  server.get('/', (request, reply) => {
    const [path = '', query] = request.originalUrl.split('?');
    // `/realtime` without a slash at its end: what the page names would be looked for beside it, not below it.
    if (!path.endsWith('/')) {
      const below = `${path.slice(path.lastIndexOf('/') + 1)}/`;
      return reply
        .code(308)
        .header('location', `${below}${query === undefined ? '' : `?${query}`}`)
        .send();
    }
    return answer(request, reply, page, pageHeaders);
  });
}

function read(file: string): Asset {
  return assetOf(readFileSync(join(folder, file)));
}

function assetOf(body: Buffer): Asset {
  return { body, digest: createHash('sha256').update(body).digest('hex').slice(0, 16) };
}

function withDigests(html: string, digests: ReadonlyMap<string, string>): Asset {
  const named = html.replaceAll(/(?<= (?:src|href)=")[\w./-]+(?=")/g, (path) => {
    const digest = digests.get(path);
    return digest === undefined ? path : `${path}?v=${digest}`;
  });
  return assetOf(Buffer.from(named));
}

function answer(
  request: FastifyRequest,
  reply: FastifyReply,
  { body, digest }: Asset,
  headers: Readonly<Record<string, string>>,
): FastifyReply {
  const etag = `"${digest}"`;
  reply.headers({ ...headers, etag });
  const known = request.headers['if-none-match']?.split(',').map((each) => each.trim().replace(/^W\//, ''));
  return known?.includes(etag) || known?.includes('*') ? reply.code(304).send() : reply.send(body);
}
