/** What a real browser makes of permessage-deflate, which it offers by itself. */
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { openProgram, type Program, readMetrics } from '../../testing/program.ts';
import { type Backend, openBackend } from './backend.ts';
import { type Client, launchBrowser, type Place, pagePlace } from './client.ts';

let program: Program;
let browser: Browser;
const open: Array<Place | Backend> = [];
beforeAll(async () => {
  program = openProgram();
  browser = await launchBrowser();
});
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close();
});
afterAll(async () => {
  await browser?.close();
  await program?.close();
});

/** What the browser's socket says was agreed on. */
const extensions = (client: Client): Promise<string> =>
  client.do((pusher) => {
    const { connection } = pusher.connection as unknown as {
      connection: { transport: { socket: { extensions: string } } };
    };
    return connection.transport.socket.extensions;
  });

test.each([
  ['by default', {}, 'permessage-deflate; server_no_context_takeover; client_no_context_takeover'],
  ['where it is switched off', { STARLING_COMPRESSION: 'off' }, ''],
])('[WS10] [WS11] pusher-js in Chromium, compression %s', async (_when, env, agreed) => {
  const starling = await program.start({ env });
  const backend = await openBackend(starling);
  open.push(backend);
  const place = await pagePlace(browser, 'pusher', starling, backend);
  open.push(place);
  const [client, other] = [await place.open(), await place.open()];
  for (const each of [client, other]) {
    await each.connected();
    await each.join('room');
    await each.join('private-room');
  }
  expect(await extensions(client)).toBe(agreed);

  const deliveredBytes = async (): Promise<number> => {
    const metrics = await readMetrics(starling.url);
    return Number(/^starling_delivered_bytes_total(?:\{[^}]*\})? (\d+)/m.exec(metrics)?.[1]);
  };
  const before = await deliveredBytes();
  const events = [50, 600, 2_000, 6_000].map((length) => ({ length, text: 'grüße '.repeat(length / 6) }));
  for (const data of events) await backend.pusher.trigger('room', 'order', data);
  for (const each of [client, other]) {
    expect((await each.toldAll(events.length, 'order', 'room')).map(({ data }) => data)).toEqual(events);
  }
  const share = ((await deliveredBytes()) - before) / (2 * Buffer.byteLength(JSON.stringify(events)));
  if (agreed === '') expect(share).toBeGreaterThan(1);
  else expect(share).toBeLessThan(0.3);

  // The browser compresses all that it sends.
  const said = { text: 'from one to the other '.repeat(200) };
  expect(await client.trigger('private-room', 'client-event', said)).toBe(true);
  expect((await other.told('client-event', 'private-room')).data).toEqual(said);
});
