/** The debug stream over real connections, with readers that do not read, leave, and lose their right. */
import type { ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { FakeClock } from '@starling/adapters/memory';
import { databaseOf } from '@starling/database/test-kit';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { farewellMs, heartbeatMs } from '../src/frame/stream.ts';
import { ourApp, people, type Started, startControl, theirApp } from './started-control.ts';

const database = databaseOf();
let clock: FakeClock;
let control: Started;
let port: number;
let answers: ServerResponse[];
const start = async (streamBounds = {}) => {
  clock = new FakeClock(Date.now());
  control = await startControl(database, { clock, streamBounds });
  port = Number(new URL(await control.server.listen({ host: '127.0.0.1', port: 0 })).port);
  answers = [];
  control.server.server.on('request', (_request, answer: ServerResponse) => answers.push(answer));
};
afterEach(async () => {
  expect(control.problems).toEqual([]);
  await control.close();
});

/** A connection that has asked for a stream, and reads nothing until it is told to. */
function ask(person: keyof typeof people = 'developer', appId = ourApp): Socket & { readonly text: () => string } {
  let text = '';
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  socket.setEncoding('utf8');
  socket.on('data', (chunk) => {
    text += chunk;
  });
  socket.pause();
  const lines = [`GET /api/v1/apps/${appId}/debug HTTP/1.1`, 'host: x', `authorization: Test ${people[person]}`];
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  onTestFinished(() => void socket.destroy());
  return Object.assign(socket, { text: () => text });
}

const watched = (count: number) => expect.poll(() => control.watchers.length).toBe(count);
/** All that asked have their head, and their hour has begun. */
const begun = () => expect.poll(() => answers.every(({ headersSent }) => headersSent)).toBe(true);
const tell = (entry: { what: string } & Record<string, unknown>) => {
  for (const { listen } of [...control.watchers]) listen(entry);
};
const closed = (socket: Socket) =>
  new Promise<void>((resolve) => {
    if (socket.destroyed) resolve();
    else socket.once('close', () => resolve());
  });

describe('a reader that does not read', () => {
  beforeEach(() => start());
  const filler = 'x'.repeat(1_000);
  /** More than the kernel takes of a connection that nobody reads. */
  const fill = () => {
    for (let number = 0; number < 20_000; number++) tell({ what: 'event', number, filler });
  };

  test('[AD19] costs a bounded amount of memory, and is told how much it was not told', async () => {
    const socket = ask();
    await watched(1);
    const before = process.memoryUsage().external + process.memoryUsage().heapUsed;
    fill();
    expect(process.memoryUsage().external + process.memoryUsage().heapUsed - before).toBeLessThan(60_000_000);
    socket.resume();
    await expect.poll(() => socket.text(), { timeout: 10_000 }).toContain('event: dropped');
    const dropped = Number(/event: dropped\ndata: (\d+)/.exec(socket.text())?.[1]);
    expect(dropped).toBeGreaterThan(0);
    expect([...socket.text().matchAll(/^data: \{"what":"event"/gm)]).toHaveLength(20_000 - dropped);
    tell({ what: 'event', is: 'next' });
    await expect.poll(() => socket.text()).toContain('{"what":"event","is":"next"}');
  });

  test('[AD19] whose hour is over is cut, and what happens then ends nobody', async () => {
    const socket = ask();
    await watched(1);
    await begun();
    const listeners = [...control.watchers];
    fill();
    clock.advance(3_600_000);
    // A source that has not stopped yet: two in one turn are two errors of an answer that has ended.
    for (const { listen } of listeners) for (let times = 0; times < 3; times++) listen({ what: 'event', late: true });
    expect(control.watchers).toEqual([]);
    await new Promise((resolve) => setImmediate(resolve));
    expect((await fetch(`http://127.0.0.1:${port}/api/v1/openapi.json`)).status).toBe(404);
    clock.advance(farewellMs);
    socket.resume();
    await closed(socket);
    expect(socket.text()).not.toContain('"late"');
  });

  test('[AD19] does not keep a server from stopping', async () => {
    const socket = ask();
    await watched(1);
    fill();
    const stopped = control.server.close();
    await watched(0);
    clock.advance(farewellMs);
    socket.resume();
    await Promise.all([stopped, closed(socket)]);
  });
});

describe('a reader that leaves', () => {
  test('[AD19] while its entry in the audit log is written leaves nothing behind, and makes room at once', async () => {
    await start({ perUser: 1 });
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const other = await database.openAnother();
    const holding = other.tx(async (sql) => {
      await sql`lock table audit_entries in exclusive mode`;
      await held;
    });
    onTestFinished(() => release());
    const waiting = () => other.sql`select 1 from pg_locks where not granted and relation = 'audit_entries'::regclass`;
    const first = ask();
    await expect.poll(async () => (await waiting()).length, { timeout: 10_000 }).toBe(1);
    const second = ask();
    second.resume();
    await expect.poll(() => second.text()).toContain('429');
    first.destroy();
    // Whether there is room is asked before anything is waited for: who gets some waits for the lock.
    await expect
      .poll(
        async () => {
          const next = ask();
          next.resume();
          // Long enough: one that is given up keeps the room it has got.
          const isAnswered = async () => next.text() !== '' || (await waiting()).length > 1;
          await expect.poll(isAnswered, { timeout: 10_000 }).toBe(true);
          return next.text();
        },
        { timeout: 10_000 },
      )
      .toBe('');
    release();
    await holding;
    await watched(1);
    await expect.poll(() => control.watchers.length).toBe(1);
  });

  test('[AD19] is no longer listened for', async () => {
    await start();
    const socket = ask();
    await watched(1);
    socket.destroy();
    await watched(0);
  });
});

describe('many readers', () => {
  const answerOf = async (person: keyof typeof people, appId?: string) => {
    const socket = ask(person, appId);
    socket.resume();
    await expect.poll(() => socket.text()).toMatch(/^HTTP\/1.1 \d/);
    return Object.assign(socket, { status: Number(socket.text().slice(9, 12)) });
  };

  test('[AD20] are bounded by user, by organisation and by node, and one that goes makes room', async () => {
    await start({ perUser: 2, perOrganisation: 3, perNode: 4 });
    const first = await answerOf('developer');
    expect([first.status, (await answerOf('developer')).status]).toEqual([200, 200]);
    const over = await answerOf('developer');
    expect(over.status).toBe(429);
    expect(over.text()).toMatch(/^retry-after: 10/m);
    expect((await answerOf('admin')).status).toBe(200);
    expect((await answerOf('admin')).status).toBe(429);
    expect((await answerOf('stranger', theirApp)).status).toBe(200);
    expect((await answerOf('stranger', theirApp)).status).toBe(429);
    first.destroy();
    await watched(3);
    expect((await answerOf('stranger', theirApp)).status).toBe(200);
  });

  test('[AD20] that ask in the same turn are counted one by one', async () => {
    await start({ perUser: 3 });
    const sockets = Array.from({ length: 10 }, () => ask());
    for (const socket of sockets) socket.resume();
    await expect.poll(() => sockets.every((socket) => socket.text() !== ''), { timeout: 10_000 }).toBe(true);
    expect(sockets.filter((socket) => socket.text().startsWith('HTTP/1.1 200'))).toHaveLength(3);
    await watched(3);
  });
});

describe('a right that ends', () => {
  beforeEach(() => start());

  test('[AD21] is noticed at a heartbeat, whoever took it away', async () => {
    const socket = ask();
    socket.resume();
    const stays = ask('admin');
    stays.resume();
    await watched(2);
    await begun();
    await database.sql`update memberships set role = 'viewer' where user_id = ${people.developer}`;
    clock.advance(heartbeatMs);
    await closed(socket);
    expect(socket.text()).toContain('event: end\ndata: {"code":"role_too_low"');
    expect(control.watchers).toHaveLength(1);
    expect(stays.text()).not.toContain('event: end');
  });

  test('[AD21] is looked at anew where messages to all nodes may have been lost', async () => {
    const socket = ask();
    socket.resume();
    await watched(1);
    await database.sql`delete from memberships where user_id = ${people.developer}`;
    control.controlBus.loseSome();
    await closed(socket);
    expect(socket.text()).toContain('resource_unknown');
  });
});
