import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { databaseOf } from './database.test-kit.ts';
import { type Migration, migrate, readMigrations } from './migrate.ts';

describe('migrations', () => {
  const database = databaseOf();
  const first: Migration = {
    name: '9001_trees.sql',
    text: 'create table trees (id int); insert into trees values (1);',
  };
  const second: Migration = { name: '9002_leaves.sql', text: 'create table leaves (id int);' };
  const count = async (table: string) => {
    const [row] = await database.sql<Array<{ count: number }>>`select count(*) as count from ${database.sql(table)}`;
    return row?.count;
  };

  afterEach(async () => {
    await database.sql`drop table if exists trees, leaves`;
    await database.sql`delete from schema_migrations where name like '9%'`;
  });

  test('[DB1] each runs once, in order, and returns the names of those that ran', async () => {
    expect(await migrate(database, [first])).toEqual([first.name]);
    expect(await migrate(database, [first, second])).toEqual([second.name]);
    expect(await migrate(database, [first, second])).toEqual([]);
    expect(await count('trees')).toBe(1);
  });

  test('[DB1] programs that start at the same moment run each once', async () => {
    const nodes = await Promise.all([1, 2, 3, 4].map(() => database.openAnother()));
    const ran = await Promise.all(nodes.map((node) => migrate(node, [first, second])));
    expect(ran.flat().sort()).toEqual([first.name, second.name]);
    expect(await count('trees')).toBe(1);
  });

  test('[DB1] one that was edited after it ran refuses, and is named', async () => {
    await migrate(database, [first]);
    const edited = { ...first, text: `${first.text} -- harmless` };
    await expect(migrate(database, [edited, second])).rejects.toThrow('9001_trees.sql is not the one that ran');
    await expect(count('leaves')).rejects.toThrow('does not exist');
  });

  test('[DB1] one that fails leaves nothing behind, and those before it stay', async () => {
    const failing = { ...second, text: `${second.text} insert into leaves values ('no number');` };
    await expect(migrate(database, [first, failing])).rejects.toThrow('no number');
    expect(await count('trees')).toBe(1);
    await expect(count('leaves')).rejects.toThrow('does not exist');
    expect(await migrate(database, [first, second])).toEqual([second.name]);
  });

  test('those of a newer program are let be', async () => {
    await migrate(database, [first, second]);
    expect(await migrate(database, [first])).toEqual([]);
  });
});

describe('reading migrations', () => {
  const at = { folder: '' };
  beforeEach(() => {
    at.folder = mkdtempSync(join(tmpdir(), 'starling-migrations-'));
  });
  afterEach(() => rmSync(at.folder, { recursive: true }));

  test('in the order of their numbers, with the line ends of one system, and nothing else', async () => {
    writeFileSync(join(at.folder, '0010_b.sql'), 'b;\r\n');
    writeFileSync(join(at.folder, '0002_a.sql'), 'a;\n');
    for (const other of ['README.md', '0003_a.sql.orig', '3_short.sql', '.0004_a.sql'])
      writeFileSync(join(at.folder, other), '');
    expect(await readMigrations(at.folder)).toEqual([
      { name: '0002_a.sql', text: 'a;\n' },
      { name: '0010_b.sql', text: 'b;\n' },
    ]);
  });
});
