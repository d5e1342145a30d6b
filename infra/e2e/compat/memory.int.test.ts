/** Strangers that make the program keep more than it has memory for: it says no to them, and goes on with the others. */
import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import {
  connectPeer,
  openProgram,
  type Peer,
  type Program,
  readMetrics,
  type Starling,
  signedPath,
} from '../../testing/program.ts';

let program: Program;
let starling: Starling;
beforeAll(async () => {
  program = openProgram();
  starling = await program.start({ env: { NODE_OPTIONS: '--max-old-space-size=256' } });
});
afterAll(() => program?.close());

const channelsEach = 1_000;

/** What one attacker met. */
interface Met {
  readonly socket: WebSocket;
  accepted: number;
  /** Its last refused subscribe, parsed. */
  refusal: { status: number; limit: { limit: number; remaining: number; reset: number } } | undefined;
  refused: number;
  /** The code of its error where the connection itself was refused. */
  closedWith: number | undefined;
}

const attackers: Met[] = [];

/** Connects from the address, and joins as many channels with the longest names as one may; resolves when all is answered. */
async function attack(localAddress: string): Promise<Met> {
  const socket = new WebSocket(`${starling.url.replace('http', 'ws')}/app/${starling.app.key}?protocol=7`, {
    localAddress,
  });
  const met: Met = { socket, accepted: 0, refused: 0, refusal: undefined, closedWith: undefined };
  const number = attackers.push(met);
  await new Promise<void>((resolve) => {
    socket.on('close', (code) => {
      met.closedWith = code;
      resolve();
    });
    socket.on('error', () => resolve());
    socket.on('message', (data) => {
      const text = String(data);
      if (text.includes('connection_established')) {
        for (let index = 0; index < channelsEach; index++) {
          const channel = `a${number}-${index}-`.padEnd(200, 'x');
          socket.send(JSON.stringify({ event: 'pusher:subscribe', data: { channel } }));
        }
      } else if (text.includes('subscription_succeeded')) met.accepted++;
      else if (text.startsWith('{"event":"pusher:subscription_error"')) {
        met.refused++;
        met.refusal = JSON.parse(text).data;
      }
      if (met.accepted + met.refused === channelsEach) resolve();
    });
  });
  return met;
}

async function heldBytes(): Promise<number> {
  const text = await readMetrics(starling.url);
  return Number(/^starling_held_bytes (\S+)/m.exec(text)?.[1]);
}

async function trigger(name: string): Promise<number> {
  const body = JSON.stringify({ name, channel: 'room', data: '{}' });
  const path = signedPath(starling.app, 'POST', `/apps/${starling.app.id}/events`, body);
  return (await fetch(starling.url + path, { method: 'POST', body })).status;
}

async function joined(peer: Peer, channel: string): Promise<void> {
  peer.socket.send(JSON.stringify({ event: 'pusher:subscribe', data: { channel } }));
  await peer.received('pusher_internal:subscription_succeeded');
}

const sum = (mets: readonly Met[], count: (met: Met) => number) => mets.reduce((total, met) => total + count(met), 0);

test('[LI9] [LI10] one address that takes all it can get is refused, while another comes in', async () => {
  const resident = await connectPeer(starling.url, starling.app.key);
  await joined(resident, 'room');
  const mets = await Promise.all(Array.from({ length: 48 }, () => attack('127.0.0.2')));
  expect(sum(mets, ({ accepted }) => accepted)).toBeGreaterThan(5_000);
  expect(sum(mets, ({ refused }) => refused)).toBeGreaterThan(1_000);
  const refusal = mets.find(({ refused }) => refused > 0)?.refusal;
  expect(refusal).toMatchObject({ status: 503, limit: { reset: 5 } });
  expect(refusal?.limit.remaining).toBeLessThan(refusal?.limit.limit ?? 0);

  const newcomer = await connectPeer(starling.url, starling.app.key);
  await joined(newcomer, 'room');
  expect(await trigger('first')).toBe(200);
  await Promise.all([resident, newcomer].map((peer) => peer.received('first')));
  newcomer.socket.close();
  resident.socket.close();
}, 60_000);

test('[LI10] [LI11] a hundred addresses at once end neither the program nor those who are there', async () => {
  const resident = await connectPeer(starling.url, starling.app.key);
  await joined(resident, 'room');
  for (let wave = 0; wave < 4; wave++) {
    await Promise.all(Array.from({ length: 25 }, (_, index) => attack(`127.0.1.${wave * 25 + index + 1}`)));
    expect((await fetch(`${starling.url}/healthz`)).status).toBe(200);
  }
  const refused = attackers.filter(({ refused, closedWith }) => refused > 0 || closedWith === 4100);
  expect(refused.length).toBeGreaterThan(25);
  expect(await trigger('second')).toBe(200);
  await resident.received('second');
  expect(starling.child.exitCode).toBeNull();

  // When they have gone, all is as before.
  const closed = attackers
    .filter(({ closedWith }) => closedWith === undefined)
    .map(({ socket }) => once(socket, 'close'));
  for (const { socket } of attackers) socket.terminate();
  await Promise.all(closed);
  const deadline = Date.now() + 20_000;
  while ((await heldBytes()) > 1_000_000) expect(Date.now()).toBeLessThan(deadline);
  const { accepted, refused: refusedNow, socket } = await attack('127.0.0.2');
  expect({ accepted, refusedNow }).toEqual({ accepted: channelsEach, refusedNow: 0 });
  socket.terminate();
  resident.socket.close();
}, 60_000);
