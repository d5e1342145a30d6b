/** Makes a package that others can install out of a room of the sdk: everything it needs bundled, its types beside it. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, transform } from 'esbuild';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/**
 * @param {object} given
 * @param {string} given.room such as `server`, in sdk
 * @param {string} given.out where the package is written; what is there is removed
 * @param {Record<string, string>} given.doors by door, such as `./react`, the name of its file under src without `.ts`
 * @param {Record<string, unknown>} [given.manifest] what package.json holds beside what is the same for all
 * @param {readonly string[]} [given.external] packages that whoever installs this one brings along
 */
export async function packageSdk({ room, out, doors, manifest = {}, external = [] }) {
  const source = join(root, 'sdk', room);
  rmSync(out, { recursive: true, force: true });
  const shared = {
    entryPoints: Object.fromEntries(Object.values(doors).map((name) => [name, join(source, 'src', `${name}.ts`)])),
    bundle: true,
    outdir: out,
    target: 'es2022',
    platform: 'neutral',
    external: [...external],
    legalComments: 'none',
    logLevel: 'warning',
  };
  await build({
    ...shared,
    format: 'esm',
    splitting: true,
    outExtension: { '.js': '.mjs' },
    chunkNames: 'chunk-[hash]',
  });
  await writeCommonJs(out);
  writeTypes(source, out);

  const { name, version, description } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8'));
  const types = (file, extension) => `./types/${room}/src/${file}.d.${extension}`;
  const door = (file) => ({
    import: { types: types(file, 'mts'), default: `./${file}.mjs` },
    require: { types: types(file, 'cts'), default: `./${file}.cjs` },
  });
  const published = {
    name,
    version,
    description,
    license: 'Apache-2.0',
    type: 'module',
    sideEffects: false,
    engines: { node: '>=20.19.0' },
    main: `./${doors['.']}.cjs`,
    module: `./${doors['.']}.mjs`,
    types: types(doors['.'], 'cts'),
    exports: Object.fromEntries(Object.entries(doors).map(([path, file]) => [path, door(file)])),
    ...manifest,
  };
  writeFileSync(join(out, 'package.json'), `${JSON.stringify(published, null, 2)}\n`);
  for (const [path, file] of Object.entries(doors))
    if (path !== '.') writeFolderDoor(out, path, file, types(file, 'cts'));
  cpSync(join(root, 'LICENSE'), join(out, 'LICENSE'));
  if (existsSync(join(source, 'README.md'))) cpSync(join(source, 'README.md'), join(out, 'README.md'));
}

/**
 * Each module once more, for `require`. From the finished modules, and not from the sources: esbuild splits what doors
 * share only for modules, so each required door would bring a copy of the core, whose classes the other does not know.
 */
async function writeCommonJs(out) {
  for (const file of readdirSync(out)) {
    if (!file.endsWith('.mjs')) continue;
    const { code } = await transform(readFileSync(join(out, file), 'utf8'), { format: 'cjs', target: 'es2022' });
    writeFileSync(
      join(out, file.replace(/\.mjs$/, '.cjs')),
      code.replaceAll(/\brequire\("(\.\/[^"]+)\.mjs"\)/g, 'require("$1.cjs")'),
    );
  }
}

/** A folder by the door's name, for resolvers that do not read `exports`: TypeScript's `node10` and older bundlers. */
function writeFolderDoor(out, path, file, types) {
  const folder = join(out, path);
  mkdirSync(folder, { recursive: true });
  const up = path
    .split('/')
    .slice(1)
    .map(() => '..')
    .join('/');
  const manifest = { main: `${up}/${file}.cjs`, module: `${up}/${file}.mjs`, types: join(up, types) };
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

/** One declaration for each kind of import, since a type is of the kind of module it stands in. */
function writeTypes(source, out) {
  const made = join(out, '.types');
  mkdirSync(made, { recursive: true });
  // The protocol too: to the compiler it is another's package, of which it would write nothing.
  const sources = [source, join(root, 'sdk/protocol')].map((folder) => join(folder, 'src'));
  const config = {
    extends: join(source, 'tsconfig.json'),
    compilerOptions: {
      noEmit: false,
      declaration: true,
      emitDeclarationOnly: true,
      rootDir: join(root, 'sdk'),
      outDir: '.',
      typeRoots: [join(root, 'node_modules/@types')],
    },
    include: sources,
    exclude: sources.flatMap((folder) => [
      `${folder}/**/*.test.ts`,
      `${folder}/**/*.test.tsx`,
      `${folder}/**/*.test-kit.ts`,
    ]),
  };
  writeFileSync(join(made, 'tsconfig.json'), JSON.stringify(config));
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  execFileSync(process.execPath, [tsc, '-p', made], { stdio: ['ignore', 'inherit', 'inherit'] });
  for (const file of readdirSync(made, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.d.ts')) continue;
    const text = readFileSync(join(made, file), 'utf8');
    const protocol = relative(dirname(file), 'protocol/src/index.ts');
    for (const kind of ['m', 'c']) {
      const target = join(out, 'types', file.replace(/\.ts$/, `.${kind}ts`));
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(
        target,
        text
          .replaceAll(/(['"])@starling\/protocol\1/g, `$1${protocol}$1`)
          .replaceAll(/(['"])(\.[^'"]*)\.tsx?\1/g, `$1$2.${kind}js$1`),
      );
    }
  }
  rmSync(made, { recursive: true });
}
