/** The database of the program as it is started, killed and left alone. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { appChanged, Keyring, lockApps, openDatabase } from '@starling/database';
import type { Bulletin } from '@starling/ports';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PostgresServer } from '../../../infra/testing/postgres-server.ts';
import {
  connectPeer,
  openProgram,
  type Program,
  type Run,
  readMetrics,
  signedPath,
} from '../../../infra/testing/program.ts';
import { RedisServer } from '../../../infra/testing/redis-server.ts';

let program: Program;
beforeAll(() => {
  program = openProgram();
});
afterAll(() => program.close());

const app = { id: '77', key: 'given-key', secret: 'given-secret' };
const appEnv = { STARLING_APP_ID: app.id, STARLING_APP_KEY: app.key, STARLING_APP_SECRET: app.secret };
const quiet: Bulletin = { post: async () => {}, listen: () => () => {}, onGap: () => () => {} };

async function trigger(url: string, as: typeof app, data: string): Promise<number> {
  const body = JSON.stringify({ name: 'my-event', channel: 'my-channel', data });
  const response = await fetch(url + signedPath(as, 'POST', `/apps/${as.id}/events`, body), { method: 'POST', body });
  return response.status;
}

describe('the embedded database', () => {
  test('[DB4] a second start on one data folder refuses and names the first, which goes on', async () => {
    const cwd = program.makeFolder();
    const first = await program.start({ cwd });
    const second = program.run(['start'], { env: { STARLING_PORT: '0' }, cwd });
    expect(await second.ended).toBe(1);
    expect(second.stdout()).toContain(`in use by process ${first.child.pid}`);
    expect(second.stdout()).toContain('DATABASE_URL');
    expect(await trigger(first.url, first.app, 'x')).toBe(200);
  });

  test('says what it is not safe from, and is for its owner only', async () => {
    const cwd = program.makeFolder();
    const starling = await program.start({ cwd });
    expect(starling.stdout()).toContain('not a power cut');
    expect(starling.stdout()).toContain('set DATABASE_URL');
    for (const path of ['.starling', '.starling/postgres']) expect(statSync(join(cwd, path)).mode & 0o777).toBe(0o700);
    expect(statSync(join(cwd, '.starling/secret-key')).mode & 0o777).toBe(0o600);
  });

  test('[DB3] refuses another key, and says what to do', async () => {
    const cwd = program.makeFolder();
    const first = await program.start({ cwd });
    first.child.kill('SIGTERM');
    await first.ended;
    const path = join(cwd, '.starling/secret-key');
    const own = readFileSync(path, 'utf8');
    const [other, both] = [Keyring.make(), `${Keyring.make()},${own.trim()}`];
    const refused = program.run(['start'], { env: { STARLING_PORT: '0', STARLING_SECRET_KEY: other }, cwd });
    expect(await refused.ended).toBe(1);
    expect(refused.stdout()).toContain('Give STARLING_SECRET_KEY the key that sealed');
    expect(refused.stdout() + refused.stderr()).not.toContain(other);
    writeFileSync(path, 'something else');
    const broken = program.run(['start'], { env: { STARLING_PORT: '0' }, cwd });
    expect(await broken.ended).toBe(1);
    expect(broken.stdout()).toContain(`${path} is not the key that Starling wrote`);
    expect((await program.start({ cwd, env: { STARLING_SECRET_KEY: both } })).app).toEqual(first.app);
  });
});

describe('a Postgres that several programs share', () => {
  let server: PostgresServer;
  let redis: RedisServer;
  beforeAll(async () => {
    [server, redis] = await Promise.all([PostgresServer.start(), RedisServer.start()]);
  });
  afterAll(() => Promise.all([server.remove(), redis.remove()]));
  const secretKey = Keyring.make();
  const readKeyring = () => {
    const parsed = Keyring.parse(secretKey);
    if (!parsed.ok) throw new Error(parsed.refusal.message);
    return parsed.value;
  };
  const env = () => ({
    STARLING_PORT: '0',
    REDIS_URL: redis.url,
    DATABASE_URL: server.url,
    STARLING_SECRET_KEY: secretKey,
    STARLING_DRAIN_SECONDS: '0',
  });
  const start = async (part: string, more: Record<string, string> = {}): Promise<Run & { url: string }> => {
    const run = program.run([part], { env: { ...env(), ...more } });
    const [, url = ''] = await run.said(/(?:ready at |"url":")(http:[^\s"]+)/);
    return { ...run, url };
  };

  test('[DB6] a change is in force on an edge and an API, and [DB5] while Postgres is away all goes on', async () => {
    const [edge, api] = [await start('edge', appEnv), await start('api')];
    const peer = await connectPeer(edge.url, app.key);
    peer.socket.send('{"event":"pusher:subscribe","data":{"channel":"my-channel"}}');
    await peer.received('pusher_internal:subscription_succeeded');
    expect(await trigger(api.url, app, 'one')).toBe(200);
    expect(await peer.received('my-event')).toMatchObject({ data: 'one' });

    await server.stop();
    const later = await connectPeer(edge.url, app.key);
    later.socket.send('{"event":"pusher:subscribe","data":{"channel":"my-channel"}}');
    await later.received('pusher_internal:subscription_succeeded');
    expect(await trigger(api.url, app, 'two')).toBe(200);
    expect(await later.received('my-event')).toMatchObject({ data: 'two' });
    for (const { url } of [edge, api]) {
      await until(async () => (await readMetrics(url)).includes('starling_database_up 0'));
      expect((await fetch(`${url}/readyz`)).status).toBe(200);
    }
    const refused = program.run(['edge'], { env: env() });
    expect(await refused.ended).toBe(1);
    expect(refused.stdout()).toContain('the database cannot be used');

    await server.start();
    const database = await openDatabase({ url: server.url });
    await database.tx(async (sql) => {
      await lockApps(sql);
      await sql`update apps set is_enabled = false where id = ${app.id}`;
      await appChanged(database, quiet, app.id);
    });
    await until(async () => (await trigger(api.url, app, 'three')) === 403);
    await database.close();
    const wrong = program.run(['api'], { env: { ...env(), STARLING_SECRET_KEY: Keyring.make() } });
    expect(await wrong.ended).toBe(1);
    expect(wrong.stdout()).toContain('this database was sealed with another key');
    expect(readKeyring()).toBeDefined();
  });
});

/** What nobody tells has to be asked for. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error('Waited 20 s');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
