/** The page that a start links to, in a real browser: what it shows, what it asks for, and that it asks nobody else. */
import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openProgram, type Program, type Starling } from '../../testing/program.ts';
import { RedisServer } from '../../testing/redis-server.ts';
import { serverLibrary } from './backend.ts';
import { launchBrowser } from './client.ts';

let program: Program;
let browser: Browser;
let starling: Starling;
beforeAll(async () => {
  program = openProgram();
  [browser, starling] = await Promise.all([launchBrowser(), program.start()]);
});
afterAll(async () => {
  await browser?.close();
  await program?.close();
});

interface Visit {
  readonly page: Page;
  /** What the console, the page and its policy complained of. */
  readonly faults: string[];
  /** The origins of all that was asked for. */
  readonly origins: Set<string>;
  close(): Promise<void>;
}

async function visit(url: string, options: Parameters<Browser['newContext']>[0] = {}): Promise<Visit> {
  const context: BrowserContext = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const faults: string[] = [];
  const origins = new Set<string>();
  page.on('console', (message) => faults.push(message.text()));
  page.on('pageerror', (err) => faults.push(String(err)));
  page.on('requestfailed', (failed) => faults.push(`${failed.url()} ${failed.failure()?.errorText}`));
  page.on('request', (asked) => origins.add(new URL(asked.url()).origin));
  page.on('websocket', (socket) => origins.add(new URL(socket.url()).origin.replace(/^ws/, 'http')));
  // As text: it runs in the page, whose names are not ours.
  await page.addInitScript(`document.addEventListener('securitypolicyviolation', (event) => {
    console.error('CSP ' + event.violatedDirective + ' ' + event.blockedURI);
  });`);
  await page.goto(url);
  return { page, faults, origins, close: () => context.close() };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

const pageOf = ({ url, app }: Pick<Starling, 'url' | 'app'>, key = app.key) => `${url}/?app=${app.id}&key=${key}`;

describe('[OP31] the page', () => {
  test.each([
    [390, 'light'],
    [390, 'dark'],
    [1280, 'light'],
    [1280, 'dark'],
  ] as const)('connects, and shows an event that REST publishes, at %i px in %s', async (width, colorScheme) => {
    const { page, faults, origins, close } = await visit(pageOf(starling), {
      viewport: { width, height: 800 },
      colorScheme,
    });
    await page.getByText('Connected', { exact: true }).waitFor();
    await page.getByText('Waiting for an event on my-channel').waitFor();
    await serverLibrary(starling).trigger('my-channel', 'order.accepted', { order: '88213', html: '<b>x</b>' });
    await page.getByText('order.accepted').waitFor();
    expect(await page.locator('#list pre').textContent()).toContain('"html": "<b>x</b>"');
    // Nothing sticks out to the side.
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
    const folder = process.env['STARLING_SCREENSHOTS'];
    if (folder !== undefined) await page.screenshot({ path: `${folder}/${width}-${colorScheme}.png`, fullPage: true });
    expect(faults).toEqual([]);
    expect([...origins]).toEqual([starling.url]);
    await close();
  });

  test('is used by keyboard alone: key, channel, connect, tabs', async () => {
    const { page, faults, close } = await visit(starling.url);
    // Without a key it asks for one, at once.
    expect(await page.evaluate('document.activeElement.id')).toBe('key');
    await page.keyboard.press('Enter');
    await page.getByText('Give the key of an app').waitFor();
    expect(await page.locator('#key').getAttribute('aria-invalid')).toBe('true');
    await page.keyboard.type(starling.app.key);
    await page.keyboard.press('Tab');
    await page.keyboard.press('ControlOrMeta+A');
    await page.keyboard.type('private-x');
    await page.keyboard.press('Enter');
    await page.getByText('Private and presence channels take a signature').waitFor();
    await page.keyboard.press('ControlOrMeta+A');
    await page.keyboard.type('my-room');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.getByText('Waiting for an event on my-room').waitFor();
    expect(new URL(page.url()).search).toBe(`?key=${starling.app.key}&channel=my-room`);
    await serverLibrary(starling).trigger('my-room', 'typed', 'plain text');
    await page.getByText('plain text').waitFor();

    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.id')).toBe('clear');
    await page.keyboard.press('Tab');
    expect(await page.evaluate('document.activeElement.id')).toBe('tab-curl');
    await page.keyboard.press('ArrowRight');
    expect(await page.evaluate('document.activeElement.id')).toBe('tab-pusher');
    expect(await page.locator('#snippet').textContent()).toContain("await pusher.trigger('my-room'");
    expect(faults).toEqual([]);
    await close();
  });

  test('says that its key is wrong, and connects when it is corrected', async () => {
    const { page, close } = await visit(pageOf(starling, 'no-such-key'));
    await page.getByText('No app has the key “no-such-key” (4001)').waitFor();
    await page.getByText('Refused', { exact: true }).waitFor();
    await page.locator('#key').fill(starling.app.key);
    await page.keyboard.press('Enter');
    await page.getByText('Connected', { exact: true }).waitFor();
    expect(await page.locator('#problem').isVisible()).toBe(false);
    await close();
  });

  test('says that its app is disabled', async () => {
    const own = await program.start();
    const { email, password } = { email: 'owner@example.com', password: 'a long enough sentence' };
    const token = /setup\?token=([\w-]+)/.exec(own.stdout())?.[1] ?? '';
    const form = new URLSearchParams({ token, name: 'Owner', email, password });
    const made = await fetch(`${own.url}/setup`, { method: 'POST', body: form, redirect: 'manual' });
    const cookie = (made.headers.getSetCookie()[0] ?? '').split(';')[0] ?? '';
    const disabled = await fetch(`${own.url}/api/v1/apps/${own.app.id}`, {
      method: 'PATCH',
      headers: { cookie, 'content-type': 'application/json', origin: own.url },
      body: '{"isEnabled":false}',
    });
    expect(disabled.status, await disabled.text()).toBe(200);
    const { page, close } = await visit(pageOf(own));
    await page.getByText('This app is disabled (4003)').waitFor();
    await page.getByText('Refused', { exact: true }).waitFor();
    await close();
  });

  test('says that the server is away, and comes back with it', async () => {
    const cwd = program.makeFolder();
    const first = await program.start({ cwd, env: { STARLING_DRAIN_SECONDS: '0' } });
    const { page, close } = await visit(pageOf(first));
    await page.getByText('Connected', { exact: true }).waitFor();
    first.child.kill('SIGKILL');
    await first.ended;
    await page.getByText('Server away, reconnecting…').waitFor();
    const second = await program.start({ cwd, env: { STARLING_PORT: new URL(first.url).port } });
    await page.getByText('Connected', { exact: true }).waitFor({ timeout: 40_000 });
    await page.getByText('Waiting for an event on my-channel').waitFor();
    await serverLibrary({ url: second.url, app: first.app }).trigger('my-channel', 'after', {});
    await page.getByText('after', { exact: true }).waitFor();
    await close();
  });

  test('works behind a proxy that serves a path prefix, with and without the slash', async () => {
    const own = await program.start({ env: { STARLING_PATH_PREFIX: '/realtime' } });
    const port = new URL(own.url).port;
    // Passes on nothing but what is below the prefix.
    const proxy = createServer((req, res) => {
      if (!/^\/realtime(?=[/?]|$)/.test(req.url ?? '')) return void res.writeHead(404).end();
      const { url, method, headers } = req;
      request({ port, path: url, method, headers }, (answer) => {
        res.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(res);
      }).end();
    });
    proxy.on('upgrade', (req, socket) => {
      if (!req.url?.startsWith('/realtime/')) return void socket.destroy();
      const asked = request({ port, path: req.url, headers: req.headers }).end();
      asked.on('upgrade', (answer, upstream, first) => {
        const lines = Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}\r\n`);
        socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('')}\r\n`);
        socket.write(first);
        socket.on('error', () => upstream.destroy()).pipe(upstream);
        upstream.on('error', () => socket.destroy()).pipe(socket);
      });
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    const origin = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    for (const start of ['/realtime/', '/realtime']) {
      const { page, faults, close } = await visit(`${origin}${start}?key=${own.app.key}`);
      await page.getByText('Connected', { exact: true }).waitFor();
      expect(new URL(page.url()).pathname).toBe('/realtime/');
      expect(await page.locator('#snippet').textContent()).toContain(`${origin}/realtime/apps/`);
      expect(faults).toEqual([]);
      await close();
    }
    proxy.closeAllConnections();
    proxy.close();
  });
});

describe('[OP31] what the page is made of', () => {
  test('is served by no program but start', async () => {
    const redis = await RedisServer.start();
    try {
      const port = await freePort();
      const app = { STARLING_APP_ID: '7', STARLING_APP_KEY: 'k', STARLING_APP_SECRET: 's' };
      for (const part of ['edge', 'api']) {
        const run = program.run([part], { env: { ...app, REDIS_URL: redis.url, STARLING_PORT: String(port) } });
        await run.said('"msg":"Ready"');
        for (const path of ['/', '/starling.min.js', '/demo/page.js']) {
          expect([part, path, (await fetch(`http://127.0.0.1:${port}${path}`)).status]).toEqual([part, path, 404]);
        }
        run.child.kill('SIGKILL');
        await run.ended;
      }
    } finally {
      await redis.remove();
    }
  });

  test('has a policy of this origin alone, and is framed by nobody', async () => {
    const { status, headers } = await fetch(`${starling.url}/`);
    expect(status).toBe(200);
    const policy = headers.get('content-security-policy') ?? '';
    expect(policy).not.toMatch(/unsafe|https?:|\*|data:/);
    for (const part of ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"]) {
      expect(policy.split('; ')).toContain(part);
    }
    expect(Object.fromEntries(headers)).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'x-frame-options': 'DENY',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
    });
  });

  test('is sent again only when it has changed', async () => {
    const html = await (await fetch(`${starling.url}/`)).text();
    const named = [...html.matchAll(/(?:src|href)="([^"#]+)"/g)].map(([, path = '']) => path);
    expect(named).toContainEqual(expect.stringMatching(/^starling\.min\.js\?v=[0-9a-f]{16}$/));
    for (const path of named) {
      const { status, headers } = await fetch(`${starling.url}/${path}`);
      expect([path, status, headers.get('cache-control')]).toEqual([path, 200, 'public, max-age=31536000, immutable']);
    }
    const plain = await fetch(`${starling.url}/starling.min.js`);
    expect(plain.headers.get('content-type')).toBe('text/javascript; charset=utf-8');
    expect(plain.headers.get('cache-control')).toBe('public, no-cache');
    expect(await plain.text()).toContain('Starling');
    const etag = plain.headers.get('etag') ?? '';
    const again = await fetch(`${starling.url}/starling.min.js`, { headers: { 'if-none-match': etag } });
    expect([again.status, await again.text()]).toEqual([304, '']);
  });
});
