/**
 * Compiles the native half where that is possible; says in one line why not where it is not, and is content: everything
 * works without it. `node build.mjs [file [compiler]]`
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const room = dirname(fileURLToPath(import.meta.url));
const target = resolve(process.argv[2] ?? join(room, 'dist/fanout.node'));
const compiler = process.argv[3] ?? process.env.CC ?? 'cc';

const sources = ['addon.c', 'send_run.c', 'send_run.h']
  .map((name) => join(room, 'src/native', name))
  .filter((path) => existsSync(path));
/** Of the last build: what it was made of and for. */
const stampFile = `${target}.stamp`;
const stamp = JSON.stringify([
  ...[process.version, process.arch, compiler],
  ...sources.map((path) => `${statSync(path).size} ${statSync(path).mtimeMs}`),
]);

const isUpToDate = existsSync(target) && existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp;
// A start builds first: one that has nothing to build writes nothing, as the folder may be read-only.
const problem = isUpToDate ? undefined : built();
if (problem !== undefined) {
  discard();
  process.stdout.write(`The native fan-out is not built (${problem}): sockets will be written one by one\n`);
}

/** Undefined, or why not. */
function built() {
  try {
    const fault = compile();
    if (fault === undefined) writeFileSync(stampFile, stamp);
    return fault;
  } catch (err) {
    if (err.code === undefined) throw err;
    return `${dirname(target)} cannot be written: ${err.code}`;
  }
}

/** What an earlier build left may be of another machine. */
function discard() {
  try {
    rmSync(target, { force: true });
  } catch (err) {
    process.stderr.write(
      `${target} is of another build and cannot be removed (${err.code}): remove it, or build it anew\n`,
    );
    process.exit(1);
  }
}

function compile() {
  if (process.platform !== 'linux' && process.platform !== 'darwin') return `there is none for ${process.platform}`;
  // Every official build of Node comes with its headers; npm's setting nodedir names those of others.
  const include = [dirname(dirname(process.execPath)), process.env.npm_config_nodedir]
    .map((prefix) => (prefix === undefined ? '' : join(prefix, 'include/node')))
    .find((folder) => existsSync(join(folder, 'node_api.h')));
  if (include === undefined) return `no node_api.h beside ${process.execPath}`;

  mkdirSync(dirname(target), { recursive: true });
  // Renamed when whole: a running Starling may have the old file mapped.
  const fresh = `${target}.${process.pid}`;
  const flags = ['-std=c11', '-O2', '-D_GNU_SOURCE', '-DNAPI_VERSION=8'];
  const linking = process.platform === 'darwin' ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared', '-fPIC'];
  const units = sources.filter((path) => path.endsWith('.c'));
  const args = [...flags, ...linking, '-fvisibility=hidden', '-isystem', include, '-o', fresh, ...units];
  const { error, status, stderr } = spawnSync(compiler, args, { encoding: 'utf8' });
  if (error !== undefined) return error.code === 'ENOENT' ? `no C compiler ${compiler}` : error.message;
  if (status !== 0) {
    rmSync(fresh, { force: true });
    return `${compiler} failed: ${stderr.split('\n').find((line) => line.includes('error')) ?? `exit ${status}`}`;
  }
  renameSync(fresh, target);
  return undefined;
}
