import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { holderOf, lockFolder } from './folder-lock.ts';

describe('the lock of a data folder', () => {
  let folder: string;
  const children: ChildProcess[] = [];
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'starling-lock-'));
  });
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  });
  const postgresSocket = '/tmp/postgres';
  const lockOf = (holder: object | string) =>
    writeFileSync(join(folder, 'starling.lock'), typeof holder === 'string' ? holder : JSON.stringify(holder));
  const startChild = async (): Promise<ChildProcess & { pid: number }> => {
    const child = spawn(process.execPath, ['-e', 'process.stdout.write("up"); setInterval(() => {}, 1000)']);
    children.push(child);
    await once(child.stdout, 'data');
    return child as ChildProcess & { pid: number };
  };

  test('[DB4] a second holder is refused, with the pid of the first in the text, until the first lets go', async () => {
    const unlock = await lockFolder(folder, postgresSocket);
    await expect(lockFolder(folder, postgresSocket)).rejects.toThrow(`${folder} is in use by process ${process.pid}`);
    unlock();
    (await lockFolder(folder, postgresSocket))();
    expect(readdirSync(folder)).toEqual([]);
  });

  test('[DB4] a process that lives keeps it, and one that was killed does not', async () => {
    const child = await startChild();
    lockOf({ pid: child.pid, startedAt: null, postgresSocket });
    await expect(lockFolder(folder, postgresSocket)).rejects.toThrow(`in use by process ${child.pid}`);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await lockFolder(folder, postgresSocket);
    expect(JSON.parse(readFileSync(join(folder, 'starling.lock'), 'utf8')).pid).toBe(process.pid);
  });

  test('a later process that was given the pid of the dead one does not lock out for ever', async () => {
    const child = await startChild();
    lockOf({ pid: child.pid, startedAt: '1', postgresSocket });
    await lockFolder(folder, postgresSocket);
    rmSync(join(folder, 'starling.lock'));
    lockOf({ pid: process.pid, startedAt: '1', postgresSocket });
    await lockFolder(folder, postgresSocket);
  });

  test('[DB8] a process of another container cannot be seen, but while it listens in the folder it keeps it', async () => {
    const unlock = await lockFolder(folder, postgresSocket);
    const held = JSON.parse(readFileSync(join(folder, 'starling.lock'), 'utf8'));
    const unseen = { ...held, pid: 2 ** 22 + 1, startedAt: '1' };
    lockOf(unseen);
    await expect(lockFolder(folder, postgresSocket)).rejects.toThrow(`in use by process ${unseen.pid}`);
    expect(await holderOf(folder)).toMatchObject({ pid: unseen.pid, postgresSocket });
    unlock();
    lockOf(unseen);
    expect(await holderOf(folder)).toBeUndefined();
    (await lockFolder(folder, postgresSocket))();
    expect(readdirSync(folder)).toEqual([]);
  });

  test('[DB8] it listens in a folder whose path is longer than an address may be', async () => {
    const deep = join(folder, 'x'.repeat(100), 'y'.repeat(100));
    mkdirSync(deep, { recursive: true });
    const unlock = await lockFolder(deep, postgresSocket);
    const held = JSON.parse(readFileSync(join(deep, 'starling.lock'), 'utf8'));
    writeFileSync(join(deep, 'starling.lock'), JSON.stringify({ ...held, pid: 2 ** 22 + 1, startedAt: '1' }));
    expect(await holderOf(deep)).toBeDefined();
    unlock();
  });

  test('a name in the lock file that is none of ours is not followed', async () => {
    writeFileSync(join(folder, 'precious'), 'x');
    lockOf({ pid: 2 ** 22 + 1, startedAt: '1', alive: 'precious', postgresSocket });
    (await lockFolder(folder, postgresSocket))();
    expect(readdirSync(folder)).toEqual(['precious']);
  });

  test.each(['', '{', 'null', '0', '{"pid":"x"}', '{"pid":-1}'])(
    'a lock file that holds %j is nobody’s',
    async (text) => {
      lockOf(text);
      const unlock = await lockFolder(folder, postgresSocket);
      unlock();
      expect(existsSync(join(folder, 'starling.lock'))).toBe(false);
    },
  );

  test('of many who ask at once, one is given it', async () => {
    lockOf({ pid: 2 ** 22 + 1, startedAt: '1', postgresSocket });
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => lockFolder(folder, postgresSocket)));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });
});
