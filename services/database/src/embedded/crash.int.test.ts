import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { openDatabase } from '../index.ts';

const writer = fileURLToPath(new URL('writer.test-kit.ts', import.meta.url));

/** Who is killed, in which order, while it writes. A Postgres that is stopped cannot notice that its parent is gone. */
const orders = {
  parent: ['parent'],
  postgres: ['postgres'],
  'parent, then postgres': ['parent', 'postgres'],
  'postgres, then parent': ['postgres', 'parent'],
  'parent, with a frozen postgres left behind': ['freeze', 'parent'],
} as const;

interface Ended {
  /** The numbers that were said to be written. */
  readonly said: readonly number[];
  readonly pid: number;
  readonly socketFolder: string;
}

/** Resolves once the writer has ended: it ends by itself when its Postgres is away. */
async function writeUntilKilled(dataDir: string, count: number, order: readonly string[]): Promise<Ended> {
  const child = spawn(process.execPath, ['--import', 'tsx', writer, dataDir], { stdio: ['ignore', 'pipe', 'ignore'] });
  const state = { said: '', pid: 0, socketFolder: '' };
  const closed = once(child, 'close');
  child.stdout.on('data', (data: Buffer) => {
    state.said += data;
    if (state.said.split('\n').length <= count || state.pid !== 0) return;
    const file = join(dataDir, 'postgres/cluster/postmaster.pid');
    const [pid, , , , socketFolder = ''] = readFileSync(file, 'utf8').split('\n');
    state.pid = Number(pid);
    state.socketFolder = basename(socketFolder);
    for (const each of order) {
      if (each === 'parent') child.kill('SIGKILL');
      else process.kill(state.pid, each === 'freeze' ? 'SIGSTOP' : 'SIGKILL');
    }
  });
  await closed;
  // Without what was being said at the moment.
  return { said: state.said.split('\n').slice(0, -1).map(Number), pid: state.pid, socketFolder: state.socketFolder };
}

test.each(Object.entries(orders))(
  '[DB4] a kill -9 of %s in the middle of writing loses nothing that was acknowledged, and leaves nothing half',
  async (_name, order) => {
    const folder = mkdtempSync(join(tmpdir(), 'starling-crash-'));
    chmodSync(folder, 0o755);
    const dataDir = join(folder, 'data');
    try {
      const said: number[] = [];
      // The folders of their sockets, which nobody else removes.
      const sockets = new Set<string>();
      // The first kill comes early, while the first data folder has hardly been used.
      for (const count of [1, 60, 37]) {
        const ended = await writeUntilKilled(dataDir, count, order);
        said.push(...ended.said);
        sockets.add(ended.socketFolder);
        // With its parent it ends, too; a frozen one is for the next start to find.
        if (order.at(-1) === 'parent' && order[0] !== 'freeze') await gone(ended.pid);
      }
      const database = await openDatabase({ dataDir });
      const read = async (query: Promise<Array<{ at: number }>>) => (await query).map(({ at }) => at);
      const { sql } = database;
      const made = await read(
        sql<Array<{ at: number }>>`select substr(id, 5)::int as at from organisations order by 1`,
      );
      const told = await read(sql<Array<{ at: number }>>`select target::int as at from audit_entries order by 1`);
      await database.close();
      expect(readdirSync(tmpdir()).filter((name) => sockets.has(name))).toEqual([]);
      expect(told).toEqual(made);
      expect(said.length).toBeGreaterThan(90);
      expect(made).toEqual(expect.arrayContaining(said));
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

/** What ended and is not yet taken note of is gone, too. */
async function gone(pid: number): Promise<void> {
  const deadline = Date.now() + 20_000;
  const isThere = () =>
    existsSync(`/proc/${pid}/stat`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  while (isThere()) {
    if (Date.now() > deadline) throw new Error(`The Postgres ${pid} outlived its parent`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
