/** `npm run mutate -- PATH...`: breaks the code on purpose, one fault at a time, and lists the faults that no unit test finds. */
import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Random } from '../testing/random.ts';
import { type Mutation, mutated, mutationsOf } from './mutations.ts';

const usage = `npm run mutate -- PATH... [options]

  PATH          files, or folders of them, such as services/core/src/hub.ts
  --minutes N   stop after so long (10)
  --seed N      which of the faults are tried first (1)

  Works on a copy of the last commit. Survivors that are accepted stand in infra/mutation/survivors.md, with the reason.
`;

const root = fileURLToPath(new URL('../../', import.meta.url));
/** A fault may make a loop endless. */
const limitMs = 120_000;

interface Fault {
  readonly file: string;
  readonly mutation: Mutation;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { minutes: { type: 'string' }, seed: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
  });
  if (values.help === true || positionals.length === 0) {
    process.stdout.write(usage);
    return;
  }
  const endsAt = performance.now() + Number(values.minutes ?? 10) * 60_000;
  const files = positionals.flatMap((path) => sourcesIn(join(root, path))).map((path) => relative(root, path));
  const copy = copyOfHead();
  try {
    const faults = files.flatMap((file) =>
      mutationsOf(readFileSync(join(copy, file), 'utf8')).map((mutation): Fault => ({ file, mutation })),
    );
    const accepted = readFileSync(join(root, 'infra/mutation/survivors.md'), 'utf8');
    const order = new Random(Number(values.seed ?? 1)).shuffle(faults);
    const survivors: string[] = [];
    let tried = 0;
    for (const fault of order) {
      if (performance.now() > endsAt) break;
      tried++;
      if (await isFound(copy, fault)) continue;
      const text = `${fault.file}: \`${fault.mutation.before.trim()}\` → \`${fault.mutation.after.trim()}\``;
      if (accepted.includes(text)) continue;
      survivors.push(text);
      process.stdout.write(`survived  ${fault.file}:${fault.mutation.line}\n          ${text}\n`);
    }
    const found = tried - survivors.length;
    process.stdout.write(
      `${found} of ${tried} faults were found or are accepted (${Math.round((100 * found) / Math.max(1, tried))} %), of ${faults.length} there are in ${files.length} files\n`,
    );
  } finally {
    removeCopy(copy);
  }
}

function sourcesIn(path: string): string[] {
  if (statSync(path).isFile()) return [path];
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.ts$/.test(name) && !/\.(?:test|test-kit|int\.test)\.ts$|\.d\.ts$/.test(name))
    .map((name) => join(path, name));
}

/** With modules of its own, so that a room's neighbours are the copy's, too. */
function copyOfHead(): string {
  const copy = join(mkdtempSync(join(tmpdir(), 'starling-mutation-')), 'copy');
  git('worktree', 'add', '--detach', '--quiet', copy, 'HEAD');
  process.once('SIGINT', () => {
    removeCopy(copy);
    process.exit(130);
  });
  const [from, to] = [join(root, 'node_modules'), join(copy, 'node_modules')];
  mkdirSync(join(to, '@starling'), { recursive: true });
  for (const name of readdirSync(from)) if (name !== '@starling') symlinkSync(join(from, name), join(to, name));
  for (const kind of ['sdk', 'services']) {
    for (const room of readdirSync(join(copy, kind))) {
      const manifest = join(copy, kind, room, 'package.json');
      if (!existsSync(manifest)) continue;
      const { name } = JSON.parse(readFileSync(manifest, 'utf8'));
      symlinkSync(join(copy, kind, room), join(to, name));
    }
  }
  return copy;
}

function removeCopy(copy: string): void {
  git('worktree', 'remove', '--force', copy);
  rmSync(dirname(copy), { recursive: true, force: true });
}

function git(...args: string[]): void {
  const { status, stderr } = spawnSync('git', args, { cwd: root, encoding: 'utf8' });
  if (status !== 0) throw new Error(`git ${args.join(' ')}: ${stderr}`);
}

/** Whether a unit test of the file's room fails, or never ends. Tests of other rooms would find more, and take minutes. */
async function isFound(copy: string, { file, mutation }: Fault): Promise<boolean> {
  const path = join(copy, file);
  const text = readFileSync(path, 'utf8');
  writeFileSync(path, mutated(text, mutation));
  try {
    const room = file.split('/').slice(0, 2).join('/');
    const args = ['vitest', 'run', '--project', 'unit', `${room}/`, '--bail', '1', '--reporter', 'dot'];
    const child = spawn('npx', args, { cwd: copy, stdio: 'ignore', detached: true });
    return await new Promise<boolean>((resolve, reject) => {
      const limit = setTimeout(() => {
        // The workers too: an endless loop hears no signal but this.
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
        resolve(true);
      }, limitMs);
      child.once('error', reject);
      child.once('exit', (code) => {
        clearTimeout(limit);
        resolve(code !== 0);
      });
    });
  } finally {
    writeFileSync(path, text);
  }
}

await main();
