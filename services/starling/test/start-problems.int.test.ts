/** What an operator can reconcile ends a start with one line that names the setting and what to do. Each with the real thing. */
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDatabase } from '@starling/database';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PostgresServer } from '../../../infra/testing/postgres-server.ts';
import { openProgram, type Program } from '../../../infra/testing/program.ts';
import { RedisServer } from '../../../infra/testing/redis-server.ts';

let program: Program;
let folder: string;
let redis: RedisServer;
/** Takes connections, and says nothing. */
let silent: Server;
let silentPort: number;

beforeAll(async () => {
  program = openProgram();
  folder = mkdtempSync(join(tmpdir(), 'starling-problems-'));
  silent = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  silentPort = (silent.address() as AddressInfo).port;
  redis = await RedisServer.start('--requirepass', 'sesame');
});
afterAll(async () => {
  await program?.close();
  await redis?.remove();
  silent?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The one line, or all that was said instead. */
async function problemOf(env: Record<string, string>, cwd = program.makeFolder()): Promise<string> {
  const run = program.run(['start'], { env: { STARLING_PORT: '0', ...env }, cwd });
  const status = await run.ended;
  const all = `${run.stdout()}${run.stderr()}`;
  const fatal = all.split('\n').filter((line) => line.includes('"level":"fatal"'));
  expect(status, all).toBe(1);
  expect(fatal, all).toHaveLength(1);
  const { msg, ...rest } = JSON.parse(fatal[0] ?? '{}') as { msg: string; err?: unknown };
  expect(rest.err, all).toBeUndefined();
  expect(all).not.toMatch(/\n? {4}at /);
  expect(run.stderr()).toBe('');
  expect(msg).not.toContain('\n');
  return msg;
}

describe('the files of TLS', () => {
  const path = (name: string) => join(folder, name);
  beforeAll(() => {
    const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' });
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    for (const name of ['a', 'b']) {
      openssl(
        'req',
        '-x509',
        ...curve,
        '-subj',
        `/CN=${name}`,
        '-out',
        path(`${name}.crt`),
        '-keyout',
        path(`${name}.key`),
      );
    }
    openssl('ec', '-in', path('a.key'), '-aes256', '-passout', 'pass:x', '-out', path('sealed-old.key'));
    openssl('pkey', '-in', path('a.key'), '-aes256', '-passout', 'pass:x', '-out', path('sealed.key'));
    openssl('x509', '-in', path('a.crt'), '-outform', 'DER', '-out', path('der.crt'));
    openssl('pkey', '-in', path('a.key'), '-outform', 'DER', '-out', path('der.key'));
    openssl(
      'req',
      '-x509',
      '-newkey',
      'rsa:512',
      '-nodes',
      '-subj',
      '/CN=w',
      '-out',
      path('weak.crt'),
      '-keyout',
      path('weak.key'),
    );
    writeFileSync(path('junk'), 'junk');
    writeFileSync(path('damaged.crt'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
    writeFileSync(path('empty'), '');
    mkdirSync(path('folder'));
  });

  test.each([
    ['a.crt', 'b.key', 'STARLING_TLS_CERT, STARLING_TLS_KEY', 'is not the key of the first certificate'],
    ['a.crt', 'sealed.key', 'STARLING_TLS_KEY', 'openssl pkey -in'],
    ['a.crt', 'sealed-old.key', 'STARLING_TLS_KEY', 'is a key with a passphrase'],
    ['a.crt', 'none', 'STARLING_TLS_KEY', 'is not there: give the path of a file in PEM'],
    ['none', 'a.key', 'STARLING_TLS_CERT', 'is not there: give the path of a file in PEM'],
    ['junk/x', 'a.key', 'STARLING_TLS_CERT', 'a name on the way to it is no folder'],
    ['folder', 'a.key', 'STARLING_TLS_CERT', 'is a folder: give the path'],
    ['a.crt', 'junk', 'STARLING_TLS_KEY', 'is no PEM: give the file with the private key'],
    ['empty', 'a.key', 'STARLING_TLS_CERT', 'is empty: give the file with the certificate'],
    ['der.crt', 'a.key', 'STARLING_TLS_CERT', 'convert it, as with openssl x509 -inform DER'],
    ['a.crt', 'der.key', 'STARLING_TLS_KEY', 'convert it, as with openssl pkey -inform DER'],
    ['a.key', 'a.crt', 'STARLING_TLS_CERT', 'holds no certificate but a private key'],
    ['a.crt', 'a.crt', 'STARLING_TLS_KEY', 'holds no private key but a certificate'],
    ['damaged.crt', 'a.key', 'STARLING_TLS_CERT', 'damaged or too weak'],
    ['weak.crt', 'weak.key', 'STARLING_TLS_CERT', 'damaged or too weak'],
  ])('[OP30] %s with %s: %s %s', async (cert, key, setting, problem) => {
    const said = await problemOf({ STARLING_TLS_CERT: path(cert), STARLING_TLS_KEY: path(key) });
    expect(said).toMatch(new RegExp(`^Cannot start: ${setting}: `));
    expect(said).toContain(problem);
  });
});

/** Root may read everything, and is then made another user; any other user is one to begin with. */
test('[OP30] a file of TLS that this user may not read', async () => {
  const own = mkdtempSync(join(folder, 'closed-'));
  const file = join(own, 'closed.key');
  writeFileSync(file, '', { mode: 0o000 });
  const [uid, asUser] =
    process.getuid?.() === 0
      ? [65_534, ['/usr/bin/setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']]
      : [process.getuid?.(), []];
  if (uid === 65_534) {
    chmodSync(folder, 0o755);
    chownSync(own, 65_534, 65_534);
  }
  const [command = '', ...args] = [...asUser, process.execPath, program.file, 'start'];
  const { status, stdout } = spawnSync(command, args, {
    cwd: own,
    env: { STARLING_PORT: '0', STARLING_TLS_CERT: file, STARLING_TLS_KEY: file },
    encoding: 'utf8',
    timeout: 20_000,
  });
  expect(status, stdout).toBe(1);
  expect(stdout).toContain(
    `Cannot start: STARLING_TLS_CERT: ${file} may not be read by the user that runs Starling (${uid}): give`,
  );
});

describe('the data folder', () => {
  test.each([
    ['is a file', (cwd: string) => writeFileSync(join(cwd, 'data'), '')],
    ['is below a file', (cwd: string) => writeFileSync(join(cwd, 'data'), ''), 'data/below'],
    [
      'holds a folder in the place of its key',
      (cwd: string) => mkdirSync(join(cwd, 'data/secret-key'), { recursive: true }),
    ],
    // Node would try for ever.
    ['is where no folder can be made', () => {}, '/proc/starling'],
  ])('[DB10] that %s', async (_name, prepare, dataDir = 'data') => {
    const cwd = program.makeFolder();
    prepare(cwd);
    const said = await problemOf({ STARLING_DATA_DIR: dataDir }, cwd);
    expect(said).toMatch(/^Cannot start: STARLING_DATA_DIR: .*cannot be used: .*Give another STARLING_DATA_DIR/);
  });

  test.each(['fresh', 'used'])('[DB10] that is read-only (%s)', async (state) => {
    const cwd = program.makeFolder();
    const data = join(cwd, 'data');
    mkdirSync(data);
    if (state === 'used') {
      const starling = await program.start({ cwd, env: { STARLING_DATA_DIR: data } });
      starling.child.kill('SIGTERM');
      await starling.ended;
    }
    const release = closeFolder(data);
    try {
      const said = await problemOf({ STARLING_DATA_DIR: data }, cwd);
      expect(said).toMatch(
        /^Cannot start: STARLING_DATA_DIR: .*(read-only file system|belongs to another user).*Give another/,
      );
    } finally {
      release();
    }
  });

  test('[OP30] of programs of Postgres that are not there', async () => {
    const said = await problemOf({ STARLING_POSTGRES_BIN: '/nowhere' });
    expect(said).toMatch(/^Cannot start: STARLING_POSTGRES_BIN: \/nowhere has no Postgres that can run: .*is missing/);
  });
});

/** Root may write whatever the modes say, so there it is mounted read-only; other users may not mount, and obey modes. */
function closeFolder(path: string): () => void {
  if (process.getuid?.() !== 0) {
    chmodSync(path, 0o500);
    return () => chmodSync(path, 0o700);
  }
  execFileSync('mount', ['--bind', path, path]);
  execFileSync('mount', ['-o', 'remount,ro,bind', path]);
  return () => execFileSync('umount', [path]);
}

describe('a Postgres', () => {
  const key = { STARLING_SECRET_KEY: Buffer.alloc(32, 1).toString('base64') };
  const of = (url: string) => problemOf({ ...key, DATABASE_URL: url });

  test.each([
    [
      'that nobody runs',
      'postgres://u:hidden@127.0.0.1:1/x',
      'no Postgres can be reached at 127.0.0.1:1, because nothing listens there',
    ],
    ['on a host without address', 'postgres://u:hidden@no.such.invalid/x', 'at no.such.invalid:5432, because '],
  ])('[OP30] %s', async (_name, url, problem) => {
    const said = await of(url);
    expect(said).toMatch(/^Cannot start: DATABASE_URL: /);
    expect(said).toContain(problem);
    expect(said).not.toContain('hidden');
  });

  test('[OP30] that is none: it says nothing, or speaks otherwise', async () => {
    for (const port of [silentPort, redis.port]) {
      expect(await of(`postgres://u:hidden@127.0.0.1:${port}/x`)).toMatch(
        /^Cannot start: DATABASE_URL: .*127\.0\.0\.1:\d+.*correct the address$/,
      );
    }
  });

  describe('that is there', () => {
    let server: PostgresServer;
    const urlOf = (user: string, password: string, name = 'postgres') =>
      `postgres://${user}:${password}@127.0.0.1:${server.port}/${name}`;
    beforeAll(async () => {
      // Read by another user where root runs the tests.
      chmodSync(folder, 0o755);
      const hba = join(folder, 'pg_hba.conf');
      const logins = ['host all postgres all trust', 'host all barred all reject', 'host all all all scram-sha-256'];
      writeFileSync(hba, `${logins.join('\n')}\n`, { mode: 0o644 });
      server = await PostgresServer.start('-c', `hba_file=${hba}`, '-c', 'fsync=off');
      const { sql, close } = await openDatabase({ url: server.url });
      for (const role of ['barred', 'poor', 'reader']) await sql.unsafe(`create role ${role} login password 'right'`);
      await sql.unsafe('alter role reader set default_transaction_read_only = on');
      await close();
    });
    afterAll(() => server?.remove());

    test.each([
      [
        'with a wrong password',
        () => urlOf('poor', 'hidden'),
        'does not take the password of the user "poor". Correct',
      ],
      [
        'without that user',
        () => urlOf('no_such', 'hidden'),
        'does not take the password of the user "no_such". Correct',
      ],
      ['that bars the user', () => urlOf('barred', 'right'), 'does not let the user "barred" in. Correct the user'],
      ['without that database', () => urlOf('postgres', 'x', 'no_such'), 'has no database "no_such". Make it'],
      ['without rights', () => urlOf('poor', 'right'), 'the user "poor" may not make tables there. Give it the right'],
      ['that only reads', () => urlOf('reader', 'right'), 'takes no changes'],
      ['without TLS', () => `${urlOf('poor', 'right')}?sslmode=require`, 'correct'],
    ])('[OP30] %s', async (_name, url, problem) => {
      const said = await of(url());
      expect(said).toMatch(/^Cannot start: DATABASE_URL: /);
      expect(said).toContain(problem);
      expect(said).not.toMatch(/hidden|right@/);
    });

    test('[OP30] a backup says it, too', async () => {
      const env = { ...key, DATABASE_URL: urlOf('postgres', 'x', 'no_such') };
      const run = program.run(['backup', 'file'], { env });
      expect(await run.ended).toBe(1);
      expect(run.stderr()).toMatch(/^DATABASE_URL: .*has no database "no_such"[^\n]*\n$/);
    });
  });
});

describe('a Redis', () => {
  const at = (scheme: string, login: string, rest = '') => `${scheme}://${login}127.0.0.1:${redis.port}${rest}`;

  test.each([
    ['that nobody runs', () => 'redis://127.0.0.1:1', 'nothing listens there'],
    ['as a cluster that nobody runs', () => 'redis+cluster://127.0.0.1:1', 'nothing listens there'],
    ['that wants a password', () => at('redis', ''), 'it wants a password'],
    ['with a wrong password', () => at('redis', ':hidden@'), 'it does not take the user and password'],
    ['without TLS', () => at('rediss', ':sesame@'), 'Write redis:// in the place of rediss://'],
    ['without a database of that number', () => at('redis', ':sesame@', '/99'), 'it has no database of that number'],
    [
      'with an authority that is not there',
      () => at('rediss', ':sesame@', '?ca=none'),
      'the file of ?ca= cannot be read',
    ],
    ['that says nothing', () => `redis://127.0.0.1:${silentPort}`, 'as a Redis does'],
  ])('[OP30] %s', async (_name, url, problem) => {
    const said = await problemOf({ REDIS_URL: url() });
    expect(said).toContain('REDIS_URL');
    expect(said).toContain(problem);
    expect(said).not.toMatch(/hidden|sesame/);
  });
});

describe('an address', () => {
  test.each(['STARLING_PORT', 'STARLING_METRICS_PORT'])('[OP30] whose port is taken: %s', async (name) => {
    expect(await problemOf({ [name]: String(silentPort) })).toBe(
      `Cannot start: port ${silentPort} of 127.0.0.1 is in use: end the other program, or set ${name}`,
    );
  });

  test.each(['STARLING_HOST', 'STARLING_METRICS_HOST'])('[OP30] that is not of this machine: %s', async (name) => {
    for (const host of ['192.0.2.1', 'no.such.invalid', '2001:db8::1']) {
      expect(await problemOf({ [name]: host, STARLING_METRICS_PORT: '0' })).toBe(
        `Cannot start: ${host} is no address of this machine: set ${name}`,
      );
    }
  });
});
