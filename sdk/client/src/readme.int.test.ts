/** What the documents tell people to write, run as it is written, with the package as it is published. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Starling as Backend } from '@starling/server';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { openProgram, type Program, type Starling as Server } from '../../../infra/testing/program.ts';

const folder = mkdtempSync(join(tmpdir(), 'starling-readme-'));
const out = join(folder, 'node_modules/@starling/client');
let program: Program;
let server: Server;
let backend: Backend;
let browser: Browser;
let files: HttpServer;
const pages = new Map<string, string>();

beforeAll(async () => {
  mkdirSync(out, { recursive: true });
  execFileSync(process.execPath, [join(import.meta.dirname, '../build.mjs'), out], { stdio: 'pipe' });
  program = openProgram();
  server = await program.start({ env: { STARLING_LOG_LEVEL: 'warn' } });
  const { id, key, secret } = server.app;
  backend = new Backend({ appId: id, key, secret, url: server.url });
  files = createServer(({ url = '/' }, response) => {
    const page = pages.get(url);
    if (page !== undefined) response.setHeader('content-type', 'text/html').end(page);
    else if (/^\/[\w.-]+\.(?:m?js)$/.test(url)) {
      response.setHeader('content-type', 'text/javascript').end(readFileSync(join(out, url)));
    } else response.writeHead(url === '/favicon.ico' ? 204 : 404).end();
  });
  await new Promise<void>((resolve) => files.listen(0, '127.0.0.1', resolve));
  browser = await chromium.launch({
    executablePath: inject('chromiumPath'),
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
  });
}, 180_000);
afterAll(async () => {
  await browser?.close();
  files?.close();
  await program?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The scripts of a document, with the key and the address of a server that is there. */
function scriptsOf(document: string): string[] {
  const text = readFileSync(document, 'utf8');
  return [...text.matchAll(/```js\n([^`]*)```/g)].map(([, script = '']) => {
    return script
      .replace('YOUR_APP_KEY', server.app.key)
      .replace(/http:\/\/localhost:6001|https:\/\/realtime\.example\.com/, server.url);
  });
}

const imports = { '@starling/client': '/index.mjs', '@starling/client/shared': '/shared.mjs' };
const limit = { timeout: 15_000 };

/** A page whose module is the script. */
async function run(script: string): Promise<{ page: Page; connected: Promise<unknown>; said: string[] }> {
  const path = `/page-${pages.size}`;
  pages.set(
    path,
    `<!doctype html><meta charset="utf-8"><script type="importmap">${JSON.stringify({ imports })}</script>
     <script type="module">${script}</script>`,
  );
  const page = await browser.newPage();
  const said: string[] = [];
  page.on('console', (message) => said.push(message.text()));
  page.on('pageerror', (error) => said.push(String(error)));
  const connected = page.waitForEvent('websocket', limit).then((socket) =>
    socket.waitForEvent('framereceived', {
      ...limit,
      predicate: ({ payload }) => String(payload).includes('subscription_succeeded'),
    }),
  );
  await page.goto(`http://127.0.0.1:${(files.address() as AddressInfo).port}${path}`);
  return { page, connected, said };
}

test('the quick start prints what the backend triggers', async () => {
  const [quickStart = ''] = scriptsOf(join(out, 'README.md'));
  expect(quickStart).toContain(server.url);
  const { page, connected, said } = await run(quickStart);
  await connected;
  const [message] = await Promise.all([
    page.waitForEvent('console', { ...limit, predicate: (each) => each.type() === 'log' }),
    backend.trigger('orders', 'created', { id: 7 }),
  ]);
  expect(await message.args()[0]?.jsonValue()).toEqual({ id: 7 });
  expect(said).toEqual([expect.stringContaining('id')]);
});

test('the quick start tells what is wrong with a wrong key', async () => {
  const [quickStart = ''] = scriptsOf(join(out, 'README.md'));
  const { page, connected } = await run(quickStart.replace(server.app.key, 'wrong'));
  connected.catch(() => undefined);
  const message = await page.waitForEvent('console', limit);
  expect(message.text()).toMatch(/^app_unknown .* Compare key and host/);
});

test.each([
  ['README.md', 1],
  ['../../docs/tabs.md', 0],
  ['../../docs/tabs.md', 1],
])('one connection for all tabs, as %s writes it', async (document, index) => {
  const script = scriptsOf(join(import.meta.dirname, '..', document))[index] ?? '';
  expect(script).toContain('shareConnection');
  const { page, connected, said } = await run(`${script}\nglobalThis.starling = starling;`);
  // A worker's socket is none of the page.
  connected.catch(() => undefined);
  await page.waitForFunction(`globalThis.starling?.connection.state === 'connected'`, undefined, limit);
  // By a Web Lock: it is not by falling back that it works.
  const held = `navigator.locks.query().then(({ held }) => held.filter(({ name }) => name.startsWith('starling ')).length)`;
  await page.waitForFunction(`${held}.then((count) => count === 2)`, undefined, limit);
  expect(said).toEqual([]);
});

test('a test with the server in memory, as the guide for those who come from Pusher writes it', async () => {
  const script = scriptsOf(join(import.meta.dirname, '../../../docs/migrating-from-pusher.md')).at(-1) ?? '';
  expect(script).toContain('TestServer');
  const file = join(folder, 'test-server.mjs');
  writeFileSync(file, `${script}\nstarling.disconnect();`);
  const { stdout } = await promisify(execFile)(process.execPath, [file], { timeout: 20_000 });
  expect(stdout).toBe('{ id: 7 }\n');
});
