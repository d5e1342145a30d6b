/** Makes the seed of embedded databases once for each version of PGlite: what a first start would otherwise take seconds for. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const dist = join(dirname(fileURLToPath(import.meta.url)), 'dist');
const seed = join(dist, 'seed.tar.gz');
const stamp = join(dist, 'seed.version');

const entry = createRequire(import.meta.url).resolve('@electric-sql/pglite');
const { version } = JSON.parse(readFileSync(join(dirname(dirname(entry)), 'package.json'), 'utf8'));

const isMade = existsSync(seed) && existsSync(stamp) && readFileSync(stamp, 'utf8') === version;
if (!isMade) {
  const { PGlite } = await import('@electric-sql/pglite');
  const db = await PGlite.create();
  const dump = await db.dumpDataDir('gzip');
  await db.close();
  mkdirSync(dist, { recursive: true });
  // Several may build at once: whole, or not there.
  const half = `${seed}.${process.pid}`;
  writeFileSync(half, Buffer.from(await dump.arrayBuffer()));
  renameSync(half, seed);
  writeFileSync(stamp, version);
}
