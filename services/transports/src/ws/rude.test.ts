/**
 * Clients that do not behave, under the real engine: each way to misbehave, at each stage of a connection, alone and with
 * many in the same turn. After each the process lives, and nothing of them is left.
 */
import { readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Engine, event, startEngine } from '../engine.test-kit.ts';
import { clientFrame, closePayload, deflatedFrame, deflateOffer, handshake, opcodes } from './raw-client.test-kit.ts';

const { continuation, ping } = opcodes;
const frame = (command: unknown): Buffer => clientFrame(JSON.stringify(command));
const subscribe = (channel: string): Buffer => frame({ event: 'pusher:subscribe', data: { channel } });
const repeated = (bytes: Buffer, count: number): Buffer => Buffer.concat(Array.from({ length: count }, () => bytes));
const close = clientFrame(closePayload(1000), { opcode: opcodes.close });

/** What is made once: masking each copy of a long one would take longer than the test. */
const floods = {
  pings: repeated(clientFrame('', { opcode: ping }), 5_000),
  frames: repeated(clientFrame(''), 3_000),
  /** Within the rate: each is answered. */
  fewFrames: repeated(clientFrame(''), 200),
  commands: repeated(frame({ event: 'pusher:ping' }), 3_000),
  fragments: Buffer.concat([
    clientFrame('', { isFinal: false }),
    repeated(clientFrame('', { opcode: continuation, isFinal: false }), 5_000),
  ]),
  nested: repeated(clientFrame('['.repeat(60_000)), 4),
  garbage: Buffer.alloc(70_000, 0xa5),
  bombs: repeated(deflatedFrame('['.repeat(131_072)), 200),
  nestedBombs: repeated(deflatedFrame('['.repeat(60_000)), 200),
};

type Way = (socket: Socket) => void;
const ways: Readonly<Record<string, Way>> = {
  'close(1000)': (socket) => void socket.write(close),
  'half-close': (socket) => void socket.end(),
  reset: (socket) => void socket.resetAndDestroy(),
  vanish: (socket) => void socket.destroy(),
  'close, then reset': (socket) => {
    socket.write(close);
    setImmediate(() => socket.resetAndDestroy());
  },
  'close, then half-close': (socket) => void socket.end(close),
  'half a frame, then end': (socket) => void socket.end(Buffer.from([0x81, 0xfe, 0x10])),
  'a last word, then close': (socket) =>
    void socket.write(Buffer.concat([frame({ event: 'pusher:unsubscribe', data: { channel: 'crowd' } }), close])),
  'a last word, then vanish': (socket) => void socket.write(subscribe('other'), () => socket.destroy()),
  'a flood of pings': (socket) => void socket.end(floods.pings),
  'a flood of tiny frames': (socket) => void socket.end(floods.frames),
  'many tiny frames': (socket) => void socket.end(floods.fewFrames),
  'a flood of commands, then reset': (socket) => void socket.write(floods.commands, () => socket.resetAndDestroy()),
  'a flood of fragments': (socket) => void socket.end(floods.fragments),
  'deep nesting': (socket) => void socket.end(floods.nested),
  garbage: (socket) => void socket.end(floods.garbage),
};
const compressedWays: Readonly<Record<string, Way>> = {
  ...ways,
  bombs: (socket) => void socket.end(floods.bombs),
  'bombs of a size that is allowed': (socket) => void socket.end(floods.nestedBombs),
  'a bomb, then reset': (socket) => void socket.write(floods.bombs, () => socket.resetAndDestroy()),
};

let engine: Engine;
const path = '/app/key?protocol=7';
const headers = deflateOffer;

beforeAll(async () => {
  engine = await startEngine({ compresses: true });
});
afterAll(() => engine.stop());

function dial(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(engine.port, '127.0.0.1');
    socket.once('connect', () => resolve(socket));
    socket.once('error', reject);
    // From then on an error is an end like another.
    socket.on('error', () => {});
  });
}

/** Reads on until it has seen this text, or the end. */
function seen(socket: Socket, text: string): Promise<void> {
  return new Promise((resolve) => {
    let all = '';
    const look = (chunk: Buffer): void => {
      all += chunk.toString('latin1');
      if (all.includes(text)) done();
    };
    const done = (): void => {
      socket.removeListener('data', look);
      socket.resume();
      resolve();
    };
    socket.on('data', look);
    socket.once('close', done);
  });
}

