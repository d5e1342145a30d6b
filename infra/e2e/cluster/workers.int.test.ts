/** Several workers on one port of one machine: real programs, a real Redis, the official client. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openProgram, type Program, type Run, readMetrics, type Starling } from '../../testing/program.ts';
import { RedisServer } from '../../testing/redis-server.ts';
import { type Backend, openBackend } from '../compat/backend.ts';
import { type Client, nodePlace, type Place } from '../compat/client.ts';
import { eventually } from './cluster.ts';
import { Connection } from './connection.ts';

let redis: RedisServer;
let program: Program;
beforeAll(async () => {
  redis = await RedisServer.start();
  program = openProgram();
});
afterAll(async () => {
  await program?.close();
  await redis?.remove();
});

/** By worker, the values of one metric, as one scrape shows them. */
async function metric({ url }: Starling, name: string): Promise<Record<string, number>> {
  const text = await readMetrics(url);
  const lines = text.matchAll(new RegExp(`^${name}\\{(?:.*,)?worker="(\\w+)"(?:,.*)?\\} (\\S+)$`, 'gm'));
  return Object.fromEntries([...lines].map(([, worker = '', value]) => [worker, Number(value)]));
}

/** The latest process of a worker. */
function pidOf({ stdout }: Run, worker: number): number {
  const said = [...stdout().matchAll(/"worker":(\d+),"pid":(\d+),"msg":"A worker is ready"/g)];
  return Number(said.filter(([, number]) => Number(number) === worker).at(-1)?.[2]);
}

function lives(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    // There is no such process.
    return false;
  }
}

