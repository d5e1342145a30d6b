/** Many at once: the tabs of a few people, the subscribers of one event. */
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openProgram, type Program, type Starling } from '../../testing/program.ts';
import { type Backend, openBackend } from './backend.ts';
import { type Client, launchBrowser, nodePlace, pagePlace } from './client.ts';

let program: Program;
let starling: Starling;
let backend: Backend;
let browser: Browser;
beforeAll(async () => {
  program = openProgram();
  starling = await program.start();
  backend = await openBackend(starling);
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser?.close();
  await backend?.close();
  await program?.close();
});

test('[PR2] [PR3] two people in three tabs see each other come once and go once', async () => {
  const openTab = async (user: string) => {
    const page = await pagePlace(browser, 'pusher', starling, backend);
    const client = await page.open({ user });
    await client.connected();
    const { data } = await client.join('presence-room');
    return { page, client, first: data as { count: number } };
  };
  const memberEvents = (client: Client) => client.log.filter(({ event }) => event.startsWith('pusher:member'));

  const adaTab = await openTab('ada');
  const bobTab = await openTab('bob');
  const adaAgain = await openTab('ada');
  expect([adaTab, bobTab, adaAgain].map(({ first }) => first.count)).toEqual([1, 2, 2]);
  expect((await adaTab.client.told('pusher:member_added', 'presence-room')).data).toMatchObject({ id: 'bob' });

  // A closed tab says nothing: its connection is simply gone.
  await adaTab.page.close();
  await backend.pusher.trigger('presence-room', 'marker', {});
  await bobTab.client.told('marker', 'presence-room');
  await adaAgain.client.told('marker', 'presence-room');
  expect([bobTab, adaAgain].flatMap(({ client }) => memberEvents(client))).toEqual([]);

  await adaAgain.page.close();
  expect((await bobTab.client.told('pusher:member_removed', 'presence-room')).data).toMatchObject({ id: 'ada' });
  expect(memberEvents(bobTab.client)).toEqual([]);
  const users = await backend.pusher.get({ path: '/channels/presence-room/users' });
  expect(await users.json()).toEqual({ users: [{ id: 'bob' }] });
  await bobTab.page.close();
});

test('[RE7] one event reaches five hundred subscribers, each once', async () => {
  const node = await nodePlace(starling, backend);
  const clients = await Promise.all(Array.from({ length: 500 }, () => node.open()));
  await Promise.all(clients.map((client) => client.connected()));
  await Promise.all(clients.map((client) => client.join('room')));
  await backend.pusher.trigger('room', 'order', { n: 1 });
  await backend.pusher.trigger('room', 'end', {});
  const told = await Promise.all(
    clients.map(async (client) => {
      await client.told('end', 'room');
      return client.log.filter(({ event }) => event === 'order').map(({ data }) => data);
    }),
  );
  expect(told).toEqual(Array(500).fill([{ n: 1 }]));
  await node.close();
});
