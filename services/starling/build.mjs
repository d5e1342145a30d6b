/** Puts all our rooms into one file for Node; packages from npm stay outside it. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const room = dirname(fileURLToPath(import.meta.url));
const services = dirname(room);

const dependencies = readdirSync(services)
  .map((name) => join(services, name, 'package.json'))
  .filter((path) => existsSync(path))
  .flatMap((path) => Object.keys(JSON.parse(readFileSync(path, 'utf8')).dependencies ?? {}));

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
  external: [...new Set(dependencies)].filter((name) => !name.startsWith('@starling/')),
  define: { STARLING_VERSION: JSON.stringify(version) },
  logLevel: 'warning',
});

// Redis's scripts are read from beside the program.
cpSync(join(services, 'adapters/src/redis/lua'), join(dirname(outfile), 'lua'), { recursive: true });

// So are what the embedded database starts from, and the tables.
const database = join(services, 'database');
execFileSync(process.execPath, [join(database, 'build.mjs')], { stdio: 'inherit' });
const embedded = join(dirname(outfile), 'embedded');
cpSync(join(database, 'src/embedded/worker.mjs'), join(embedded, 'worker.mjs'));
cpSync(join(database, 'dist/seed.tar.gz'), join(embedded, 'seed.tar.gz'));
cpSync(join(database, 'src/migrations'), join(dirname(outfile), 'migrations'), { recursive: true });
