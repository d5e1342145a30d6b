/** Pages of one browser that share a connection to a real server. */
import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Starling as Backend } from '@starling/server';
import { build } from 'esbuild';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest';
import { openProgram, type Program, type Starling as Server } from '../../../infra/testing/program.ts';

/** What runs in each page. */
const script = `
  import { Starling } from './index.ts';
  import { shareConnection, shareConnectionBy } from './shared.ts';
  globalThis.told = [];
  globalThis.open = (key, host, options = {}) => {
    globalThis.client = new Starling(key, {
      host, shareConnection: options.worker ? shareConnectionBy(options.worker) : shareConnection, retryMinMs: 100, ...options,
      channelAuthorization: { endpoint: '/auth', params: { user: options.user ?? 'ada' } },
      userAuthentication: { endpoint: '/signin', params: { user: options.user ?? 'ada' } },
    });
    client.connection.bind_global((event, data) => event !== 'message' && told.push([event, data]));
    client.connection.bind('error', ({ reason }) => told.push(['reason', reason]));
    client.user.bind_global((event, data) => told.push(['user ' + event, data]));
  };
  globalThis.join = (name) => {
    client.subscribe(name).bind_global((event, data) =>
      told.push([name + ' ' + event, event.startsWith('client-') || !event.startsWith('pusher') ? data : data?.count]));
  };
`;

const limitMs = 15_000;
let program: Program;
let server: Server;
let backend: Backend;
let files: HttpServer;
let origin: string;
let browser: Browser;
let context: BrowserContext;
/** Of each page that was opened, how many WebSockets it has opened. */
const sockets = new Map<Page, number>();

async function bundle(contents: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: import.meta.dirname, loader: 'ts' },
    bundle: true,
    write: false,
    format: 'iife',
  });
  return outputFiles[0]?.text ?? '';
}

