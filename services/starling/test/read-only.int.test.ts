/** `npm start` in a checkout that cannot be written: really mounted so, in a mount namespace that ends with the process. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const root = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));
const builds = ['services/fanout/build.mjs', 'services/starling/build.mjs'];

let folder: string;
const children = new Set<ChildProcess>();
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'starling-read-only-'));
  mkdirSync(join(folder, 'checkout'));
  for (const file of builds) execFileSync(process.execPath, [file], { cwd: root, stdio: 'pipe' });
});
afterAll(async () => {
  for (const child of children) {
    const closed = once(child, 'close');
    process.kill(-(child.pid ?? 0), 'SIGKILL');
    await closed;
  }
  rmSync(folder, { recursive: true, force: true });
});

/** Why this machine cannot mount a folder read-only, if it cannot. */
function obstacle(): string | undefined {
  const { error, status, stderr } = spawnSync('unshare', ['-m', 'true'], { encoding: 'utf8' });
  return status === 0 ? undefined : `a mount namespace takes root on Linux: ${error?.message ?? stderr.trim()}`;
}

interface Started {
  readonly child: ChildProcess;
  readonly output: () => string;
  /** Resolves with whether the text came before the end. */
  said(text: string): Promise<boolean>;
  readonly ended: Promise<number | null>;
}

/** `hide`: folders in the checkout that are empty there. */
function npmStart(env: Record<string, string>, hide: readonly string[] = []): Started {
  const checkout = join(folder, 'checkout');
  const mounts = [
    `mount --bind '${root}' '${checkout}'`,
    `mount -o remount,ro,bind '${checkout}'`,
    ...hide.map((path) => `mount -t tmpfs -o ro tmpfs '${join(checkout, path)}'`),
    `cd '${checkout}'`,
  ];
  const child = spawn('unshare', ['-m', 'sh', '-c', `${mounts.join(' && ')} && exec npm start`], {
    env: {
      PATH: `${dirname(process.execPath)}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin`,
      HOME: folder,
      STARLING_PORT: '0',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  children.add(child);
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (more: string) => {
      text += more;
    });
  }
  const ended = once(child, 'close').then(([code]) => {
    children.delete(child);
    return code as number | null;
  });
  const said = async (wanted: string) => {
    while (!text.includes(wanted)) {
      const hasEnded = await Promise.race([
        once(child.stdout, 'data').then(() => false),
        once(child.stderr, 'data').then(() => false),
        ended.then(() => true),
      ]);
      if (hasEnded) return text.includes(wanted);
    }
    return true;
  };
  return { child, output: () => text, said, ended };
}

test('[OP32] npm start in a built checkout that is read-only serves, with its data elsewhere', async (context) => {
  const reason = obstacle();
  if (reason !== undefined) return context.skip(reason);
  const started = npmStart({ STARLING_DATA_DIR: join(folder, 'data') });
  expect(await started.said('is ready at'), started.output()).toBe(true);
  const [, url = ''] = /ready at (\S+)/.exec(started.output()) ?? [];
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  process.kill(-(started.child.pid ?? 0), 'SIGTERM');
  await started.ended;
});

test('[OP32] says in one line that the data folder is in the checkout, and read-only', async (context) => {
  const reason = obstacle();
  if (reason !== undefined) return context.skip(reason);
  const started = npmStart({});
  expect(await started.ended).toBe(1);
  expect(started.output()).toMatch(/Cannot start: STARLING_DATA_DIR: .* read-only file system\. Give another/);
});

test('[OP32] npm start in one that is not built says in one line what to do', async (context) => {
  const reason = obstacle();
  if (reason !== undefined) return context.skip(reason);
  const started = npmStart({ STARLING_DATA_DIR: join(folder, 'data') }, [
    'services/starling/dist',
    'services/fanout/dist',
  ]);
  expect(await started.ended).toBe(1);
  const lines = started.output().split('\n');
  expect(lines.filter((line) => line.includes('Starling is not built'))).toHaveLength(1);
  expect(started.output()).toContain('cannot be written (EROFS): run "npm run build"');
  expect(started.output()).not.toMatch(/\n {4}at /);
});
