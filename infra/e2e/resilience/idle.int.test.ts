import { setTimeout as delay } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { app } from '../cluster/cluster.ts';
import { room, SilentClient } from './clients.ts';
import { clientTable } from './figures.ts';
import { openBrowser } from './restart.ts';
import { Rig } from './rig.ts';

/**
 * What the proxies let a silent connection be: the usual 60 and 50 s, for who has no minutes. Clients ping after the
 * second number, and the server 10 s later those that do not.
 */
const proxySeconds = 20;
const activitySeconds = 5;

/** Every timeout that both kinds of settings have, whatever it is. */
function impatient(settings: string): string {
  return settings
    .replace(/^(\s*)proxy_(?:read|send)_timeout .*;$/gm, '')
    .replace(/^(\s*)proxy_http_version .*;$/gm, `$&\n$1proxy_read_timeout ${proxySeconds}s;`)
    .replace(/^(\s*)timeout (client|server|tunnel) .*$/gm, `$1timeout $2 ${proxySeconds}s`);
}

test('[CL2] nobody who is idle is cut by a proxy of ordinary patience', async () => {
  const rig = await Rig.open(await openBrowser(), {
    proxyOptions: { change: impatient },
    env: {
      STARLING_ACTIVITY_TIMEOUT_SECONDS: String(activitySeconds),
      // Where one that was cut returns, the new count would wake all others, as its new membership would.
      STARLING_APP_SUBSCRIPTION_COUNTS: 'false',
    },
  });
  onTestFinished(() => rig.close());
  const silent: SilentClient[] = [];
  onTestFinished(() => {
    for (const client of silent) client.close();
  });
  await rig.openClients(1, { channels: [room] });
  for (const { url } of rig.proxies) silent.push(await SilentClient.open(url, app.key));
  // What is awaited is that nothing happens, for longer than the patience of each proxy.
  await delay(proxySeconds * 1_500);
  const figures = await rig.figures();
  console.log(
    `idle for ${proxySeconds * 1.5} s behind proxies that cut after ${proxySeconds} s\n${clientTable(figures)}`,
  );
  expect(figures.filter(({ closeCount }) => closeCount > 0).map(({ client }) => client.user)).toEqual([]);
  expect(silent.map(({ closeCode }) => closeCode)).toEqual(silent.map(() => undefined));
});
