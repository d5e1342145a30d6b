import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readFileSync, symlinkSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { connectPeer, openProgram, type Program } from '../../../infra/testing/program.ts';
import { freePort } from '../../../infra/testing/redis-server.ts';

const root = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));
const app = { id: '42', key: 'the-key', secret: 'the-secret' };

let program: Program;
beforeAll(() => {
  program = openProgram();
});
afterAll(() => program.close());

interface Started {
  readonly child: ChildProcess;
  readonly url: string;
  readonly output: () => string;
  readonly ended: Promise<number | string>;
}

/** In a process group of its own, as a terminal or a container starts it; on a free port, until it is ready. */
async function start(command: readonly [string, ...string[]], cwd: string): Promise<Started> {
  const port = await freePort();
  const [file, ...args] = command;
  const child = spawn(file, args, {
    cwd,
    detached: true,
    env: {
      PATH: [dirname(process.execPath), '/usr/local/bin', '/usr/bin', '/bin'].join(':'),
      HOME: homedir(),
      STARLING_PORT: String(port),
      STARLING_DATA_DIR: join(program.makeFolder(), 'data'),
      STARLING_APP_ID: app.id,
      STARLING_APP_KEY: app.key,
      STARLING_APP_SECRET: app.secret,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  // The output ends when the last of those who write to it has.
  const ended = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | string);
  onTestFinished(async () => {
    try {
      process.kill(-(child.pid ?? 0), 'SIGKILL');
    } catch {
      // All of the group have ended.
    }
    await ended;
  });
  const url = `http://127.0.0.1:${port}`;
  await expect
    .poll(
      async () => {
        const response = await fetch(`${url}/readyz`, { headers: { connection: 'close' } }).catch(() => undefined);
        return response?.status ?? output;
      },
      { timeout: 30_000, interval: 100 },
    )
    .toBe(200);
  return { child, url, output: () => output, ended };
}

/** A checkout that is built already, so that a start builds nothing. */
function checkout(): string {
  const folder = program.makeFolder();
  for (const name of ['package.json', '.npmrc']) cpSync(join(root, name), join(folder, name));
  for (const name of ['node_modules', 'services', 'sdk']) symlinkSync(join(root, name), join(folder, name));
  return folder;
}

async function expectKindEnd({ url, output, ended }: Started, send: () => void): Promise<void> {
  const peers = await Promise.all([1, 2, 3].map(() => connectPeer(url, app.key)));
  send();
  for (const peer of peers) expect(await peer.closed).toBe(4100);
  expect(await ended).toBe(0);
  expect(output()).toContain('"msg":"Stopped"');
  await expect(fetch(`${url}/healthz`)).rejects.toThrow();
}

describe('[OP6] tells its clients, and ends with 0', () => {
  test('on SIGHUP, when its terminal is closed', async () => {
    const starling = await start([process.execPath, program.file, 'start'], program.makeFolder());
    await expectKindEnd(starling, () => void starling.child.kill('SIGHUP'));
  });

  test.each(['SIGTERM', 'SIGINT'] as const)('on %s as process 1, as in a container', async (signal) => {
    const own = ['--pid', '--fork', '--kill-child', '--mount-proc'];
    // Who is not root may be so in a namespace of its own.
    const asRoot = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
    const starling = await start(
      ['unshare', ...asRoot, ...own, process.execPath, program.file, 'start'],
      program.makeFolder(),
    );
    const first = Number(readFileSync(`/proc/${starling.child.pid}/task/${starling.child.pid}/children`, 'utf8'));
    await expectKindEnd(starling, () => process.kill(first, signal));
  });

  test('on SIGTERM to npm start, of which no process is left', async () => {
    execFileSync('npm', ['run', 'prestart'], { cwd: root, stdio: 'pipe' });
    const starling = await start(['npm', 'start'], checkout());
    await expectKindEnd(starling, () => void starling.child.kill('SIGTERM'));
  });

  test('on Ctrl-C, which npm and all below it get', async () => {
    execFileSync('npm', ['run', 'prestart'], { cwd: root, stdio: 'pipe' });
    const starling = await start(['npm', 'start'], checkout());
    await expectKindEnd(starling, () => process.kill(-(starling.child.pid ?? 0), 'SIGINT'));
  });
});
