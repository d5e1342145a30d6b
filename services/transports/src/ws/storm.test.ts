import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { defaultPerTurn } from '../admission-queue.ts';
import { EchoServer, type EchoSession } from '../echo-server.test-kit.ts';
import { clientFrame } from './raw-client.test-kit.ts';

const crowd = 200;
const handshake =
  'GET /app/key HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n';

/** Counts the turns of the event loop, and what happens in each. */
class Turns {
  #current = 0;
  #isOver = false;
  readonly counts: number[] = [];

  constructor() {
    const next = () => {
      this.#current++;
      if (!this.#isOver) setImmediate(next);
    };
    setImmediate(next);
  }

  count(): void {
    this.counts[this.#current] = (this.counts[this.#current] ?? 0) + 1;
  }

  get most(): number {
    return Math.max(...this.counts.filter(() => true));
  }

  end(): void {
    this.#isOver = true;
  }
}

let server: EchoServer;
let turns: Turns;
const sockets: Socket[] = [];

beforeEach(async () => {
  server = new EchoServer();
  await server.start();
});
afterEach(async () => {
  turns.end();
  for (const socket of sockets.splice(0)) socket.destroy();
  await server.app.close();
});

/** Connected, and the server knows. */
async function dial(): Promise<Socket> {
  const accepted = once(server.app.server, 'connection');
  const socket = connect(server.port, '127.0.0.1');
  sockets.push(socket);
  await Promise.all([once(socket, 'connect'), accepted]);
  socket.resume();
  return socket;
}

async function open(socket: Socket): Promise<EchoSession> {
  socket.write(handshake);
  await once(socket, 'data');
  return server.session;
}

async function dialCrowd(): Promise<Socket[]> {
  const dialled: Socket[] = [];
  for (let each = 0; each < crowd; each++) dialled.push(await dial());
  return dialled;
}

describe('[OP11] a crowd', () => {
  test('that comes at once is let in a few in a turn, and a message sent after it waits for few of it', async () => {
    const before = await dial();
    const session = await open(before);
    const dialled = await dialCrowd();
    turns = new Turns();
    const opened = new Promise<void>((resolve) => {
      const push = server.sessions.push.bind(server.sessions);
      server.sessions.push = (...added) => {
        turns.count();
        const size = push(...added);
        if (size === 1 + crowd) resolve();
        return size;
      };
    });
    const heard = once(session, 'receive').then(() => server.sessions.length - 1);
    for (const socket of dialled) socket.write(handshake);
    before.write(clientFrame('hello'));

    expect(await heard).toBeLessThanOrEqual(3 * defaultPerTurn);
    await opened;
    expect(turns.most).toBeLessThanOrEqual(2 * defaultPerTurn);
  });

  test('that goes at once is seen off a few in a turn, each once', async () => {
    const before = await dial();
    await open(before);
    const dialled = await dialCrowd();
    for (const socket of dialled) await open(socket);
    turns = new Turns();
    const leaving = server.sessions.slice(1);
    const ended = leaving.map((each) => once(each, 'ended').then(() => undefined));
    for (const each of leaving) each.on('ended', () => turns.count());
    const closed = dialled.map((socket) => once(socket, 'close'));
    for (const socket of dialled) socket.end();

    await Promise.all(ended);
    expect(turns.most).toBeLessThanOrEqual(2 * defaultPerTurn);
    await Promise.all(closed);
    expect(leaving.map(({ ends }) => ends)).toEqual(leaving.map(() => 1));
    expect(server.session.ends).toBe(1);
    expect(server.sessions[0]?.ends).toBe(0);
  });
});

test('who has gone leaves the place before the next one in the same turn is let in', async () => {
  turns = new Turns();
  const leaving = await dial();
  const session = await open(leaving);
  const coming = await dial();
  const happened: string[] = [];
  session.on('ended', () => happened.push('gone'));
  const push = server.sessions.push.bind(server.sessions);
  server.sessions.push = (...added) => {
    happened.push('come');
    return push(...added);
  };
  // Both are on the way before the server looks.
  leaving.once('finish', () => coming.write(handshake));
  leaving.end();
  await once(coming, 'data');
  expect(happened).toEqual(['gone', 'come']);
});

test('[OP11] a server that stops lets in those who wait, and tells them to come back', async () => {
  const dialled = await dialCrowd();
  turns = new Turns();
  const closed = dialled.map((socket) => once(socket, 'close'));
  let asked = 0;
  const allAsked = new Promise<void>((resolve) => {
    server.app.server.on('upgrade', () => {
      if (++asked === crowd) resolve();
    });
  });
  for (const socket of dialled) socket.write(handshake);
  await allAsked;
  expect(server.sessions.length).toBeLessThan(crowd);
  const stopping = server.app.close();
  for (const socket of dialled) socket.on('data', () => socket.end());
  await Promise.all(closed);
  await stopping;
  expect(server.sessions.map(({ refusals }) => refusals)).toEqual(dialled.map(() => ['going_away']));
});
