/** Makes the published package in dist: ESM and CJS with types for every door, and the global scripts. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const room = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const manifest = JSON.parse(readFileSync(join(room, 'package.json'), 'utf8'));

// Tests build a copy of their own.
const dist = join(room, process.argv[2] ?? 'dist');
rmSync(dist, { recursive: true, force: true });
mkdirSync(dist, { recursive: true });

const doors = ['index', 'encrypted', 'react', 'testing'];
const shared = { bundle: true, target: 'es2022', legalComments: 'none', logLevel: 'warning', platform: 'neutral' };

/** The other doors import the first one, and do not hold a second copy of it. */
const oneCore = (extension) => ({
  name: 'one-core',
  setup: ({ onResolve }) => {
    onResolve({ filter: /^\.\/index\.ts$/ }, ({ kind }) =>
      kind === 'entry-point' ? undefined : { path: `./index${extension}`, external: true },
    );
  },
});
for (const [format, extension] of [
  ['esm', '.mjs'],
  ['cjs', '.cjs'],
]) {
  await build({
    ...shared,
    entryPoints: doors.map((door) => join(room, `src/${door}.ts`)),
    outdir: join(dist, format),
    outExtension: { '.js': extension },
    format,
    sourcemap: true,
    sourcesContent: true,
    external: ['react'],
    plugins: [oneCore(extension)],
  });
}

const script = { ...shared, platform: 'browser', format: 'iife', minify: true, sourcemap: true };
await build({
  ...script,
  entryPoints: [join(room, 'src/global.ts')],
  outfile: join(dist, 'starling.min.js'),
});
await build({
  ...script,
  globalName: 'StarlingEncrypted',
  entryPoints: [join(room, 'src/encrypted.ts')],
  outfile: join(dist, 'starling-encrypted.min.js'),
});

// Types of the protocol go along: the package has no dependencies.
const types = join(dist, 'types');
execFileSync(
  process.execPath,
  [
    join(dirname(require.resolve('typescript/package.json')), 'bin/tsc'),
    '-p',
    join(room, 'tsconfig.build.json'),
    '--outDir',
    types,
  ],
  { stdio: 'inherit' },
);
for (const [format, extension] of [
  ['esm', 'mjs'],
  ['cjs', 'cjs'],
]) {
  for (const path of readdirSync(types, { recursive: true }).filter((path) => path.endsWith('.d.ts'))) {
    const [home, ...rest] = path.split('/');
    const text = readFileSync(join(types, path), 'utf8')
      .replaceAll(/(from |import\()(['"])@starling\/protocol\2/g, `$1$2./protocol/index.ts$2`)
      .replaceAll(/(from |import\()(['"])(\.[^'"]*)\.ts\2/g, `$1$2$3.${extension}$2`);
    const target = join(dist, format, home === 'protocol' ? 'protocol' : '', ...rest.slice(1)).replace(
      /ts$/,
      `${extension.charAt(0)}ts`,
    );
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, text);
  }
}
rmSync(types, { recursive: true });

const door = (name) => ({
  import: { types: `./esm/${name}.d.mts`, default: `./esm/${name}.mjs` },
  require: { types: `./cjs/${name}.d.cts`, default: `./cjs/${name}.cjs` },
});
writeFileSync(
  join(dist, 'package.json'),
  `${JSON.stringify(
    {
      name: manifest.name,
      version: manifest.version,
      description: manifest.description,
      license: manifest.license,
      sideEffects: false,
      exports: Object.fromEntries(doors.map((name) => [name === 'index' ? '.' : `./${name}`, door(name)])),
      main: './cjs/index.cjs',
      module: './esm/index.mjs',
      types: './cjs/index.d.cts',
      unpkg: './starling.min.js',
      jsdelivr: './starling.min.js',
      peerDependencies: { react: '>=18' },
      peerDependenciesMeta: { react: { optional: true } },
      engines: { node: '>=20' },
    },
    null,
    2,
  )}\n`,
);
cpSync(join(room, 'README.md'), join(dist, 'README.md'));
