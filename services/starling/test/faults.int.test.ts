/** What may go wrong around and inside the program, as it is run: its readers go away, its disk is full, it has a defect. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  connectPeer,
  openProgram,
  type Program,
  readMetrics,
  type Starling,
  signedPath,
} from '../../../infra/testing/program.ts';
import { RedisServer } from '../../../infra/testing/redis-server.ts';

let program: Program;
beforeAll(() => {
  program = openProgram();
});
afterAll(() => program.close());

async function dropped(url: string): Promise<number> {
  return Number(/^starling_log_lines_dropped_total (\d+)/m.exec(await readMetrics(url))?.[1]);
}

/** Each makes the program log a line or two at the level debug. */
async function makeLines({ url, app }: Pick<Starling, 'url' | 'app'>, count: number): Promise<void> {
  const body = JSON.stringify({ name: 'n', channel: `bad channel ${'x'.repeat(150)}`, data: '' });
  const one = async () => {
    const response = await fetch(url + signedPath(app, 'POST', `/apps/${app.id}/events`, body), {
      method: 'POST',
      body,
    });
    expect(response.status).toBe(400);
    await response.text();
  };
  for (let left = count; left > 0; left -= 50) await Promise.all(Array.from({ length: Math.min(50, left) }, one));
}

/** CPU time that a process has had, in hundredths of a second. */
function cpuTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function serves(url: string): Promise<void> {
  await expect
    .poll(async () => (await fetch(`${url}/healthz`).catch(() => undefined))?.status, { timeout: 20_000 })
    .toBe(200);
}

