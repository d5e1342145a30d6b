/** Every transport under the contract of all. */
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { WebSocket } from 'ws';
import { type ContractClient, describeTransport } from './transport-contract.test-kit.ts';

const origin = 'http://page.example';

async function connectWebSocket(url: string): Promise<ContractClient> {
  const socket = new WebSocket(url, { headers: { origin } });
  const received: string[] = [];
  socket.on('message', (data) => received.push(String(data)));
  socket.on('error', () => undefined);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await new Promise((resolve) => socket.once('open', resolve));
  return {
    received,
    closed,
    send: async (text) => socket.send(text),
    leave: () => socket.close(1000),
    vanish: () => socket.terminate(),
  };
}

async function connectEventStream(port: number): Promise<ContractClient> {
  const at = { host: '127.0.0.1', port, headers: { origin } };
  const stream: ClientRequest = request({ ...at, path: '/sse/key?token=token' });
  stream.end();
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    stream.once('response', resolve).once('error', reject);
  });
  stream.on('error', () => undefined);
  response.on('error', () => undefined);
  const received: string[] = [];
  let id = '';
  let rest = '';
  response.setEncoding('utf8').on('data', (text: string) => {
    const events = (rest + text).split('\n\n');
    rest = events.pop() ?? '';
    for (const event of events) {
      if (!event.startsWith('data: ')) continue;
      const message = event.slice('data: '.length);
      if (id === '') id = JSON.parse(message).stream;
      else received.push(message);
    }
  });
  const closed = new Promise<void>((resolve) => response.once('close', () => resolve()));
  return {
    received,
    closed,
    send: async (text) => {
      const answer = await fetch(`http://127.0.0.1:${port}/sse/key/${id}`, { method: 'POST', body: text });
      if (answer.status !== 202) throw new Error(`${answer.status}: ${await answer.text()}`);
    },
    leave: () => stream.destroy(),
    vanish: () => stream.socket?.resetAndDestroy(),
  };
}

describeTransport({
  name: 'WebSocket, Pusher dialect',
  connect: (port) => connectWebSocket(`ws://127.0.0.1:${port}/app/key?protocol=7&token=token`),
});
describeTransport({
  name: 'WebSocket, raw dialect',
  connect: (port) => connectWebSocket(`ws://127.0.0.1:${port}/raw/key?token=token`),
});
describeTransport({ name: 'event stream', connect: connectEventStream });
