import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { findCompiler } from '../../testing/native-fanout.ts';
import { freePort } from '../../testing/redis-server.ts';
import { eventually } from '../cluster/cluster.ts';
import { expectBackWithin, openWitnesses, seeThemBack } from './restart.ts';
import { buildStarling } from './starling-build.ts';

/** Five seconds are promised where the port is always held; twice that. */
const limitMs = 10_000;
const app = { id: '42', key: 'the-key', secret: 'the-secret' };

/** The program that holds the port, and the one that it starts, until the end of the test. */
function build(): { holder: string; starling: string; folder: string } {
  const folder = mkdtempSync(join(tmpdir(), 'starling-held-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const holder = join(folder, 'hold-port');
  const source = fileURLToPath(new URL('hold-port.c', import.meta.url));
  execFileSync(findCompiler(), ['-O1', '-Wall', '-Werror', '-o', holder, source]);
  const starling = buildStarling();
  onTestFinished(() => starling.remove());
  return { holder, starling: starling.file, folder };
}

test.each(['SIGTERM', 'SIGKILL'] as const)(
  '[OP22] clients come back to a process that gets %s, by a passed socket',
  async (signal) => {
    const { holder, starling, folder } = build();
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    const child = spawn(holder, [String(port), process.execPath, starling, 'start'], {
      cwd: mkdtempSync(join(folder, 'run-')),
      env: {
        // Where it cannot take the passed socket, it must not find another port to take.
        STARLING_PORT: String(port),
        STARLING_APP_ID: app.id,
        STARLING_APP_KEY: app.key,
        STARLING_APP_SECRET: app.secret,
      },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const pids: number[] = [];
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      for (const [, pid] of text.matchAll(/^started (\d+)$/gm)) pids.push(Number(pid));
    });
    const ended = once(child, 'close');
    onTestFinished(async () => {
      child.kill('SIGTERM');
      const killing = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await ended;
      clearTimeout(killing);
    });
    await eventually('ready', 20_000, async () => {
      const { status } = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(2_000) });
      return status === 200 || `/readyz is ${status}`;
    });
    const witnesses = await openWitnesses({ url, app });

    const first = pids.at(-1);
    process.kill(first!, signal);
    expectBackWithin(await seeThemBack(`a passed socket, ${signal}`, witnesses, limitMs), limitMs);
    expect(pids.at(-1)).not.toBe(first);
  },
);
