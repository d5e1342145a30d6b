import { expect, onTestFinished, test } from 'vitest';
import { eventually } from '../cluster/cluster.ts';
import { room } from './clients.ts';
import { deliveryFaults } from './figures.ts';
import { openBrowser } from './restart.ts';
import { Rig } from './rig.ts';

test('every major version of pusher-js and every publisher gets through nginx.conf and haproxy.cfg, and nothing twice', async () => {
  const rig = await Rig.open(await openBrowser());
  onTestFinished(() => rig.close());
  await rig.openClients();
  rig.publish(200);
  await eventually('each client has heard each publisher', 20_000, async () => {
    const heard = (await rig.figures()).map(
      ({ records }) =>
        new Set(records.flatMap((each) => (each.kind === 'event' ? [each.id.replace(/ \d+$/, '')] : []))),
    );
    return heard.every(({ size }) => size === 8) || heard.map(({ size }) => size).join();
  });
  const publishes = await rig.stopPublishing();
  expect(new Set(publishes.map(({ status }) => status))).toEqual(new Set([200]));
  await eventually('all is there, once', 10_000, async () => {
    const { lost, doubled } = deliveryFaults(await rig.figures(), publishes, room);
    return lost.length + doubled.length === 0 || [...lost, ...doubled].join();
  });
  const figures = await rig.figures();
  expect(figures).toHaveLength(16);
  expect(figures.filter(({ state, closeCount }) => state !== 'connected' || closeCount > 0)).toEqual([]);
  expect(rig.cluster.defects()).toEqual([]);
});
