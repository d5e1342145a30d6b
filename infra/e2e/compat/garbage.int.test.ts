/** Strangers who send whatever they like, and one application that must not notice. */
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  clientFrame,
  closePayload,
  handshake,
  opcodes,
} from '../../../services/transports/src/ws/raw-client.test-kit.ts';
import { openProgram, type Program, readMetrics, type Starling, signedPath } from '../../testing/program.ts';
import { Random } from '../../testing/random.ts';
import { type Backend, openBackend } from './backend.ts';
import { nodePlace } from './client.ts';

const strangers = 50;
/** What each stranger sends in all, over as many connections as that costs. */
const piecesEach = 200;

let program: Program;
let starling: Starling;
let backend: Backend;
beforeAll(async () => {
  program = openProgram();
  starling = await program.start({ env: { STARLING_LOG_LEVEL: 'warn' } });
  backend = await openBackend(starling);
});
afterAll(async () => {
  await backend?.close();
  await program?.close();
});

/** Frames that are right, about things that are not. */
function nonsense(random: Random, key: string): string {
  const channel = random.pick([
    'room',
    'private-room',
    'presence-room',
    'cache-room',
    '#server-to-user-u',
    random.text(),
  ]);
  const auth = `${random.pick([key, random.word()])}:${random.word(64)}`;
  const frames = [
    { event: 'pusher:subscribe', data: { channel, auth, channel_data: random.json() } },
    { event: 'pusher:subscribe', data: { channel } },
    { event: 'pusher:unsubscribe', data: { channel } },
    { event: 'pusher:signin', data: { auth, user_data: random.json() } },
    { event: `client-${random.text()}`, channel, data: random.text() },
    { event: 'pusher:ping', data: {} },
    { event: random.text(), data: random.text() },
  ];
  const text = JSON.stringify(random.pick(frames));
  return random.chance(0.5) ? text : random.chance(0.5) ? random.mutate(text) : random.json();
}

/** One thing to send, after the handshake. */
function piece(random: Random, key: string): Uint8Array {
  const text = nonsense(random, key);
  // Most of the rest ends the connection, and with it what could be sent over it.
  if (random.chance(0.85)) return clientFrame(text);
  const wounds = [
    () => random.bytes(400),
    () => clientFrame(text).subarray(0, random.below(text.length)),
    () => clientFrame(text, { claimedLength: random.pick([2n ** 62n, 2n ** 63n, 2n ** 31n, 200_000n]) }),
    () => clientFrame(random.bytes(200), { opcode: random.below(16), reserved: random.below(8) }),
    () => clientFrame(text, { isMasked: false }),
    () => clientFrame(random.bytes(125), { opcode: random.pick([opcodes.ping, opcodes.pong]) }),
    () => clientFrame(closePayload(random.below(6_000), random.bytes(100)), { opcode: opcodes.close }),
    () => clientFrame(text, { isFinal: false, opcode: random.pick([0, 1, 2]) }),
    () => clientFrame('x'.repeat(random.pick([65_535, 65_536, 300_000]))),
  ];
  return random.pick(wounds)();
}

/** What opens the conversation: mostly what is right. */
function opening(random: Random, { app }: Starling): string {
  const good = handshake(`/app/${app.key}?protocol=7`);
  if (random.chance(0.6)) return good;
  const wounds = [
    () => random.mutate(good),
    () => handshake(`/app/${random.word()}?protocol=${random.word(3)}`),
    () => `POST ${signedPath(app, 'POST', `/apps/${app.id}/events`, random.word())} HTTP/1.1\r\n\r\n`,
    () => Buffer.from(random.bytes(300)).toString('latin1'),
  ];
  return random.pick(wounds)();
}

/** Sends its share over one connection after another. */
async function storm(random: Random): Promise<void> {
  const port = Number(new URL(starling.url).port);
  for (let sent = 0; sent < piecesEach; ) {
    const socket = connect(port, '127.0.0.1');
    // Being cut off is what a stranger is for.
    socket.on('error', () => socket.destroy());
    socket.resume();
    const isOver = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    await pour(socket, Buffer.from(opening(random, starling)));
    for (let left = random.between(1, 60); left > 0 && socket.writable; left--, sent++) {
      await pour(socket, piece(random, starling.app.key));
    }
    sent++;
    // Half of them leave without a word.
    if (random.chance(0.5)) socket.destroy();
    else socket.end();
    await isOver;
  }
}

/** Resolves when the kernel has it, or the connection is over. */
async function pour(socket: Socket, bytes: Uint8Array): Promise<void> {
  await new Promise<void>((resolve) => socket.write(bytes, () => resolve()));
}

async function measure(): Promise<{ connections: number; framesIn: number; heapMb: number; residentMb: number }> {
  const text = await readMetrics(starling.url);
  const read = (name: string) =>
    Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\d+)`, 'm').exec(text)?.[1] ?? Number.NaN);
  return {
    connections: read('starling_connections'),
    framesIn: read('starling_frames_received_total'),
    heapMb: read('nodejs_heap_size_used_bytes') / 2 ** 20,
    residentMb: read('process_resident_memory_bytes') / 2 ** 20,
  };
}

test('[WS9] fifty strangers’ garbage costs the application next door nothing', async () => {
  const place = await nodePlace(starling, backend);
  const client = await place.open({ user: 'ada' });
  await client.connected();
  for (const channel of ['presence-app', 'room']) await client.join(channel);
  const before = await measure();

  let isOver = false;
  const storms = Promise.all(Array.from({ length: strangers }, (_, index) => storm(new Random(index + 1)))).finally(
    () => {
      isOver = true;
    },
  );
  let published = 0;
  while (!isOver) {
    expect((await backend.pusher.trigger('presence-app', 'order', published)).status).toBe(200);
    published++;
    if (published % 5 === 0) expect((await fetch(`${starling.url}/readyz`)).status).toBe(200);
  }
  await storms;

  expect(published).toBeGreaterThan(10);
  const told = await client.toldAll(published, 'order', 'presence-app');
  expect(told.map(({ data }) => data)).toEqual(Array.from({ length: published }, (_, index) => index));
  expect(client.log.filter(({ event }) => event === 'error' || event === 'state')).toEqual([]);

  // What the kernel has not yet told the server of is a matter of moments.
  let after = await measure();
  for (let reads = 0; after.connections > 1 && reads < 1_000; reads++) after = await measure();
  expect(after.connections).toBe(1);
  // Enough of it was well enough formed to be read.
  expect(after.framesIn - before.framesIn).toBeGreaterThan(1_000);
  expect(after.heapMb).toBeLessThan(before.heapMb + 50);
  expect(after.residentMb).toBeLessThan(before.residentMb + 200);
  expect((await fetch(`${starling.url}/readyz`)).status).toBe(200);
  expect(starling.child.exitCode).toBeNull();
  // No defect was met: those are logged as errors.
  expect(starling.stdout().slice(starling.stdout().indexOf('\n)\n'))).not.toContain('"level":"error"');
  await place.close();
});
