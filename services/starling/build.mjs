/** Puts all our rooms into one file for Node; packages from npm stay outside it. */
import { cpSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const room = dirname(fileURLToPath(import.meta.url));
const root = dirname(dirname(room));

const packages = ['services', 'sdk']
  .flatMap((folder) => readdirSync(join(root, folder)).map((name) => join(root, folder, name)))
  .filter((path) => existsSync(join(path, 'package.json')))
  .flatMap((path) =>
    Object.keys(JSON.parse(readFileSync(join(path, 'package.json'), 'utf8')).dependencies ?? {})
      .filter((name) => !name.startsWith('@starling/'))
      .map((name) => ({ name, path })),
  );
// The bundle finds the packages at the root and no others, here and in the image: a second version would be passed over.
for (const { name, path } of packages) {
  if (existsSync(join(path, 'node_modules', name))) {
    throw new Error(`${path} has a ${name} of its own: let all rooms ask for the same version`);
  }
}
const { version } = JSON.parse(readFileSync(join(room, 'package.json'), 'utf8'));
// Tests build a copy of their own.
const outfile = join(room, process.argv[2] ?? 'dist/starling.js');

await build({
  entryPoints: [join(room, 'src/main.ts')],
  outfile,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  sourcemap: true,
  banner: { js: '#!/usr/bin/env node' },
  external: [...new Set(packages.map(({ name }) => name))],
  define: { STARLING_VERSION: JSON.stringify(version) },
  logLevel: 'warning',
});

/** What rooms read from beside their source while they run is beside the bundle there. */
const besides = {
  lua: 'adapters/src/redis/lua',
  migrations: 'database/src/migrations',
};
for (const [place, source] of Object.entries(besides)) {
  cpSync(join(root, 'services', source), join(dirname(outfile), place), { recursive: true });
}
