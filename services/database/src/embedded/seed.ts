/** A fresh data folder, unpacked in a moment: to make one anew takes Postgres in WebAssembly several seconds. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

/** Beside the bundle, or where the build of this room put it. */
const places = ['./embedded/seed.tar.gz', '../../dist/seed.tar.gz'];

/** Undefined where it was not built: then Postgres makes a data folder itself, slowly. */
export function findSeed(): string | undefined {
  return places.map((place) => fileURLToPath(new URL(place, import.meta.url))).find((path) => existsSync(path));
}

/** The folder is whole or not there at all, whenever the process dies. */
export function unpackSeed(seed: string, folder: string): void {
  const half = `${folder}.new`;
  rmSync(half, { recursive: true, force: true });
  mkdirSync(half, { recursive: true, mode: 0o700 });
  for (const { name, isFolder, bytes } of readTar(gunzipSync(readFileSync(seed)))) {
    const path = join(half, normalize(join('/', name)));
    if (isFolder) mkdirSync(path, { recursive: true, mode: 0o700 });
    else writeFileSync(path, bytes, { mode: 0o600 });
  }
  renameSync(half, folder);
}

const blockBytes = 512;

/** The plain tar that PGlite writes: no long names, no links. */
function* readTar(tar: Buffer): Generator<{ name: string; isFolder: boolean; bytes: Buffer }> {
  for (let at = 0; at + blockBytes <= tar.length; ) {
    const header = tar.subarray(at, at + blockBytes);
    const textAt = (from: number, length: number) => header.toString('utf8', from, from + length).replace(/\0.*$/s, '');
    const name = [textAt(345, 155), textAt(0, 100)].filter((part) => part !== '').join('/');
    if (name === '') return;
    const size = Number.parseInt(textAt(124, 12), 8) || 0;
    const start = at + blockBytes;
    yield { name, isFolder: textAt(156, 1) === '5' || name.endsWith('/'), bytes: tar.subarray(start, start + size) };
    at = start + Math.ceil(size / blockBytes) * blockBytes;
  }
}
