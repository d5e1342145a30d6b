/** One server that goes and comes under clients of every major version, and how long each of them is away. */
import type { Browser } from 'playwright-core';
import { expect, onTestFinished } from 'vitest';
import { type Credentials, openProgram, type Program } from '../../testing/program.ts';
import { eventually } from '../cluster/cluster.ts';
import { launchBrowser } from '../compat/client.ts';
import { type Client, ClientHost, type ClientOptions, majors, untilInChannels } from './clients.ts';
import { type ClientFigures, clientTable, figuresOf, longestAwayMs } from './figures.ts';

/** What the server's address is known by, and by which it stays known. */
export interface Server {
  readonly url: string;
  readonly app: Credentials;
}

/** Until the end of the test. */
export async function openBrowser(): Promise<Browser> {
  const browser = await launchBrowser();
  onTestFinished(() => browser.close());
  return browser;
}

/** Until the end of the test. */
export function openStarling(): Program {
  const program = openProgram();
  onTestFinished(() => program.close());
  return program;
}

/** Clients of every major version, in Node and in pages, in their channels, until the end of the test. */
export async function openWitnesses(
  { url, app }: Server,
  transports: ClientOptions['transports'] = 'ws',
): Promise<Client[]> {
  const host = await ClientHost.open(app, await openBrowser());
  onTestFinished(() => host.close());
  const clients: Client[] = [];
  for (const major of majors) {
    for (const place of ['page', 'node'] as const) {
      clients.push(await host.open({ major, place, url, user: `${major}-${place}`, transports }));
    }
  }
  await untilInChannels(clients);
  return clients;
}

/** Waits until those who were sent away are back, as far as they come; prints and returns what became of each. */
export async function seeThemBack(
  title: string,
  clients: readonly Client[],
  limitMs: number,
): Promise<ClientFigures[]> {
  await eventually('all are back', limitMs, async () => {
    const all = await figuresOf(clients);
    return (
      all.every(({ absences }) => absences.length > 0 && absences.every(({ toMs }) => toMs !== undefined)) ||
      all.map(({ client, state }) => `${client.user}: ${state}`).join()
    );
  }).catch(() => undefined);
  const figures = await figuresOf(clients);
  console.log(`${title}\n${clientTable(figures)}`);
  return figures;
}

export function expectBackWithin(figures: readonly ClientFigures[], limitMs: number): void {
  expect(figures.filter(({ state }) => state === 'failed').map(({ client }) => client.user)).toEqual([]);
  expect(figures.filter(({ absences }) => absences.length === 0).map(({ client }) => client.user)).toEqual([]);
  expect(longestAwayMs(figures)).toBeLessThan(limitMs);
}
