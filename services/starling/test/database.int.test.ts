/** The database of the program as it is started, killed and left alone. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { appChanged, Keyring, lockApps, openDatabase } from '@starling/database';
import { databaseOf } from '@starling/database/test-kit';
import type { ControlBus } from '@starling/ports';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
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
const quiet: ControlBus = { post: async () => {}, listen: () => () => {}, onGap: () => () => {} };

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

  test('[DB7] says where it is; what is in it is for its owner only', async () => {
    const cwd = program.makeFolder();
    const starling = await program.start({ cwd });
    expect(starling.stdout()).toContain('The database is a Postgres of our own, in the data folder');
    expect(statSync(join(cwd, '.starling')).mode & 0o066).toBe(0);
    expect(statSync(join(cwd, '.starling/postgres/cluster')).mode & 0o777).toBe(0o700);
    expect(statSync(join(cwd, '.starling/secret-key')).mode & 0o777).toBe(0o600);
  });

  test('[DB9] killed or frozen under it, all that is connected goes on; it is seen, comes back, and holds up no stop', async () => {
    const cwd = program.makeFolder();
    const starling = await program.start({ cwd, env: { STARLING_DRAIN_SECONDS: '0' } });
    const { url } = starling;
    const peer = await connectPeer(url, starling.app.key);
    peer.socket.send('{"event":"pusher:subscribe","data":{"channel":"my-channel"}}');
    await peer.received('pusher_internal:subscription_succeeded');
    const pid = () =>
      Number(readFileSync(join(cwd, '.starling/postgres/cluster/postmaster.pid'), 'utf8').split('\n')[0]);
    const ready = async () => {
      const response = await fetch(`${url}/readyz`);
      return {
        status: response.status,
        database: ((await response.json()) as { checks: { database: string } }).checks.database,
      };
    };
    const setup = async () =>
      (
        await fetch(`${url}/api/v1/session`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: '{"email":"a@example.com","password":"x"}',
        })
      ).status;

    // The first process alone hangs: it takes in connections, and answers none of them.
    process.kill(pid(), 'SIGSTOP');
    await until(async () => (await ready()).database !== 'ok');
    expect((await ready()).status).toBe(200);
    expect(await trigger(url, starling.app, 'one')).toBe(200);
    expect(await peer.received('my-event')).toMatchObject({ data: 'one' });
    process.kill(pid(), 'SIGKILL');
    await until(async () => (await ready()).database === 'ok');
    expect(await readMetrics(url)).toMatch(/starling_database_restarts_total 1\n/);
    expect(starling.stdout().match(/The embedded Postgres is not there, and is started again/g)).toHaveLength(1);
    expect(await setup()).toBeLessThan(500);

    process.kill(pid(), 'SIGSTOP');
    const frozen = pid();
    starling.child.kill('SIGTERM');
    expect(await starling.ended).toBe(0);
    expect(starling.stdout()).not.toContain('Did not stop in time');
    expect(() => process.kill(frozen, 0)).toThrow('ESRCH');
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
    expect(refused.stdout()).toContain('Cannot start: DATABASE_URL: no Postgres can be reached');

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

describe('docs/database.md', () => {
  const server = databaseOf();

  test('[DB13] its commands do what it says: a backup beside a running Starling, a restore, and the way to a server', async () => {
    const text = readFileSync(new URL('../../../docs/database.md', import.meta.url), 'utf8');
    const commands = [...text.matchAll(/^ {4}(\S.*)$/gm)].map(([, line = '']) => line);
    expect(commands.filter((line) => line.startsWith('starling '))).toHaveLength(4);
    const script = commands
      .map((line) => line.replace(/postgres:\/\/\S+/, server.address.url))
      .concat('echo "KEY $STARLING_SECRET_KEY"')
      .join('\n');
    const cwd = program.makeFolder();
    const embedded = await program.start({ cwd });
    const setup = `set -e\nstarling() { ${JSON.stringify(process.execPath)} ${JSON.stringify(program.file)} "$@"; }\n`;
    const run = spawnSync('/bin/sh', ['-c', setup + script], {
      cwd,
      encoding: 'utf8',
      env: { PATH: '/usr/local/bin:/usr/bin:/bin' },
    });
    expect(run.stderr).toBe('');
    expect(run.status).toBe(0);
    expect(run.stdout.match(/rows of \d+ tables are in monday\.starling\. It holds the key/g)).toHaveLength(1);
    expect(run.stdout.match(/are in the database now/g)).toHaveLength(2);
    expect(await trigger(embedded.url, embedded.app, 'x')).toBe(200);
    const [, key = ''] = /KEY (\S+)/.exec(run.stdout) ?? [];
    const moved = await program.start({ env: { DATABASE_URL: server.address.url, STARLING_SECRET_KEY: key } });
    expect(moved.app).toEqual(embedded.app);
    // Also where nothing runs.
    embedded.child.kill('SIGTERM');
    await embedded.ended;
    const alone = program.run(['restore', 'monday.starling'], { cwd });
    expect(await alone.ended).toBe(0);
    expect((await program.start({ cwd })).app).toEqual(embedded.app);
  });

  test('[DB11] its Postgres starts whatever the umask is, as root, too', async () => {
    const cwd = program.makeFolder();
    const command = ['umask 077; exec "$@"', 'sh', process.execPath, program.file, 'start'];
    const child = spawn('/bin/sh', ['-c', ...command], {
      cwd,
      env: { STARLING_PORT: '0' },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    let output = '';
    for await (const text of child.stdout.setEncoding('utf8')) {
      output += text;
      if (/ready at|Cannot start/.test(output)) break;
    }
    expect(output).toContain('ready at');
    child.kill('SIGTERM');
    await once(child, 'exit');
  });

  test('[DB13] backup and restore say what is wrong', async () => {
    const cwd = program.makeFolder();
    for (const [args, code, problem] of [
      [['backup'], 2, 'backup takes one file'],
      [['restore', 'a', 'b'], 2, 'restore takes one file'],
      [['backup', 'out'], 1, `There is no database in ${join(cwd, '.starling')}`],
      [['restore', 'nowhere'], 1, 'nowhere is not a whole backup: ENOENT'],
    ] as const) {
      const run = program.run(args, { cwd });
      expect(await run.ended).toBe(code);
      expect(run.stderr()).toContain(problem);
    }
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
