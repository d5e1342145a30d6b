/** Clients that do not behave, many at the same moment, against the program as it is shipped; after each it must serve. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { get as getPlain } from 'node:http';
import { get as getSecure } from 'node:https';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { deflatedFrame } from '../../../services/transports/src/ws/raw-client.test-kit.ts';
import { metricsToken, openProgram, type Program, type Starling, type StartOptions } from '../../testing/program.ts';
import { RedisServer } from '../../testing/redis-server.ts';

let program: Program;
let folder: string;
beforeAll(() => {
  program = openProgram();
  folder = mkdtempSync(join(tmpdir(), 'starling-rude-'));
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const files = ['-subj', '/CN=starling.test', '-keyout', join(folder, 'key.pem'), '-out', join(folder, 'cert.pem')];
  execFileSync('openssl', ['req', '-x509', ...curve, ...files], { stdio: 'ignore' });
});
afterAll(async () => {
  await program?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Below the client library, whose public methods are too polite. */
const socketOf = (ws: WebSocket): Socket => (ws as unknown as { _socket: Socket })._socket;

/** Over TLS Node resets nothing. */
function reset(socket: Socket): void {
  if (socket instanceof TLSSocket) socket.destroy();
  else socket.resetAndDestroy();
}

/** A frame as a client sends it, by hand: the library would refuse. */
const bombs = Buffer.concat(Array.from({ length: 100 }, () => deflatedFrame('['.repeat(131_000))));
const nested = Buffer.concat(Array.from({ length: 100 }, () => deflatedFrame('['.repeat(60_000))));

const ways: Readonly<Record<string, (ws: WebSocket) => void>> = {
  'close(1000)': (ws) => ws.close(1000),
  'half-close': (ws) => void socketOf(ws).end(),
  reset: (ws) => reset(socketOf(ws)),
  vanish: (ws) => ws.terminate(),
  'close, then reset': (ws) => {
    const socket = socketOf(ws);
    ws.close(1000);
    setImmediate(() => reset(socket));
  },
  'half a frame, then end': (ws) => void socketOf(ws).end(Buffer.from([0x81, 0xfe, 0x10])),
  'a last word, then close': (ws) => {
    ws.send('{"event":"pusher:unsubscribe","data":{"channel":"crowd"}}');
    ws.close();
  },
  'a flood': (ws) => {
    for (let each = 0; each < 3_000; each++) ws.ping();
    ws.terminate();
  },
  garbage: (ws) => void socketOf(ws).end(randomBytes(70_000)),
  bombs: (ws) => void socketOf(ws).end(bombs),
  'nested bombs': (ws) => void socketOf(ws).end(nested),
};

/** From the moment of each stage on it misbehaves. */
const stages: Readonly<Record<string, (ws: WebSocket) => Promise<void>>> = {
  'before it is established': (ws) => once(ws, 'open'),
  'while it subscribes': async (ws) => {
    await once(ws, 'message');
    ws.send('{"event":"pusher:subscribe","data":{"channel":"crowd"}}');
  },
  subscribed: async (ws) => {
    await once(ws, 'message');
    ws.send('{"event":"pusher:subscribe","data":{"channel":"crowd"}}');
    await once(ws, 'message');
  },
  'while it closes': async (ws) => {
    await once(ws, 'message');
    ws.send(Buffer.from('binary'));
    await once(ws, 'message');
  },
};

function once(ws: WebSocket, name: 'open' | 'message'): Promise<void> {
  return new Promise((resolve, reject) => {
    ws.once(name, () => resolve());
    ws.once('close', (code) => reject(new Error(`Closed with ${code} before '${name}'`)));
  });
}

function dial({ url, app }: Starling, compresses: boolean): WebSocket {
  const address = `${url.replace(/^http/, 'ws')}/app/${app.key}?protocol=7&client=rude&version=1`;
  const ws = new WebSocket(address, { perMessageDeflate: compresses, rejectUnauthorized: false });
  ws.on('error', () => {});
  return ws;
}