describe('[OP17] starling start', () => {
  test('goes on when the readers of stdout and stderr are gone, drops lines for it, and ends at one SIGTERM', async () => {
    const starling = await program.start({ env: { STARLING_LOG_LEVEL: 'debug', STARLING_DRAIN_SECONDS: '1' } });
    const pid = starling.child.pid ?? 0;
    starling.child.stdout?.destroy();
    starling.child.stderr?.destroy();
    await makeLines(starling, 20);
    expect(await dropped(starling.url)).toBeGreaterThan(0);
    const peer = await connectPeer(starling.url, starling.app.key);
    const [ticks, began] = [cpuTicks(pid), performance.now()];
    await makeLines(starling, 1);
    // An endless loop would have all the CPU there is between two requests; idle it has next to none.
    await new Promise((resolve) => setTimeout(resolve, 0));
    expect(cpuTicks(pid) - ticks).toBeLessThan((performance.now() - began) / 10 + 20);
    starling.child.kill('SIGTERM');
    expect(await peer.closed).toBe(4100);
    const [code] = await once(starling.child, 'exit');
    expect(code).toBe(0);
  });

  test('keeps its memory when stdout is not read, and says how many lines were dropped when it is read again', async () => {
    const starling = await program.start({ env: { STARLING_LOG_LEVEL: 'debug' } });
    starling.child.stdout?.pause();
    // Each line is 400 bytes or so; a pipe holds 64 KiB, the process 1 MiB.
    while ((await dropped(starling.url)) === 0) await makeLines(starling, 200);
    const said = starling.said(/"dropped":\d+,"msg":"Lines of the log were dropped/);
    starling.child.stdout?.resume();
    await said;
    starling.child.kill('SIGTERM');
    expect(await starling.ended).toBe(0);
  }, 120_000);

  test('goes on where the disk behind stdout is full, and when whatever reads its first lines leaves at once', async () => {
    for (const kind of ['full', 'head'] as const) {
      const port = await freePort();
      const full = openSync('/dev/full', 'w');
      const cwd = program.makeFolder();
      const env = { STARLING_PORT: String(port), STARLING_METRICS_TOKEN: 'metrics-token-of-tests' };
      const child = spawn(process.execPath, [program.file, 'start'], {
        cwd,
        env,
        stdio: ['ignore', kind === 'full' ? full : 'pipe', kind === 'full' ? full : 'pipe'],
      });
      closeSync(full);
      child.stdout?.destroy();
      child.stderr?.destroy();
      const url = `http://127.0.0.1:${port}`;
      try {
        await serves(url);
        expect(await dropped(url)).toBeGreaterThan(0);
        child.kill('SIGTERM');
        expect((await once(child, 'exit'))[0]).toBe(0);
      } finally {
        child.kill('SIGKILL');
      }
    }
  });
});

describe('a defect', () => {
  /** Loaded before the program; a signal makes it happen. */
  function planted(): Record<string, string> {
    const file = join(program.makeFolder(), 'plant.mjs');
    writeFileSync(
      file,
      `process.on('SIGUSR2', () => { throw new Error('planted exception'); });
       process.on('SIGWINCH', () => { void Promise.reject(new Error('planted rejection')); });`,
    );
    return { NODE_OPTIONS: `--import ${file}` };
  }

  test('[OP20] that nobody caught tells clients to reconnect and ends the process with 1, whatever the drain is', async () => {
    const starling = await program.start({ env: { ...planted(), STARLING_DRAIN_SECONDS: '600' } });
    const peers = await Promise.all(Array.from({ length: 20 }, () => connectPeer(starling.url, starling.app.key)));
    starling.child.kill('SIGUSR2');
    expect(await Promise.all(peers.map(({ closed }) => closed))).toEqual(peers.map(() => 4100));
    expect(await starling.ended).toBe(1);
    const fatal = starling
      .stdout()
      .split('\n')
      .filter((line) => line.includes('"level":"fatal"'));
    expect(fatal).toHaveLength(1);
    expect(fatal[0]).toContain('planted exception');
  });

  test('[OP20] ends the process though nobody reads its log and a client does not answer', async () => {
    const starling = await program.start({ env: { ...planted(), STARLING_DRAIN_SECONDS: '600' } });
    const silent = connect(Number(new URL(starling.url).port), '127.0.0.1');
    silent.write(
      `GET /app/${starling.app.key}?protocol=7 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`,
    );
    await once(silent, 'data');
    silent.on('error', () => {}).pause();
    starling.child.stdout?.destroy();
    starling.child.stderr?.destroy();
    starling.child.kill('SIGUSR2');
    expect((await once(starling.child, 'exit'))[0]).toBe(1);
    silent.destroy();
  });

  test('[OP20] that was a rejection is counted and logged, and the process goes on', async () => {
    const starling = await program.start({ env: planted() });
    const peer = await connectPeer(starling.url, starling.app.key);
    starling.child.kill('SIGWINCH');
    await starling.said(/"kind":"rejection".*planted rejection/);
    expect(await readMetrics(starling.url)).toContain('starling_defects_total{kind="rejection"} 1');
    expect(peer.socket.readyState).toBe(1);
    peer.socket.close();
    starling.child.kill('SIGTERM');
    expect(await starling.ended).toBe(0);
  });

  test('[OP20] of the process that has workers makes each of them tell its clients', async () => {
    const redis = await RedisServer.start();
    try {
      const env = { ...planted(), REDIS_URL: redis.url, STARLING_DRAIN_SECONDS: '600', STARLING_METRICS_PORT: '0' };
      const starling = await program.start({ args: ['--workers', '2'], env });
      const [, metricsUrl = ''] = await starling.said(/"metrics":"(http:[^"]+)\/metrics"/);
      const numbers = await readMetrics(metricsUrl);
      for (const worker of ['1', '2', 'supervisor']) {
        expect(numbers).toContain(`starling_log_lines_dropped_total{worker="${worker}"} 0`);
      }
      expect((await fetch(`${starling.url}/metrics`)).status).toBe(404);
      const peers = await Promise.all(Array.from({ length: 6 }, () => connectPeer(starling.url, starling.app.key)));
      starling.child.kill('SIGUSR2');
      expect(await Promise.all(peers.map(({ closed }) => closed))).toEqual(peers.map(() => 4200));
      expect(await starling.ended).toBe(1);
    } finally {
      await redis.remove();
    }
  });
});

test('[OP2] the metrics have a port of their own, or a token, or are not there', async () => {
  const own = await program.start({
    env: { STARLING_METRICS_TOKEN: '', STARLING_METRICS_PORT: '0', STARLING_PATH_PREFIX: '/rt' },
  });
  const [, url = ''] = await own.said(/"metrics":"([^"]+)"/);
  expect(new URL(url).hostname).toBe('127.0.0.1');
  expect(await (await fetch(url)).text()).toContain('starling_connections_opened_total');
  const base = new URL(own.url).origin;
  for (const path of ['/metrics', '/rt/metrics']) expect((await fetch(base + path)).status).toBe(404);
  const none = await program.start({ env: { STARLING_METRICS_TOKEN: '' } });
  expect((await fetch(`${none.url}/metrics`)).status).toBe(404);
});
