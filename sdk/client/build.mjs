/** Makes the published package in dist, or where the first argument says: a module for every door, and the scripts. */
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { packageSdk } from '../../infra/packaging/package-sdk.mjs';

const room = fileURLToPath(new URL('.', import.meta.url));
const out = resolve(room, process.argv[2] ?? 'dist');

await packageSdk({
  room: 'client',
  out,
  doors: { '.': 'index', './encrypted': 'encrypted', './react': 'react', './shared': 'shared', './testing': 'testing' },
  external: ['react'],
  manifest: {
    peerDependencies: { react: '>=18' },
    peerDependenciesMeta: { react: { optional: true } },
    // Not in exports: they are for pages, and have no types.
    unpkg: './starling.min.js',
    jsdelivr: './starling.min.js',
  },
});

const script = {
  bundle: true,
  target: 'es2022',
  platform: 'browser',
  format: 'iife',
  minify: true,
  logLevel: 'warning',
};
await build({ ...script, entryPoints: [join(room, 'src/global.ts')], outfile: join(out, 'starling.min.js') });
await build({
  ...script,
  globalName: 'StarlingEncrypted',
  entryPoints: [join(room, 'src/encrypted.ts')],
  outfile: join(out, 'starling-encrypted.min.js'),
});
await build({
  ...script,
  globalName: 'StarlingShared',
  entryPoints: [join(room, 'src/shared.ts')],
  outfile: join(out, 'starling-shared.min.js'),
});
await build({ ...script, entryPoints: [join(room, 'src/shared-worker.ts')], outfile: join(out, 'starling-worker.js') });
