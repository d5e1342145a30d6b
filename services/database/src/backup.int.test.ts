import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import type { ControlBus } from '@starling/ports';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { appSecretPurpose } from './apps.ts';
import { databaseOf } from './database.test-kit.ts';
import {
  adoptKeyring,
  appChanged,
  backUp,
  type ClosedDatabase,
  createDatabase,
  Keyring,
  lockApps,
  readApps,
  restore,
} from './index.ts';
import { ownMigrations } from './open-database.ts';

const quiet: ControlBus = { post: async () => {}, listen: () => () => {}, onGap: () => () => {} };
const keyText = Keyring.make();
const ringOf = (text: string): Keyring => {
  const read = Keyring.parse(text);
  if (!read.ok) throw new Error(read.refusal.message);
  return read.value;
};
const keyring = ringOf(keyText);
/** With every sign that a format of lines could stumble over. */
const awkward = 'a\nb\r\nc\td\\e \\. \u2028 \u2029 "x" \u{1f600} \\N';

const folder = mkdtempSync(join(tmpdir(), 'starling-backup-'));
chmodSync(folder, 0o755);
const file = join(folder, 'backup');

describe('a backup', () => {
  const from = databaseOf();
  const into = databaseOf();
  const opened: ClosedDatabase[] = [];
  const closedOf = async (url: string) => {
    const database = createDatabase({ url });
    await database.open();
    opened.push(database);
    return database;
  };
  afterAll(async () => {
    await Promise.all(opened.map((database) => database.close()));
    rmSync(folder, { recursive: true });
  });

  const addApp = (database: typeof from, id: string, ring: Keyring, name = awkward) =>
    database.tx(async (sql) => {
      await lockApps(sql);
      await sql`insert into organisations (id, name) values ('org_1', 'One') on conflict do nothing`;
      await sql`insert into apps ${sql({ id, organisation_id: 'org_1', name, settings: sql.json({ odd: awkward }) })}`;
      await sql`insert into app_keys ${sql({ key: `key-${id}`, app_id: id, secret_sealed: ring.seal(`secret-${id}`, appSecretPurpose(`key-${id}`)) })}`;
      return appChanged(database, quiet, id);
    });
  const dump = async (database: typeof from) => {
    const tables = await database.sql<Array<{ name: string }>>`
      select tablename as name from pg_tables where schemaname = 'public' and tablename not in ('schema_migrations', 'app_changes', 'installation') order by 1`;
    const rows = await Promise.all(
      tables.map(
        ({ name }) =>
          database.sql`select to_jsonb(t) - 'version' - 'secret_sealed' as row from ${database.sql(name)} as t order by 1`,
      ),
    );
    return tables.map(({ name }, index) => [name, rows[index]?.map(({ row }) => row)]);
  };

  beforeEach(async () => {
    await adoptKeyring(from, keyring);
    await addApp(from, '1', keyring);
    await addApp(from, '2', keyring);
    await from.sql`
      insert into webhook_endpoints (id, app_id, url, events) values ('wh_1', '1', 'https://x.test', ${[awkward, 'b']})`;
    await from.sql`insert into audit_entries (actor, action, target) values ('{}', ${awkward}, 't')`;
    await from.sql`insert into usage_minutes (app_id, at, messages_in) values ('1', '2026-01-02T03:04:05.678901Z', 9007199254740991)`;
  });

  test('[DB13] is restored into another database: every row, its secrets under the key that is in force there', async () => {
    const other = ringOf(Keyring.make());
    await adoptKeyring(into, other);
    await addApp(into, '3', other, 'to be replaced');
    const summary = await backUp(await closedOf(from.address.url), file, keyText);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(await restore(await closedOf(into.address.url), file, other)).toEqual(summary);
    expect(await dump(into)).toEqual(await dump(from));
    // Without the key of the backup from now on.
    await adoptKeyring(into, other);
    const apps = await readApps(into.sql, other);
    expect(apps).toMatchObject([
      { id: '1', app: { name: awkward, keys: [{ secret: 'secret-1' }] } },
      { id: '2', app: { keys: [{ secret: 'secret-2' }] } },
    ]);
    // What is made afterwards has numbers of its own.
    await into.sql`insert into audit_entries (actor, action, target) values ('{}', 'later', 't')`;
    await addApp(into, '4', other);
  });

  test('[DB13] takes the place of a file only, and says in words why it cannot be written', async () => {
    const place = mkdtempSync(join(folder, 'place-'));
    const device = join(place, 'full');
    execFileSync('mkfifo', [device]);
    const database = await closedOf(from.address.url);
    await expect(backUp(database, device, keyText)).rejects.toThrow(`${device} is no file`);
    expect(statSync(device).isFIFO()).toBe(true);
    await expect(backUp(database, place, keyText)).rejects.toThrow(`${place} is no file`);
    const nowhere = join(place, 'missing', 'x');
    await expect(backUp(database, nowhere, keyText)).rejects.toThrow(
      `${nowhere} cannot be written: there is no such folder`,
    );
    expect(readdirSync(place)).toEqual(['full']);
    writeFileSync(join(place, 'target'), 'older');
    symlinkSync('target', join(place, 'link'));
    await backUp(database, join(place, 'link'), keyText);
    expect(lstatSync(join(place, 'link')).isSymbolicLink()).toBe(true);
    expect(statSync(join(place, 'target')).size).toBeGreaterThan(100);
  });

  test('[DB13] a program that knows the feed up to any number finds every app behind it, also those that are gone', async () => {
    const database = await closedOf(into.address.url);
    await adoptKeyring(into, keyring);
    const known: number[] = [];
    for (let id = 10; id < 20; id++) known.push(await addApp(into, String(id), keyring));
    await backUp(await closedOf(from.address.url), file, keyText);
    await restore(database, file, keyring);
    for (const seq of known) {
      const after = await into.sql<
        Array<{ app_id: string }>
      >`select distinct app_id from app_changes where seq > ${seq}`;
      const ids = new Set(after.map(({ app_id }) => app_id));
      for (const id of ['1', '2', '10', '19']) expect(ids.has(id)).toBe(true);
    }
  });

  test('[DB13] one of an older shape is brought to the newest', async () => {
    await backUp(await closedOf(from.address.url), file, keyText);
    const migrations = await ownMigrations();
    // As a Starling would have written it that knew only the first: without the tables and columns that came later.
    const lines = gunzipSync(readFileSync(file)).toString('utf8').split('\n');
    const header = JSON.parse(lines[0] ?? '');
    const laterColumns = new Set(['first_secret_shown_at']);
    const oldTables = new Set(['organisations', 'apps', 'app_keys', 'app_changes', 'installation']);
    const kept = [JSON.stringify({ ...header, migrations: header.migrations.slice(0, 1) })];
    let [isKept, tables, rows] = [false, 0, 0];
    for (const line of lines.slice(1)) {
      const table = line.startsWith('{"table":') ? JSON.parse(line).table : undefined;
      if (table !== undefined) {
        isKept = oldTables.has(table);
        if (isKept) tables++;
      } else if (isKept && line !== '' && !line.startsWith('{"end"')) rows++;
      if (table !== undefined && isKept) {
        const described = JSON.parse(line);
        const columns = described.columns.filter((column: string) => !laterColumns.has(column));
        kept.push(JSON.stringify({ ...described, columns }));
      } else if (isKept && !line.startsWith('{"end"')) kept.push(line);
      if (line === '') isKept = false;
    }
    expect(migrations.length).toBeGreaterThan(1);
    writeFileSync(file, gzipSync(`${kept.join('\n')}\n${JSON.stringify({ end: { tables, rows } })}\n`));
    await restore(await closedOf(into.address.url), file, keyring);
    expect(await readApps(into.sql, keyring)).toMatchObject([{ id: '1' }, { id: '2' }]);
    expect(await into.sql`select bytes_in from usage_minutes`).toEqual([]);
  });

  test('[DB13] anything wrong with the file, and nothing has changed', async () => {
    await adoptKeyring(into, keyring);
    await addApp(into, '9', keyring, 'mine');
    const database = await closedOf(into.address.url);
    await backUp(await closedOf(from.address.url), file, undefined);
    const whole = readFileSync(file);
    const text = gunzipSync(whole).toString('utf8');
    const wrong: Array<[Buffer, RegExp | object]> = [
      [whole.subarray(0, whole.length - 40), /not a whole backup/],
      [Buffer.from('hello'), /not a whole backup/],
      [gzipSync('{"format":"x"}\n'), /does not begin as a backup does/],
      [gzipSync(text.split('\n').slice(0, -2).join('\n')), /not a whole backup: it ends in the middle/],
      [
        gzipSync(text.replace(/\n\{"end":\{"tables":(\d+),"rows":(\d+)\}\}/, '\n{"end":{"tables":$1,"rows":1}}')),
        /rows are missing/,
      ],
      [gzipSync(text.replace('"version":1', '"version":2')), /newer Starling/],
      [gzipSync(text.replace('0001_apps.sql', '0001_cats.sql')), /of another Starling/],
      [gzipSync(text.replace('"id":"org_1"', '"id":"no id"')), { name: 'PostgresError' }],
    ];
    for (const [bytes, problem] of wrong) {
      writeFileSync(file, bytes);
      const restoring = restore(database, file, keyring);
      if (problem instanceof RegExp) await expect(restoring).rejects.toThrow(problem);
      else await expect(restoring).rejects.toMatchObject(problem);
    }
    // And one that nothing here opens.
    writeFileSync(file, whole);
    await expect(restore(database, file, ringOf(Keyring.make()))).rejects.toThrow('sealed with another key');
    expect(await readApps(into.sql, keyring)).toMatchObject([{ id: '9', app: { name: 'mine' } }]);
    await expect(backUp(await closedOf(from.address.url), join(folder, 'nowhere/backup'), undefined)).rejects.toThrow(
      'there is no such folder',
    );
  });
});
