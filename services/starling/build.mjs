/** Puts all our rooms into a few files for Node; packages from npm stay outside them. */
import {
  accessSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const room = dirname(fileURLToPath(import.meta.url));
const root = dirname(dirname(room));

// Tests build a copy of their own.
const outfile = join(room, process.argv[2] ?? 'dist/starling.js');
const scriptFile = join(dirname(outfile), 'demo/starling.min.js');
/** Of the last build: each file that went into it, from the root, with its size and the moment of its last change. */
const inputsFile = `${outfile}.inputs.json`;

// A start builds first, and most starts have nothing new to build.
if (isUpToDate()) process.exit(0);
refuseReadOnly(dirname(outfile));

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
const { build } = await import('esbuild');
const outdir = dirname(outfile);
// Named by what is in them, so that those of the last build would stay.
for (const name of existsSync(outdir) ? readdirSync(outdir) : []) {
  if (name.startsWith('chunk-')) rmSync(join(outdir, name));
}
const { metafile } = await build({
  absWorkingDir: root,
  metafile: true,
  entryPoints: [join(room, 'src/main.ts')],
  outdir,
  entryNames: basename(outfile, '.js'),
  // What runs first stands alone: the rest is loaded when the port is open.
  splitting: true,
  chunkNames: 'chunk-[name]-[hash]',
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
  demo: 'starling/src/demo',
};
for (const [place, source] of Object.entries(besides)) {
  cpSync(join(root, 'services', source), join(dirname(outfile), place), { recursive: true });
}
/** What pages load from `/starling.min.js`: the script that the package of the client has, by the same options. */
const script = await build({
  absWorkingDir: root,
  metafile: true,
  entryPoints: [join(root, 'sdk/client/src/global.ts')],
  outfile: scriptFile,
  bundle: true,
  target: 'es2022',
  platform: 'browser',
  format: 'iife',
  minify: true,
  logLevel: 'warning',
});

const copied = Object.values(besides).flatMap((source) => filesIn(join('services', source)));
const manifests = packages.map(({ path }) => join(path, 'package.json').slice(root.length + 1));
const sources = [metafile, script.metafile].flatMap((made) => Object.keys(made.inputs));
const inputs = [...new Set([...sources, ...copied, ...manifests, 'services/starling/build.mjs'])];
writeFileSync(inputsFile, JSON.stringify(Object.fromEntries(inputs.map((path) => [path, stampOf(path)]))));

/** What a start in a checkout that cannot be written has to say, instead of what the bundler would. */
function refuseReadOnly(folder) {
  try {
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK);
  } catch (err) {
    process.stderr.write(
      `Starling is not built as its source is now, and ${folder} cannot be written (${err.code}): run "npm run build" ` +
        'where it can be, before the checkout is made read-only\n',
    );
    process.exit(1);
  }
}

/** A file that was added counts once another imports it, which then has changed; one to be copied, by its folder. */
function isUpToDate() {
  if (![inputsFile, outfile, scriptFile].every((path) => existsSync(path))) return false;
  const stamps = Object.entries(JSON.parse(readFileSync(inputsFile, 'utf8')));
  return stamps.every(([path, stamp]) => stampOf(path) === stamp);
}

/** Undefined for what is no longer there. */
function stampOf(path) {
  const { size, mtimeMs } = statSync(join(root, path), { throwIfNoEntry: false }) ?? {};
  return size === undefined ? undefined : `${size} ${mtimeMs}`;
}

/** The files of a folder and the folder itself, whose stamp changes when one is added or taken away. */
function filesIn(folder) {
  return [folder, ...readdirSync(join(root, folder)).map((name) => join(folder, name))];
}
