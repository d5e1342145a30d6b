/** What becomes of the official client when Starling goes and comes, and when it does not want the connection. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { openProgram, type Program, type Starling } from '../../testing/program.ts';
import { type Backend, openBackend, serverLibrary } from './backend.ts';
import { launchBrowser, nodePlace, type Place, pagePlace } from './client.ts';

let program: Program;
let browser: Browser;
beforeAll(async () => {
  program = openProgram();
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  await program?.close();
});

type Address = Pick<Starling, 'url' | 'app'>;

const app = { STARLING_APP_ID: '42', STARLING_APP_KEY: 'the-key', STARLING_APP_SECRET: 'the-secret' };

/** What a load balancer is to a client: one address, behind which the servers change. */
async function openSwitch(first: Starling): Promise<{ url: string; turnTo(next: Starling): void }> {
  let target = first;
  const server = createServer((inner) => {
    const outer = connect(Number(new URL(target.url).port), '127.0.0.1');
    inner.pipe(outer).pipe(inner);
    // Either end may be cut; the other is then ended by the pipe or right here.
    inner.on('error', () => outer.destroy());
    outer.on('error', () => inner.destroy());
    onTestFinished(() => void inner.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    turnTo: (next) => {
      target = next;
    },
  };
}

describe.each([
  ['pusher-js in Node', nodePlace],
  ['pusher-js in Chromium', (starling: Address, backend: Backend) => pagePlace(browser, 'pusher', starling, backend)],
])('%s', (name, openPlace) => {
  async function open(starling: Address): Promise<Place> {
    const backend = await openBackend(starling);
    onTestFinished(() => backend.close());
    const place = await openPlace(starling, backend);
    onTestFinished(() => place.close());
    return place;
  }

  test('comes back by itself after a kill and a start at the same port, to all its channels', async () => {
    const cwd = program.makeFolder();
    const first = await program.start({ cwd });
    const place = await open(first);
    const client = await place.open({ user: 'ada' });
    const socketId = await client.connected();
    const channels = ['room', 'private-room', 'presence-room'];
    for (const channel of channels) await client.join(channel);
    first.child.kill('SIGKILL');
    await first.ended;
    const second = await program.start({ cwd, env: { STARLING_PORT: new URL(first.url).port } });
    expect(await client.connected()).not.toBe(socketId);
    const pusher = serverLibrary(second);
    for (const channel of channels) {
      await client.told('pusher:subscription_succeeded', channel);
      await pusher.trigger(channel, 'order', { n: 1 });
      expect((await client.told('order', channel)).data).toEqual({ n: 1 });
    }
  });

  test('[CL5] [CL10] [OP6] is told to come back by a server that stops and has no other beside it, and finds the next', async () => {
    const [first, second] = [
      await program.start({ env: { ...app, STARLING_DRAIN_SECONDS: '1' } }),
      await program.start({ env: app }),
    ];
    const balancer = await openSwitch(first);
    const place = await open({ url: balancer.url, app: first.app });
    const client = await place.open();
    await client.connected();
    await client.join('private-room');
    balancer.turnTo(second);
    first.child.kill('SIGTERM');
    expect((await client.told('error')).data).toMatchObject({ code: 4100 });
    await client.connected();
    await client.told('pusher:subscription_succeeded', 'private-room');
    await serverLibrary(second).trigger('private-room', 'order', 1);
    await client.told('order', 'private-room');
    expect(await first.ended).toBe(0);
  });

  test('[HS6] connects from an allowed origin, and from none', async () => {
    const starling = await program.start({ env: { STARLING_APP_ALLOWED_ORIGINS: 'https://elsewhere.example' } });
    const client = await (await open(starling)).open();
    if (name.includes('Node')) {
      // No browser, so it has no origin to name.
      await client.connected();
      return;
    }
    expect((await client.told('error')).data).toMatchObject({ code: 4009 });
    expect((await client.told('state')).data).toBe('disconnected');
    const env = { STARLING_APP_ALLOWED_ORIGINS: 'https://elsewhere.example, 127.0.0.1' };
    await (await (await open(await program.start({ env }))).open()).connected();
  });

  test('[US2] is closed for good where a sign-in fails and the app admits authorised connections only', async () => {
    const place = await open(await program.start({ env: { STARLING_APP_AUTHORIZED_ONLY: 'yes' } }));
    const refused = await place.open({ user: 'ada', isRefused: true });
    await refused.connected();
    await refused.do((pusher) => pusher.signin());
    expect((await refused.told('error')).data).toMatchObject({ code: 4009 });
    expect((await refused.told('state')).data).toBe('disconnected');
    const client = await place.open({ user: 'ada' });
    await client.connected();
    await client.signIn();
    await client.join('room');
  });
});
