import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, onTestFinished, test } from 'vitest';
import { HandOver } from './hand-over.ts';
import { type OwnPort, openPort } from './port.ts';

const folder = mkdtempSync(join(tmpdir(), 'starling-hand-over-'));
afterAll(() => rmSync(folder, { recursive: true }));

const observer = { defect: (kind: string, err: unknown) => expect.unreachable(`${kind}: ${err}`) };
const sharedPort = new URL('hand-over.ts', import.meta.url).href;

/** Answers each connection with its own name, by the real thing. */
const serving = script(
  'serving',
  `import { SharedPort } from ${JSON.stringify(sharedPort)};
  const port = new SharedPort(process, '', { defect: () => process.exit(1) });
  port.serve((socket) => {
    socket.on('error', () => {});
    socket.on('data', (data) => (String(data) === 'close' ? port.close() : socket.write(process.argv[2] + ' ' + data)));
    socket.resume();
    return true;
  });
  process.send('up');`,
);
function script(name: string, text: string): string {
  const path = join(folder, `${name}.ts`);
  writeFileSync(path, text);
  return path;
}

async function start(name: string): Promise<ChildProcess> {
  const child = fork(serving, [name], { serialization: 'advanced', execArgv: ['--import', 'tsx'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child, 'message');
  return child;
}

async function open(): Promise<OwnPort> {
  const port = await openPort({ host: '127.0.0.1', port: 0 });
  onTestFinished(() => port.close());
  return port;
}

async function visit(port: OwnPort, text: string): Promise<Socket> {
  const socket = connect(Number(port.authority.split(':').at(-1)), '127.0.0.1');
  socket.on('error', () => {});
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  socket.write(text);
  return socket;
}

async function answerTo(socket: Socket): Promise<string> {
  const [data] = await once(socket, 'data');
  return String(data);
}

test('[OP8] hands connections to the workers in turn, with what they have sent', async () => {
  const port = await open();
  const handOver = new HandOver(port, observer);
  for (const name of ['a', 'b']) handOver.add(await start(name));
  const answers: string[] = [];
  for (let count = 0; count < 6; count++) answers.push(await answerTo(await visit(port, 'hello')));
  expect(answers.sort()).toEqual([...Array(3).fill('a hello'), ...Array(3).fill('b hello')]);
});

test('[OP24] keeps connections that come while no worker serves', async () => {
  const port = await open();
  const handOver = new HandOver(port, observer);
  const visitors = await Promise.all(Array.from({ length: 50 }, () => visit(port, 'early')));
  const answers = Promise.all(visitors.map(answerTo));
  handOver.add(await start('a'));
  expect(await answers).toEqual(visitors.map(() => 'a early'));
});

test('[OP24] gives to another what a worker was given that hangs and is killed, and no peer notices', async () => {
  const port = await open();
  const handOver = new HandOver(port, observer);
  const hanging = await start('a');
  handOver.add(hanging);
  hanging.kill('SIGSTOP');
  // More than one worker is given at once: the last of them wait.
  const visitors = await Promise.all(Array.from({ length: 40 }, () => visit(port, 'orphan')));
  const answers = Promise.all(visitors.map(answerTo));
  await expect.poll(() => port.waitingCount).toBe(40 - 16);
  hanging.kill('SIGKILL');
  handOver.add(await start('b'));
  expect(await answers).toEqual(visitors.map(() => 'b orphan'));
  const last = visitors[0]!;
  last.write('again');
  expect(await answerTo(last)).toBe('b again');
});

test('[OP24] holds no descriptor of what a worker has taken: the peer sees the end of it with the worker', async () => {
  const port = await open();
  const handOver = new HandOver(port, observer);
  const worker = await start('a');
  handOver.add(worker);
  const visitor = await visit(port, 'hello');
  await answerTo(visitor);
  const closed = once(visitor, 'close');
  worker.kill('SIGKILL');
  await closed;
});

test('[OP24] gives to another what was on its way to a worker that stops, and closes the port with the last', async () => {
  const port = await open();
  const handOver = new HandOver(port, observer);
  const [first, second] = [await start('a'), await start('b')];
  handOver.add(first);
  const closing = await visit(port, 'close');
  closing.resume();
  // Before that it says that it has taken the connection.
  await new Promise<void>((resolve) => {
    first.on('message', (message) => (message as { starling?: string }).starling === 'closed' && resolve());
  });
  handOver.add(second);
  expect(await answerTo(await visit(port, 'x'))).toBe('b x');
  handOver.stop();
  expect(await answerTo(await visit(port, 'y'))).toBe('b y');
  const number = Number(port.authority.split(':').at(-1));
  await visit(port, 'close');
  await expect
    .poll(async () => {
      const socket = connect(number, '127.0.0.1');
      return once(socket, 'connect').then(
        () => 'open',
        (err) => err.code,
      );
    })
    .toBe('ECONNREFUSED');
});
