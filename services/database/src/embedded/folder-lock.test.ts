import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { lockFolder } from './folder-lock.ts';

describe('the lock of a data folder', () => {
  let folder: string;
  let socketPath: string;
  const children: ChildProcess[] = [];
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'starling-lock-'));
    socketPath = join(folder, 's');
  });
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  });
  const lockOf = (holder: object | string) =>
    writeFileSync(join(folder, 'starling.lock'), typeof holder === 'string' ? holder : JSON.stringify(holder));
  const startChild = async (): Promise<ChildProcess & { pid: number }> => {
    const child = spawn(process.execPath, ['-e', 'process.stdout.write("up"); setInterval(() => {}, 1000)']);
    children.push(child);
    await once(child.stdout, 'data');
    return child as ChildProcess & { pid: number };
  };

  test('[DB4] a second holder is refused, with the pid of the first in the text, until the first lets go', async () => {
    const unlock = await lockFolder(folder, socketPath);
    await expect(lockFolder(folder, socketPath)).rejects.toThrow(`${folder} is in use by process ${process.pid}`);
    unlock();
    (await lockFolder(folder, socketPath))();
    expect(readdirSync(folder)).toEqual([]);
  });

  test('[DB4] a process that lives keeps it, and one that was killed does not', async () => {
    const child = await startChild();
    lockOf({ pid: child.pid, startedAt: null, socketPath });
    await expect(lockFolder(folder, socketPath)).rejects.toThrow(`in use by process ${child.pid}`);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await lockFolder(folder, socketPath);
    expect(JSON.parse(readFileSync(join(folder, 'starling.lock'), 'utf8')).pid).toBe(process.pid);
  });

  test('a later process that was given the pid of the dead one does not lock out for ever', async () => {
    const child = await startChild();
    lockOf({ pid: child.pid, startedAt: '1', socketPath });
    await lockFolder(folder, socketPath);
    rmSync(join(folder, 'starling.lock'));
    lockOf({ pid: process.pid, startedAt: '1', socketPath });
    await lockFolder(folder, socketPath);
  });

  test('a process that cannot be seen, but answers on the socket of the folder, keeps it', async () => {
    const server = createServer().listen(socketPath);
    await once(server, 'listening');
    lockOf({ pid: 2 ** 22 + 1, startedAt: '1', socketPath });
    await expect(lockFolder(folder, socketPath)).rejects.toThrow('in use by process');
    server.close();
  });

  test.each(['', '{', 'null', '0', '{"pid":"x"}', '{"pid":-1}'])(
    'a lock file that holds %j is nobody’s',
    async (text) => {
      lockOf(text);
      const unlock = await lockFolder(folder, socketPath);
      unlock();
      expect(existsSync(join(folder, 'starling.lock'))).toBe(false);
    },
  );

  test('of many who ask at once, one is given it', async () => {
    lockOf({ pid: 2 ** 22 + 1, startedAt: '1', socketPath });
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => lockFolder(folder, socketPath)));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });
});
