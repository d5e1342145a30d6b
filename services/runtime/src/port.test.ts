import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { type OwnPort, openPort } from './port.ts';
import { StartError } from './start-error.ts';

async function open(): Promise<OwnPort> {
  const port = await openPort({ host: '127.0.0.1', port: 0 });
  onTestFinished(() => port.close());
  return port;
}

function numberOf(port: OwnPort): number {
  return Number(port.authority.split(':').at(-1));
}

async function visit(port: OwnPort): Promise<Socket> {
  const socket = connect(numberOf(port), '127.0.0.1');
  socket.on('error', () => {});
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

async function waitingAre(port: OwnPort, count: number): Promise<void> {
  while (port.waitingCount !== count) await new Promise((resolve) => setImmediate(resolve));
}

test('[OP21] says which port is in use and what to do', async () => {
  const port = numberOf(await open());
  await expect(openPort({ host: '127.0.0.1', port })).rejects.toThrow(
    new StartError(`port ${port} of 127.0.0.1 is in use: end the other program, or set STARLING_PORT`),
  );
});

test('[OP21] keeps what comes before anybody takes it, with what it has said, and gives all of it in order', async () => {
  const port = await open();
  const visitors: Socket[] = [];
  for (let count = 1; count <= 200; count++) {
    const visitor = await visit(port);
    visitor.write(`I am ${count}.`);
    visitors.push(visitor);
  }
  await waitingAre(port, 200);
  const taken: Socket[] = [];
  const all = new Promise<void>((resolve) => {
    port.serve((socket) => {
      socket.on('error', () => {});
      if (taken.push(socket) === 201) resolve();
      return true;
    });
  });
  // While the others are still given, one behind them.
  await visit(port);
  await all;
  expect(port.waitingCount).toBe(0);
  expect(taken.map(({ remotePort }) => remotePort).slice(0, 200)).toEqual(visitors.map(({ localPort }) => localPort));
  taken[199]?.resume();
  expect(String((await once(taken[199]!, 'data'))[0])).toBe('I am 200.');
});

test('[OP21] ends those that wait when it closes, and leaves alone those that were taken', async () => {
  const port = await open();
  const number = numberOf(port);
  let taken: Socket | undefined;
  const isTaken = new Promise<void>((resolve) => {
    port.serve((socket) => {
      taken = socket;
      resolve();
      return true;
    });
  });
  const served = await visit(port);
  await isTaken;
  const other = await open();
  const waiting = await visit(other);
  await waitingAre(other, 1);
  const closed = once(waiting, 'close');
  waiting.resume();
  await other.close();
  await port.close();
  await closed;
  await waitingAre(other, 0);
  taken?.end('still here');
  served.setEncoding('utf8');
  expect((await once(served, 'data'))[0]).toBe('still here');
  const [err] = await once(connect(number, '127.0.0.1'), 'error');
  expect(err).toMatchObject({ code: 'ECONNREFUSED' });
});

test('[OP22] refuses more sockets of a service manager than it serves, and one that is none', async () => {
  const passed = (count: string) => ({ LISTEN_FDS: count, LISTEN_PID: String(process.pid) });
  await expect(openPort({ host: '127.0.0.1', port: 0, env: passed('2') })).rejects.toThrow(StartError);
  // Meant for another process.
  const port = await openPort({ host: '127.0.0.1', port: 0, env: { LISTEN_FDS: '1', LISTEN_PID: '1' } });
  await port.close();
});
