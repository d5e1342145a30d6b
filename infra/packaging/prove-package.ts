/** What is wrong with a package, as those who install it would find out. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { publint } from 'publint';

const run = promisify(execFile);

function programOf(name: string, path: string): string {
  return fileURLToPath(import.meta.resolve(`${name}/package.json`)).replace(/package\.json$/, path);
}

/** What publint and attw say of its manifest, its files and its types, for every kind of import. */
export async function packageFaults(folder: string): Promise<readonly string[]> {
  const { messages } = await publint({ pkgDir: folder, strict: true });
  const attw = programOf('@arethetypeswrong/cli', 'dist/index.js');
  const found = await run(process.execPath, [attw, '--pack', folder, '--format', 'ascii', '--no-color', '--no-emoji'], {
    cwd: folder,
  }).then(
    () => [],
    ({ stdout }: { stdout: string }) => [stdout],
  );
  return [...messages.map((message) => JSON.stringify(message)), ...found];
}

/**
 * What the compiler says of a source that imports packages installed in the folder, in its strictest form and with no
 * platform's types unless given, such as `['dom']`.
 */
export async function typeFaults(folder: string, source: string, libs: readonly string[] = []): Promise<string> {
  const file = join(folder, 'typed.mts');
  writeFileSync(file, source);
  const options = [
    '--noEmit',
    '--strict',
    '--exactOptionalPropertyTypes',
    '--module',
    'nodenext',
    '--target',
    'es2022',
  ];
  const lib = ['es2023', ...libs].join(',');
  const tsc = [programOf('typescript', 'bin/tsc'), ...options, '--types', '', '--lib', lib, file];
  return run(process.execPath, tsc, { cwd: folder }).then(
    () => '',
    ({ stdout }: { stdout: string }) => stdout,
  );
}
