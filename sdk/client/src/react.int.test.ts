/** The hooks in a real browser and real React, in strict mode, which mounts every component twice. */
import { build } from 'esbuild';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';

/** What runs in the page; the server is in its memory. */
const program = `
  import { createElement as h, StrictMode, useState } from 'react';
  import { createRoot } from 'react-dom/client';
  import { StarlingProvider, useChannel, useConnectionState, useEvent, usePresence } from './react.ts';
  import { TestServer } from './testing.ts';

  const server = new TestServer();
  const commands = [];
  const seen = { orders: [] };
  const subscribes = [];
  const options = server.options({ id: 'ada' });
  const Socket = options.WebSocket;
  class Watched extends Socket {
    send(text) {
      const { event, data } = JSON.parse(text);
      if (event.endsWith('subscribe')) subscribes.push(event.split(':')[1] + ' ' + data.channel);
      super.send(text);
    }
  }
  function Orders({ name, factor }) {
    useEvent(name, 'order', (order) => seen.orders.push(order * factor));
    return h('i', null, useChannel(name)?.name ?? '-');
  }
  function Room() {
    const { isJoined, members, me } = usePresence('presence-room');
    return h('b', null, isJoined ? me.id + ' of ' + members.map(({ id }) => id).sort().join() : 'nobody');
  }
  function App() {
    const [state, setState] = useState({ name: 'a', factor: 1, isShown: true });
    globalThis.setState = (over) => setState((old) => ({ ...old, ...over }));
    return h('main', null, h('u', null, useConnectionState()), h(Room),
      state.isShown && h(Orders, state), state.isShown && h(Orders, { ...state, factor: 10 * state.factor }));
  }
  const root = createRoot(document.body);
  root.render(h(StrictMode, null, h(StarlingProvider, { appKey: 'key', options: { ...options, WebSocket: Watched } }, h(App))));
  Object.assign(globalThis, { root, server, seen, subscribes });
`;

let browser: Browser;
let page: Page;
const faults: string[] = [];
beforeAll(async () => {
  const { outputFiles } = await build({
    stdin: { contents: program, resolveDir: import.meta.dirname, loader: 'ts' },
    bundle: true,
    write: false,
    format: 'iife',
    define: { 'process.env.NODE_ENV': '"development"' },
  });
  browser = await chromium.launch({
    executablePath: inject('chromiumPath'),
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
  });
  page = await browser.newPage();
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && faults.push(message.text()));
  page.on('pageerror', (error) => faults.push(String(error)));
  await page.setContent('<!doctype html><body></body>');
  await page.addScriptTag({ content: outputFiles[0]?.text ?? '' });
});
afterAll(() => browser?.close());

const html = (expected: string) =>
  page.waitForFunction(`document.querySelector('main')?.innerHTML === ${JSON.stringify(expected)}`, undefined, {
    timeout: 10_000,
  });
const value = (expression: string) => page.evaluate(expression);

test('hooks render what is there, join each channel once, and leave it with the last who used it', async () => {
  await html('<u>connected</u><b>ada of ada</b><i>a</i><i>a</i>');
  expect(await value('subscribes')).toEqual(['subscribe a', 'subscribe presence-room']);
  expect(await value('server.connectionCount')).toBe(1);

  await value(`server.publish('a', 'order', 1)`);
  await value('server.settled()');
  expect(await value('seen.orders')).toEqual([1, 10]);

  // A new callback is the one that is called, and nothing is joined anew for it.
  await value('setState({ factor: 2 })');
  await value('new Promise((resolve) => setTimeout(resolve))');
  await value(`server.publish('a', 'order', 1)`);
  await value('server.settled()');
  expect(await value('seen.orders')).toEqual([1, 10, 2, 20]);
  expect(await value('subscribes.length')).toBe(2);

  await value(`setState({ name: 'b' })`);
  await html('<u>connected</u><b>ada of ada</b><i>b</i><i>b</i>');
  await page.waitForFunction('subscribes.length === 4');
  expect(await value('subscribes.slice(2)')).toEqual(['subscribe b', 'unsubscribe a']);

  await value(`server.join('presence-room', { id: 'bob' })`);
  await html('<u>connected</u><b>ada of ada,bob</b><i>b</i><i>b</i>');
  await value('server.disconnect()');
  await html('<u>connected</u><b>ada of ada,bob</b><i>b</i><i>b</i>');

  await value('setState({ isShown: false })');
  await page.waitForFunction(`server.subscriberCount('b') === 0`);
  await value('root.unmount()');
  await page.waitForFunction('server.connectionCount === 0');
  expect(faults).toEqual([]);
});