/** Brings a new socket to where the way begins. */
const stages: Readonly<Record<string, (isCompressed: boolean) => Promise<Socket>>> = {
  'before the request': dial,
  'in the middle of the request': async () => {
    const socket = await dial();
    socket.write(handshake(path).slice(0, 60));
    return socket;
  },
  'before the connection is established': async (isCompressed) => {
    const socket = await dial();
    socket.write(handshake(path, isCompressed ? headers : {}));
    return socket;
  },
  'while it subscribes': async (isCompressed) => {
    const socket = await open(isCompressed);
    socket.write(subscribe('crowd'));
    return socket;
  },
  subscribed: async (isCompressed) => {
    const socket = await open(isCompressed);
    const succeeded = seen(socket, 'subscription_succeeded');
    socket.write(subscribe('crowd'));
    await succeeded;
    return socket;
  },
  'while we close': async (isCompressed) => {
    const socket = await open(isCompressed);
    const told = seen(socket, '"code":1003');
    socket.write(clientFrame('', { opcode: opcodes.binary }));
    await told;
    return socket;
  },
};

async function open(isCompressed: boolean): Promise<Socket> {
  const socket = await dial();
  const established = seen(socket, 'connection_established');
  socket.write(handshake(path, isCompressed ? headers : {}));
  await established;
  return socket;
}

const descriptors = (): number => readdirSync('/proc/self/fd').length;

/** Until it is so; fails with what it is instead. */
async function until(read: () => Promise<unknown> | unknown, wanted: unknown, limitMs = 15_000): Promise<void> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const value = await read();
    if (JSON.stringify(value) === JSON.stringify(wanted)) return;
    if (Date.now() > deadline) expect(value).toEqual(wanted);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function beRude(stage: string, way: Way, count: number, isCompressed = false): Promise<void> {
  const before = descriptors();
  const reach = stages[stage] as (isCompressed: boolean) => Promise<Socket>;
  const sockets = await Promise.all(Array.from({ length: count }, () => reach(isCompressed)));
  for (const socket of sockets) socket.resume();
  for (const socket of sockets) way(socket);
  // What the server does not end by itself, the client does at last: a request that is never finished, for one.
  if (stage === 'before the request' || stage === 'in the middle of the request') {
    await new Promise((resolve) => setImmediate(resolve));
    for (const socket of sockets) socket.end();
  }
  // A request that came before its connection went may still become a session, which ends at once.
  await until(async () => [await engine.connections(), engine.sessions.size, engine.traffic.connections], [0, 0, 0]);
  for (const socket of sockets) socket.destroy();
  if (process.platform === 'linux') await until(() => descriptors() <= before + 2, true);
  expect(engine.problems).toEqual([]);
  // And it serves.
  const polite = await engine.subscribed('crowd');
  await engine.publish('hello', '{}', 'crowd');
  expect(await event(polite)).toBe('hello');
  polite.destroy();
  await until(() => engine.sessions.size, 0);
}

describe('[WS18] clients that do not behave leave nothing behind', () => {
  for (const [name, way] of Object.entries(ways)) {
    for (const stage of Object.keys(stages)) {
      it(`${name}, ${stage}, 1 and 64 at once`, { timeout: 60_000 }, async () => {
        await beRude(stage, way, 1);
        await beRude(stage, way, 64);
      });
    }
  }
  for (const [name, way] of Object.entries(compressedWays)) {
    it(`${name}, subscribed and with compression, 64 at once`, { timeout: 60_000 }, () =>
      beRude('subscribed', way, 64, true),
    );
  }
  for (const name of ['close(1000)', 'half-close', 'reset', 'many tiny frames', 'close, then reset']) {
    it(`${name}, subscribed, 500 at once`, { timeout: 60_000 }, () => beRude('subscribed', ways[name] as Way, 500));
  }

  it('holds no more memory after ten rounds than after two', { timeout: 120_000 }, async () => {
    const collect = globalThis.gc;
    const round = (): Promise<void> => beRude('subscribed', ways['a last word, then close'] as Way, 200);
    const held = (): number => {
      collect?.();
      return process.memoryUsage().heapUsed;
    };
    for (let each = 0; each < 2; each++) await round();
    const before = held();
    for (let each = 0; each < 8; each++) await round();
    // 1,600 connections that were kept would be 10 MB at least; without a call for it, garbage may be as much.
    expect(held() - before).toBeLessThan(collect === undefined ? 64e6 : 5e6);
  });
});