function read({ url }: Starling, path: string): Promise<string> {
  const get = url.startsWith('https') ? getSecure : getPlain;
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${metricsToken}` };
    const options = { agent: false as const, headers, rejectUnauthorized: false, timeout: 20_000 };
    get(`${url}${path}`, options, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      answer.on('end', () => resolve(text));
    }).on('error', reject);
  });
}

async function connections(starling: Starling): Promise<number> {
  const lines = (await read(starling, '/metrics')).matchAll(/^starling_connections(?:\{.*\})? (\S+)$/gm);
  return [...lines].reduce((sum, [, value]) => sum + Number(value), 0);
}

/** The program's processes, its workers among them. */
function pids({ child, stdout }: Starling): number[] {
  const workers = [...stdout().matchAll(/"pid":(\d+),"msg":"A worker is ready"/g)].map(([, pid]) => Number(pid));
  return [child.pid as number, ...workers];
}

/** Sockets that the processes hold: of files the database opens some when it pleases. */
function descriptors(starling: Starling): number {
  const isSocket = (file: string): boolean => {
    try {
      return readlinkSync(file).startsWith('socket:');
    } catch {
      // Closed since it was listed.
      return false;
    }
  };
  const files = pids(starling).flatMap((pid) => readdirSync(`/proc/${pid}/fd`).map((fd) => `/proc/${pid}/fd/${fd}`));
  return files.filter(isSocket).length;
}
const residentBytes = (starling: Starling): number =>
  pids(starling).reduce((sum, pid) => {
    const [, kibibytes = '0'] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    return sum + Number(kibibytes) * 1_024;
  }, 0);

async function eventually(isSo: () => Promise<boolean> | boolean, what: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`Not in 30 s: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function beRude(
  starling: Starling,
  stage: string,
  way: string,
  count: number,
  compresses = false,
): Promise<void> {
  const before = descriptors(starling);
  const all = Array.from({ length: count }, () => dial(starling, compresses));
  await Promise.all(all.map(stages[stage] as (ws: WebSocket) => Promise<void>));
  for (const ws of all) ways[way]?.(ws);
  await eventually(async () => (await connections(starling)) === 0, 'no connection is left');
  for (const ws of all) ws.terminate();
  await eventually(() => descriptors(starling) <= before + 3, 'no descriptor is left');
  expect(starling.child.exitCode).toBeNull();
  expect(starling.stdout() + starling.stderr()).not.toMatch(/defect|"level":(50|60)/i);
  expect(JSON.parse(await read(starling, '/healthz')).status).toBe('alive');
  const polite = dial(starling, compresses);
  await stages['subscribed']?.(polite);
  polite.terminate();
  await eventually(async () => (await connections(starling)) === 0, 'the polite one has left');
}

function suite(options: () => StartOptions, compresses: boolean, cases: () => Array<[string, string, number]>): void {
  let starling: Starling;
  beforeAll(async () => {
    starling = await program.start(options());
  });
  afterAll(async () => {
    starling.child.kill('SIGKILL');
    await starling.ended;
  });
  test.each(cases())('[WS18] %s, %s, %i at once', { timeout: 120_000 }, (way, stage, count) =>
    beRude(starling, stage, way, count, compresses),
  );
  test('[WS18] holds no more memory for it', { timeout: 240_000 }, async () => {
    for (let round = 0; round < 3; round++) await beRude(starling, 'subscribed', 'close(1000)', 200, compresses);
    const before = residentBytes(starling);
    for (let round = 0; round < 10; round++) await beRude(starling, 'subscribed', 'close(1000)', 200, compresses);
    // Garbage is collected when it pleases the collector; 2,000 connections that were kept would be more at 32 KiB each.
    expect(residentBytes(starling) - before).toBeLessThan(64e6);
  });
}

const ordinary = Object.keys(ways).filter((way) => !way.includes('bombs'));

describe('plain', () => {
  suite(
    () => ({ env: { STARLING_LOG_LEVEL: 'warn' } }),
    false,
    () => [
      ...ordinary.flatMap((way) =>
        Object.keys(stages).map((stage): [string, string, number] => [way, stage, stage === 'subscribed' ? 64 : 20]),
      ),
      ...['close(1000)', 'half-close', 'reset'].map((way): [string, string, number] => [way, 'subscribed', 500]),
      ...ordinary.map((way): [string, string, number] => [way, 'subscribed', 1]),
    ],
  );
});

describe('with compression', () => {
  suite(
    () => ({ env: { STARLING_LOG_LEVEL: 'warn' } }),
    true,
    () => Object.keys(ways).map((way) => [way, 'subscribed', 64]),
  );
});

describe('over TLS', () => {
  suite(
    () => {
      const files = {
        STARLING_TLS_CERT: join(folder, 'cert.pem'),
        STARLING_TLS_KEY: join(folder, 'key.pem'),
      };
      return { env: { STARLING_LOG_LEVEL: 'warn', ...files } };
    },
    false,
    () => ordinary.map((way) => [way, 'subscribed', 64]),
  );
});

describe('with two workers', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(() => redis?.remove());
  suite(
    () => ({ args: ['--workers', '2'], env: { REDIS_URL: redis.url } }),
    true,
    () => ['close(1000)', 'half-close', 'reset', 'bombs', 'a flood'].map((way) => [way, 'subscribed', 64]),
  );
});
