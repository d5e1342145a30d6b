import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { openDatabase } from '../index.ts';

const dataDir = mkdtempSync(join(tmpdir(), 'starling-crash-'));
const writer = fileURLToPath(new URL('writer.test-kit.ts', import.meta.url));

/** Resolves with the numbers that were said to be written. */
async function writeUntilKilled(count: number): Promise<number[]> {
  const child = spawn(process.execPath, ['--import', 'tsx', writer, dataDir], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  const closed = once(child, 'close');
  child.stdout.on('data', (data: Buffer) => {
    said += data;
    if (said.split('\n').length > count) child.kill('SIGKILL');
  });
  await closed;
  // Without what was being said at the moment.
  return said.split('\n').slice(0, -1).map(Number);
}

test('[DB4] a kill -9 in the middle of writing loses nothing that was acknowledged, and leaves nothing half', async () => {
  const said: number[] = [];
  // The first kill comes early, while the first data folder has hardly been used.
  for (const count of [1, 60, 37]) said.push(...(await writeUntilKilled(count)));
  const database = await openDatabase({ dataDir });
  try {
    const read = async (query: Promise<Array<{ at: number }>>) => (await query).map(({ at }) => at);
    const { sql } = database;
    const made = await read(sql<Array<{ at: number }>>`select substr(id, 5)::int as at from organisations order by 1`);
    const told = await read(sql<Array<{ at: number }>>`select target::int as at from audit_entries order by 1`);
    expect(told).toEqual(made);
    expect(said.length).toBeGreaterThan(90);
    expect(made).toEqual(expect.arrayContaining(said));
  } finally {
    await database.close();
    rmSync(dataDir, { recursive: true });
  }
});