describe('starling start --workers 3', () => {
  let starling: Starling;
  let backend: Backend;
  let place: Place;
  beforeEach(async () => {
    await redis.do((client) => client.flushall());
    starling = await program.start({
      args: ['--workers', '3'],
      env: { REDIS_URL: redis.url, STARLING_DRAIN_SECONDS: '1', STARLING_APP_SUBSCRIPTION_COUNTS: 'true' },
    });
    backend = await openBackend(starling);
    place = await nodePlace(starling, backend);
  });
  afterEach(async () => {
    await place.close();
    await backend.close();
    starling.child.kill('SIGKILL');
    await starling.ended;
  });

  test('[OP8] is one server to its clients: each worker has its share, and an event reaches all, once', async () => {
    const clients: Client[] = [];
    // One after another: a worker that has not yet taken the one before is passed over.
    for (const user of ['ada', 'bob', 'cleo', 'dan', 'eve', 'fay']) {
      const client = await place.open({ user });
      await client.connected();
      clients.push(client);
    }
    for (const client of clients) await client.join('presence-room');
    const shares = Object.values(await metric(starling, 'starling_connections'));
    expect(shares).toHaveLength(3);
    expect(Math.min(...shares)).toBeGreaterThan(0);
    expect(shares.reduce((sum, share) => sum + share, 0)).toBe(6);

    const answer = await backend.pusher.trigger('presence-room', 'order', { n: 1 }, { info: 'user_count' });
    expect(await answer.json()).toEqual({ channels: { 'presence-room': { user_count: 6 } } });
    await backend.pusher.trigger('presence-room', 'last', {});
    for (const client of clients) {
      await client.told('last', 'presence-room');
      expect(client.log.filter(({ event }) => event === 'order')).toMatchObject([{ data: { n: 1 } }]);
    }
  });

  test('[OP10] shows every worker, and the one that has them, in one scrape, whichever worker is asked', async () => {
    const scrapes = await Promise.all([1, 2, 3, 4, 5, 6].map(() => metric(starling, 'process_start_time_seconds')));
    for (const scrape of scrapes) expect(Object.keys(scrape).sort()).toEqual(['1', '2', '3', 'supervisor']);
    expect(await metric(starling, 'starling_workers')).toEqual({ supervisor: 3 });
    expect(await metric(starling, 'starling_redis_up')).toEqual({ 1: 1, 2: 1, 3: 1 });
  });

  test('[OP9] when a worker is killed, its clients come back to others, presence is right, and another takes its place', async () => {
    const users = ['ada', 'bob', 'cleo', 'dan', 'eve', 'fay'];
    const clients = await Promise.all(users.map((user) => place.open({ user })));
    for (const client of clients) await client.connected();
    for (const client of clients) await client.join('presence-room');
    // They do not come back: the last of them is on the worker that is killed, the others are not.
    const onSecond = async () => (await metric(starling, 'starling_connections'))[2] ?? 0;
    const atFirst = await onSecond();
    const lost: Connection[] = [];
    while ((await onSecond()) === atFirst && lost.length < 20) {
      lost.push(await Connection.open(starling.url, starling.app));
    }
    for (const [index, connection] of lost.entries()) await connection.join('presence-room', `lost ${index}`);
    const before = pidOf(starling, 2);

    process.kill(before, 'SIGKILL');
    await Promise.race(lost.map(({ closed }) => closed));
    await starling.said(/"worker":2,"pid":\d+,"ended":"SIGKILL".*"A worker died: another takes its place"/);
    const [gone = -1] = lost.flatMap(({ isClosed }, index) => (isClosed ? [index] : []));
    const staying = lost.filter((_, index) => index !== gone);
    expect(gone).toBe(lost.length - 1);
    const expected = [...users, ...staying.map((_, index) => `lost ${index}`)].sort();
    await eventually('the list is right', 10_000, async () => {
      const answer = await backend.pusher.get({ path: '/channels/presence-room/users' });
      const { users: now } = (await answer.json()) as { users: { id: string }[] };
      const ids = now.map(({ id }) => id).sort();
      return JSON.stringify(ids) === JSON.stringify(expected) || ids.join();
    });
    await backend.pusher.trigger('presence-room', 'order', { n: 1 });
    for (const client of clients) expect(await client.told('order', 'presence-room')).toMatchObject({ data: { n: 1 } });
    for (const connection of staying) {
      await connection.hears('order', 'presence-room');
      expect(connection.usersOf('presence-room')).toEqual(expected);
      expect(connection.changesOf('presence-room').filter((change) => change.startsWith('-'))).toEqual([
        `-lost ${gone}`,
      ]);
      expect(connection.isClosed).toBe(false);
    }

    await eventually('another worker', 15_000, () => {
      const now = pidOf(starling, 2);
      return (now !== before && lives(now)) || `worker 2 is ${now}`;
    });
    expect(await metric(starling, 'starling_worker_restarts_total')).toEqual({ supervisor: 1 });
    const newcomers = await Promise.all([1, 2, 3].map(() => Connection.open(starling.url, starling.app)));
    expect((await metric(starling, 'starling_connections'))[2]).toBeGreaterThan(0);
    for (const connection of [...newcomers, ...staying]) connection.close();
  });

  test('[OP8] [DB7] shares one database of its own, and serves the admin API with a link that leads somewhere', async () => {
    const [, path = ''] = /admin +http:\/\/[^/]+(\/setup\?token=\S+)/.exec(starling.stdout()) ?? [];
    // Of several workers: whichever is asked.
    for (let round = 0; round < 6; round++) expect((await fetch(starling.url + path)).status).toBe(200);
    const before = Number((await metric(starling, 'starling_database_restarts_total'))['supervisor']);
    expect(before).toBe(0);
    expect(await metric(starling, 'starling_database_up')).toEqual({ 1: 1, 2: 1, 3: 1, supervisor: 1 });
    expect(starling.stdout().match(/The database is a Postgres of our own/g)).toHaveLength(1);
    const readyz = await fetch(`${starling.url}/readyz`);
    expect(await readyz.json()).toMatchObject({ checks: { database: 'ok' } });
  });

  test('[OP6] [CL5] stops all of them in order: clients told to reconnect in a second, exit 0, no process left', async () => {
    const connections = await Promise.all([1, 2, 3].map(() => Connection.open(starling.url, starling.app)));
    const pids = [1, 2, 3].map((worker) => pidOf(starling, worker));
    starling.child.kill('SIGTERM');
    for (const connection of connections) expect(await connection.closes()).toBe(4100);
    expect(await starling.ended).toBe(0);
    expect(starling.stdout().match(/"worker":\d,"msg":"Stopped"/g)).toHaveLength(3);
    expect(pids.filter(lives)).toEqual([]);
  });

  test('[OP6] leaves no worker behind when the process that has them is killed', async () => {
    const pids = [1, 2, 3].map((worker) => pidOf(starling, worker));
    starling.child.kill('SIGKILL');
    // Its output ends when the last of those who write to it has.
    await starling.ended;
    await eventually('all are gone', 5_000, () => pids.every((pid) => !lives(pid)) || 'some live');
  });
});

describe('workers', () => {
  test.each(['edge', 'api'])('[OP8] starling %s has them too, by STARLING_WORKERS', async (part) => {
    const run = program.run([part], {
      env: {
        STARLING_PORT: '0',
        STARLING_WORKERS: '2',
        REDIS_URL: redis.url,
        STARLING_APP_ID: '1',
        STARLING_APP_KEY: 'k',
        STARLING_APP_SECRET: 's',
      },
    });
    const [, url = ''] = await run.said(/"url":"(http:[^"]+)"/);
    expect(run.stdout().match(/A worker is ready/g)).toHaveLength(2);
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    run.child.kill('SIGINT');
    expect(await run.ended).toBe(0);
  });

  test('say once why they cannot start: the port is in use', async () => {
    const { url } = await program.start();
    const env = { STARLING_PORT: new URL(url).port, REDIS_URL: redis.url };
    const run = program.run(['start', '--workers', '2'], { env, cwd: program.makeFolder() });
    expect(await run.ended).toBe(1);
    expect(run.stdout().match(/is in use: end the other program, or set STARLING_PORT/g)).toHaveLength(1);
    expect(run.stdout()).not.toContain('is ready');
  });
});
