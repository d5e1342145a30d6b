/** Clients that have no library: what the README shows, in a real browser, beside pusher-js. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectPeer, openProgram, type Program, type Starling } from '../../testing/program.ts';
import { serverLibrary } from './backend.ts';
import { launchBrowser } from './client.ts';

let program: Program;
let browser: Browser;
let starling: Starling;
let page: Page;
beforeAll(async () => {
  program = openProgram();
  [browser, starling] = await Promise.all([
    launchBrowser(),
    program.start({ env: { STARLING_APP_CLIENT_EVENTS: 'true' } }),
  ]);
  page = await browser.newPage();
  await page.goto(`${starling.url}/healthz`);
});
afterAll(async () => {
  await browser?.close();
  await program?.close();
});

/** Runs in the page; `window.got` holds what came. */
const listening = `
  window.got = [];
  window.onMessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.event) window.got.push([message.channel, message.event, message.data]);
    if (message.subscribed) window.subscribed = message.subscribed;
    if (message.stream) window.stream = message.stream;
    if (message.pong) window.pong = true;
  };`;

test('[RW3] a WebSocket without a library gets and publishes what Pusher clients publish and get', async () => {
  const { url, app } = starling;
  await page.evaluate(`${listening}
    window.socket = new WebSocket('${url.replace('http', 'ws')}/raw/${app.key}');
    socket.onmessage = window.onMessage;
    socket.onopen = () => socket.send(JSON.stringify({ subscribe: 'my-channel' }));`);
  await page.waitForFunction("window.subscribed === 'my-channel'");
  const peer = await connectPeer(url, app.key);
  peer.socket.send('{"event":"pusher:subscribe","data":{"channel":"my-channel"}}');
  await peer.received('pusher_internal:subscription_succeeded');
  await serverLibrary(starling).trigger('my-channel', 'my-event', { hello: 'world' });
  await page.waitForFunction('window.got.length === 1');
  expect(await page.evaluate('window.got')).toEqual([['my-channel', 'my-event', '{"hello":"world"}']]);
  expect(await peer.received('my-event')).toMatchObject({ channel: 'my-channel' });
  await page.evaluate('socket.close()');
  peer.socket.close();
});

test('[SS1] an EventSource gets the events of its channels, and returns by itself to a server that came again', async () => {
  const folder = program.makeFolder();
  const first = await program.start({ cwd: folder });
  const { url, app } = first;
  await page.goto(`${url}/healthz`);
  await page.evaluate(`${listening}
    window.source = new EventSource('${url}/sse/${app.key}?channels=my-channel');
    source.onmessage = window.onMessage;`);
  await page.waitForFunction("window.subscribed === 'my-channel'");
  await serverLibrary(first).trigger('my-channel', 'my-event', { hello: 'world' });
  await page.waitForFunction('window.got.length === 1');
  expect(await page.evaluate('window.got')).toEqual([['my-channel', 'my-event', '{"hello":"world"}']]);
  // What it says goes by requests, and comes back by the stream.
  await page.evaluate(`fetch('${url}/sse/${app.key}/' + window.stream, { method: 'POST', body: '{"ping":1}' })`);
  await page.waitForFunction('window.pong === true');
  await page.evaluate('window.subscribed = window.stream = undefined');
  first.child.kill('SIGTERM');
  await first.ended;
  const second = await program.start({ cwd: folder, env: { STARLING_PORT: new URL(url).port } });
  await page.waitForFunction("window.subscribed === 'my-channel' && window.stream !== undefined", undefined, {
    timeout: 20_000,
  });
  await serverLibrary(second).trigger('my-channel', 'again', {});
  await page.waitForFunction('window.got.length === 2');
  await page.evaluate('source.close()');
});