beforeAll(async () => {
  program = openProgram();
  server = await program.start({
    env: { STARLING_LOG_LEVEL: 'warn', STARLING_APP_CLIENT_EVENTS: 'true' },
  });
  const { id, key, secret } = server.app;
  backend = new Backend({ appId: id, key, secret, url: server.url });
  const [inPage, inWorker] = await Promise.all([bundle(script), bundle(`import './shared-worker.ts'`)]);
  const page = `<!doctype html><meta charset="utf-8"><script>${inPage}</script>`;
  files = createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    const asked = new URLSearchParams(body);
    const [socketId, name, user] = [asked.get('socket_id') ?? '', asked.get('channel_name'), asked.get('user') ?? ''];
    if (request.url === '/auth' && name !== null) {
      const member = name.startsWith('presence-') ? { id: user } : undefined;
      response.end(JSON.stringify(await backend.authorizeChannel(socketId, name, member)));
    } else if (request.url === '/signin') {
      response.end(JSON.stringify(await backend.authenticateUser(socketId, { id: user })));
    } else if (request.url === '/starling-worker.js') {
      response.setHeader('content-type', 'text/javascript').end(inWorker);
    } else if (request.url !== '/') {
      response.writeHead(404).end();
    } else {
      response.setHeader('content-type', 'text/html').end(page);
    }
  });
  await new Promise<void>((resolve) => files.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(files.address() as AddressInfo).port}`;
  browser = await chromium.launch({
    executablePath: inject('chromiumPath'),
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
  });
});
afterEach(() => context?.close());
afterAll(async () => {
  await browser?.close();
  files?.close();
  await program?.close();
});

interface Given {
  readonly user?: string;
  readonly token?: string;
  /** The address of the worker's script. */
  readonly worker?: string;
}

async function openPage(given: Given = {}, prepare = '', where = context): Promise<Page> {
  const page = await where.newPage();
  sockets.set(page, 0);
  page.on('websocket', () => sockets.set(page, (sockets.get(page) ?? 0) + 1));
  if (prepare !== '') await page.addInitScript(prepare);
  await page.goto(origin);
  await page.evaluate(([key, host, options]) => (globalThis as unknown as Pages).open(key, host, options), [
    server.app.key,
    server.url,
    given,
  ] as const);
  await connected(page);
  return page;
}
interface Pages {
  open(key: string, host: string, options: Given): void;
  join(name: string): void;
  client: import('./index.ts').Starling;
  told: unknown[][];
}
const until = (page: Page, expression: string) => page.waitForFunction(expression, undefined, { timeout: limitMs });
const connected = (page: Page) => until(page, `client.connection.state === 'connected'`);
const told = (page: Page, event: string, data?: unknown) =>
  until(
    page,
    `told.some(([event, data]) => event === ${JSON.stringify(event)}${
      data === undefined ? '' : ` && JSON.stringify(data) === ${JSON.stringify(JSON.stringify(data))}`
    })`,
  );
const value = <T = unknown>(page: Page, expression: string) => page.evaluate(expression) as Promise<T>;
const socketId = (page: Page) => value<string>(page, 'client.connection.socket_id');
const counts = (pages: readonly Page[]) => pages.map((page) => sockets.get(page));

async function join(pages: readonly Page[], name: string): Promise<void> {
  await Promise.all(
    pages.map(async (page) => {
      await value(page, `join(${JSON.stringify(name)})`);
      await told(page, `${name} pusher:subscription_succeeded`);
    }),
  );
}
async function openThree(given?: Given): Promise<[Page, Page, Page]> {
  context = await browser.newContext();
  return [await openPage(given), await openPage(given), await openPage(given)];
}

test('three tabs have one connection, and each hears what it joined', async () => {
  const pages = await openThree();
  const [first, second, third] = pages;
  expect(counts(pages)).toEqual([1, 0, 0]);
  expect(new Set(await Promise.all(pages.map(socketId))).size).toBe(1);

  await join(pages, 'room');
  await join([first, second], 'private-room');
  await backend.trigger('room', 'order', 1);
  for (const page of pages) await told(page, 'room order', 1);
  await backend.trigger('private-room', 'order', 2);
  await told(second, 'private-room order', 2);

  // Left by one, it stays; left by the last, the connection leaves it.
  await value(first, `client.unsubscribe('private-room')`);
  await backend.trigger('private-room', 'order', 3);
  await told(second, 'private-room order', 3);
  await value(second, `client.unsubscribe('private-room')`);
  await join([third], 'private-room');
  await backend.trigger('private-room', 'order', 4);
  await told(third, 'private-room order', 4);
  const all = await Promise.all(
    pages.map((page) => value(page, `told.filter(([event]) => /order/.test(event)).map(([, data]) => data)`)),
  );
  expect(all).toEqual([
    [1, 2],
    [1, 2, 3],
    [1, 4],
  ]);
});

test('a tab that comes later is told who is present, and each leaves for itself', async () => {
  const pages = await openThree();
  const [first, second, third] = pages;
  const other = await browser.newContext();
  try {
    await join([first], 'presence-room');
    const bob = await openPage({ user: 'bob' }, '', other);
    await join([bob], 'presence-room');
    await told(first, 'presence-room pusher:member_added');
    await join([second, third], 'presence-room');
    const members = (page: Page) => value(page, `Object.keys(client.channel('presence-room').members.members).sort()`);
    for (const page of [...pages, bob]) expect(await members(page)).toEqual(['ada', 'bob']);

    await value(first, `client.unsubscribe('presence-room')`);
    await value(second, `client.channel('presence-room').trigger('client-typing', { n: 1 })`);
    for (const page of [third, bob]) await told(page, 'presence-room client-typing', { n: 1 });
    // Not joined by this tab, though by the connection.
    await value(first, `client.send_event('client-typing', { n: 2 }, 'presence-room')`);
    await told(first, 'reason');
    expect(await value(bob, `told.filter(([event]) => event.endsWith('client-typing')).length`)).toBe(1);
    expect(await value(second, `told.filter(([event]) => event.endsWith('client-typing')).length`)).toBe(0);

    // Not by a word, but by being closed.
    await second.close();
    await third.close();
    await told(bob, 'presence-room pusher:member_removed');
    expect(await members(bob)).toEqual(['bob']);
  } finally {
    await other.close();
  }
});

test('one sign-in is for all who sign in, and another user has a connection of his own', async () => {
  const [first, second, third] = await openThree();
  for (const page of [first, second]) {
    await value(page, 'client.signin()');
    await until(page, `client.user.user_data?.id === 'ada' && client.user.serverToUserChannel?.subscribed`);
  }
  await backend.sendToUser('ada', 'alert', 'hello');
  for (const page of [first, second]) await told(page, 'user alert', 'hello');
  expect(await value(third, `told.filter(([event]) => event.startsWith('user')).length`)).toBe(0);

  const bob = await openPage({ user: 'bob' });
  const shared = await socketId(first);
  await value(bob, 'client.signin()');
  await until(bob, `client.user.user_data?.id === 'bob'`);
  expect(await socketId(bob)).not.toBe(shared);
  expect(await socketId(first)).toBe(shared);
  // So does one whose backend says another member for the same channel.
  await join([first], 'presence-room');
  const eve = await openPage({ user: 'eve' });
  expect(await socketId(eve)).toBe(shared);
  await join([eve], 'presence-room');
  expect(await value(eve, `client.channel('presence-room').members.me.id`)).toBe('eve');
  expect(await socketId(eve)).not.toBe(shared);
});

test('what a tab may not join it does not join by the right of another', async () => {
  const [first, second] = await openThree();
  await join([first], 'private-room');
  await value(second, `client.connection.bind('message', (frame) => told.push(['frame', frame.event]))`);
  await value(second, `client.send_event('pusher:subscribe', { channel: 'private-room', auth: 'wrong:wrong' })`);
  await told(second, 'frame', 'pusher:subscription_error');
  await backend.trigger('private-room', 'order', 1);
  await told(first, 'private-room order', 1);
  // Whatever was on its way has come by then.
  await join([second], 'room');
  expect(await value(second, `told.filter(([, event]) => event === 'order').length`)).toBe(0);
});

test('tabs with tokens share where user and rights are the same, and are told of their own publishes', async () => {
  const capabilities = { 'private-room': ['subscribe', 'publish'] } as const;
  const token = (userId: string) => backend.createToken({ userId, capabilities });
  context = await browser.newContext();
  const first = await openPage({ token: await token('ada') });
  const second = await openPage({
    token: await backend.createToken({ userId: 'ada', capabilities, expiresInSeconds: 50 }),
  });
  const bob = await openPage({ token: await token('bob') });
  const anybody = await openPage();
  expect(counts([first, second, bob, anybody])).toEqual([1, 0, 1, 1]);
  await until(second, `client.user.user_data?.id === 'ada'`);

  for (const page of [first, second]) {
    await value(page, `client.subscribe('private-room').bind('order', (data) => told.push(['order', data]))`);
    await until(page, `client.channel('private-room').subscribed`);
  }
  const publish = (page: Page, data: number) =>
    value(page, `client.publish('private-room', 'order', ${data}).then(() => 'done')`);
  expect(await Promise.all([publish(first, 1), publish(second, 2)])).toEqual(['done', 'done']);
  for (const page of [first, second]) for (const data of [1, 2]) await told(page, 'order', data);
  const refused = await value(second, `client.publish('other', 'order', 1).catch(({ code }) => code)`);
  expect(refused).toBe('capability_missing');

  // With other rights it is no longer one of them.
  const lesser = await backend.createToken({ userId: 'ada', capabilities: {} });
  await value(second, `client.send_event('starling:auth', { token: '${lesser}' })`);
  await told(second, 'reason', 'The token is for another user, or for other rights');
  expect(await value(first, `told.filter(([event]) => event === 'state_change').length`)).toBe(1);
});

const hand = async (ending: (leader: Page) => Promise<unknown>) => {
  const [leader, ...others] = await openThree();
  await join(others, 'room');
  const before = await socketId(leader);
  const startedAtMs = Date.now();
  await ending(leader);
  for (const page of others) {
    await until(page, `client.connection.state === 'connected' && client.connection.socket_id !== '${before}'`);
    await until(page, `client.channel('room').subscribed`);
  }
  const tookMs = Date.now() - startedAtMs;
  expect(new Set(await Promise.all(others.map(socketId))).size).toBe(1);
  expect(counts(others).sort()).toEqual([0, 1]);
  await backend.trigger('room', 'order', 1);
  for (const page of others) await told(page, 'room order', 1);
  return { tookMs, leader, others };
};

test('when the tab that holds the connection is closed, the others go on', async () => {
  const { tookMs } = await hand((leader) => leader.close());
  expect(tookMs).toBeLessThan(5_000);
});

test('a tab that is about to be frozen hands over, and comes back to the others', async () => {
  // The browser's own word for it: what is driven counts as seen, and is not frozen in truth.
  const { leader, others, tookMs } = await hand((page) => value(page, `document.dispatchEvent(new Event('freeze'))`));
  expect(tookMs).toBeLessThan(5_000);
  expect(await value(leader, 'client.connection.state')).toBe('connecting');
  await value(leader, `document.dispatchEvent(new Event('resume'))`);
  await connected(leader);
  expect(await socketId(leader)).toBe(await socketId(others[0] as Page));
});

test('a page that is kept for the way back hands over, and comes back whole', async () => {
  const keeping = await chromium.launch({
    executablePath: inject('chromiumPath'),
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
    ignoreDefaultArgs: ['--disable-back-forward-cache'],
  });
  try {
    const there = await keeping.newContext();
    const [leader, other] = [await openPage({}, '', there), await openPage({}, '', there)];
    await join([leader, other], 'room');
    const before = await socketId(leader);
    await leader.goto(`${origin}/starling-worker.js`);
    await until(other, `client.connection.state === 'connected' && client.connection.socket_id !== '${before}'`);
    const held = `navigator.locks.query().then(({ held }) => held.filter(({ name }) => name.startsWith('starling ')).length)`;
    // Its own, and that of who holds the connection.
    await until(other, `${held}.then((count) => count === 2)`);
    // What drives the page loses sight of one that comes back so, and loaded anew it would not connect.
    leader.evaluate('history.back()').catch(() => undefined);
    await until(other, `${held}.then((count) => count === 3)`);
  } finally {
    await keeping.close();
  }
});

test('a tab that hangs is led no longer once another has asked it in vain', async () => {
  context = await browser.newContext();
  const [leader, other] = [await openPage(), await openPage()];
  await join([other], 'room');
  const before = await socketId(leader);
  const hung = value(leader, 'const end = Date.now() + 6_000; while (Date.now() < end);');
  const third = await openPage();
  await until(other, `client.connection.state === 'connected' && client.connection.socket_id !== '${before}'`);
  expect(await socketId(other)).toBe(await socketId(third));
  await hung;
  await until(leader, `client.connection.state === 'connected' && client.connection.socket_id !== '${before}'`);
  expect(await socketId(leader)).toBe(await socketId(third));
});

test.each([
  ['no Web Locks', `Object.defineProperty(navigator, 'locks', { value: undefined })`],
  ['no BroadcastChannel', 'delete globalThis.BroadcastChannel'],
  ['locks by name only', `navigator.locks.request = () => Promise.reject(new DOMException('', 'SecurityError'))`],
])('where there are %s, every tab has its own connection', async (_what, prepare) => {
  context = await browser.newContext();
  const pages = [await openPage({}, prepare), await openPage({}, prepare)] as const;
  expect(counts(pages)).toEqual([1, 1]);
  await join(pages, 'room');
  await backend.trigger('room', 'order', 1);
  for (const page of pages) await told(page, 'room order', 1);
});

test('held by a worker, a connection outlives every tab but the last', async () => {
  const pages = await openThree({ worker: '/starling-worker.js' });
  const [first, second, third] = pages;
  expect(counts(pages)).toEqual([0, 0, 0]);
  const shared = await socketId(first);
  expect(await Promise.all([second, third].map(socketId))).toEqual([shared, shared]);
  await join(pages, 'presence-room');
  await first.close();
  await join([second, third], 'room');
  await backend.trigger('room', 'order', 1);
  for (const page of [second, third]) await told(page, 'room order', 1);
  expect(await Promise.all([second, third].map(socketId))).toEqual([shared, shared]);
  expect(await value(second, `told.filter(([event]) => event === 'state_change').length`)).toBe(1);

  const other = await browser.newContext();
  try {
    const bob = await openPage({ user: 'bob' }, '', other);
    await join([bob], 'presence-room');
    // The pages stay, and with them the worker.
    for (const page of [second, third]) await value(page, 'client.disconnect()');
    await told(bob, 'presence-room pusher:member_removed');
  } finally {
    await other.close();
  }
  for (const page of [second, third]) {
    await value(page, 'client.connect()');
    await connected(page);
  }
  expect(await socketId(second)).not.toBe(shared);
  expect(await socketId(third)).toBe(await socketId(second));
  expect(counts([second, third])).toEqual([0, 0]);
});

test('a close by the server reaches the tabs of a worker as it is', async () => {
  const pages = await openThree({ worker: '/starling-worker.js' });
  for (const page of pages) {
    await value(page, 'client.signin()');
    await until(page, `client.user.user_data?.id === 'ada'`);
  }
  await backend.terminateUserConnections('ada');
  for (const page of pages) await until(page, `client.connection.state === 'disconnected'`);
});

test('where the script of the worker is not to be had, a tab holds the connection', async () => {
  const pages = await openThree({ worker: '/missing.js' });
  expect(counts(pages)).toEqual([1, 0, 0]);
  expect(new Set(await Promise.all(pages.map(socketId))).size).toBe(1);
});
