/** A deployment that replaces every program twice, behind one kind of proxy, and what it must not do to anybody. */
import { expect, onTestFinished } from 'vitest';
import { eventually } from '../cluster/cluster.ts';
import { hall, room } from './clients.ts';
import { type ClientFigures, deliveryFaults, longestAwayMs } from './figures.ts';
import type { ProxyName } from './proxies.ts';
import { openBrowser } from './restart.ts';
import { Rig } from './rig.ts';

/** Every client is promised to be back within 2 s; twice that, because the machine is busy with all of them at once. */
const awayLimitMs = 4_000;
const publishEveryMs = 400;

export async function rollTwice(proxy: ProxyName): Promise<void> {
  const rig = await Rig.open(await openBrowser(), { proxies: [proxy] });
  // Behind the end of a test that took too long, too; before the browser, whose pages it closes.
  onTestFinished(() => rig.close());
  await rig.openClients(3);
  rig.publish(publishEveryMs);
  for (let round = 1; round <= 2; round++) await rig.replaceAll();
  const publishes = await rig.stopPublishing();
  // Who is not back by then shows in the figures.
  await eventually('all that will come back are back', 10_000, async () => {
    const away = (await rig.figures()).filter(isAway);
    return away.every(({ state }) => state === 'failed') || `${away.length} are away`;
  }).catch((err: unknown) => rig.note(String(err)));
  const figures = await rig.figures();
  const { lost, doubled } = deliveryFaults(figures, publishes, room);
  console.log(rig.report(figures, publishes));

  expect(figures.filter(hasFailedByUs).map(({ client }) => client.user)).toEqual([]);
  // Of a client that failed by no fault of ours, only the last absence did not end.
  const counted = figures.map((each) =>
    each.state === 'failed' ? { ...each, absences: each.absences.filter(({ toMs }) => toMs !== undefined) } : each,
  );
  expect(longestAwayMs(counted)).toBeLessThan(awayLimitMs);
  expect(figures.some(({ absences }) => absences.length > 0)).toBe(true);
  expect(publishes.filter(({ status }) => status !== 200)).toEqual([]);
  expect({ lost, doubled }).toEqual({ lost: [], doubled: [] });
  const expected = figures.filter(({ state }) => state !== 'failed').map(({ client }) => client.user);
  await eventually('every member is there, and nobody else', 10_000, async () => {
    const users = await rig.cluster.usersOf(rig.node('api-1'), hall);
    return users.join() === expected.sort().join() || `There are ${users}, not ${expected}`;
  });
  expect(rig.cluster.defects()).toEqual([]);
}

function isAway({ absences }: ClientFigures): boolean {
  return absences.some(({ toMs }) => toMs === undefined);
}

/**
 * In Node pusher-js takes every end of a socket for an unclean one, and below 8.2 it gives up at the second within four
 * minutes of their opening, whatever the server does.
 */
function hasFailedByUs({ client, state, closeCount }: ClientFigures): boolean {
  const givesUp = client.place === 'node' && client.major < 8 && closeCount >= 2;
  return state === 'failed' && !givesUp;
}
