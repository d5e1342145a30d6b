/** Fails when Node or `ws` changes what `library-internals.ts` reads or replaces. */
import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import WebSocket, { WebSocketServer } from 'ws';
import { replaceInflater, responseOn } from './library-internals.ts';

let server: Server;
let port: number;
beforeEach(async () => {
  server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = (server.address() as AddressInfo).port;
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

describe('responseOn', () => {
  const upgrade = 'GET /up HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

  async function upgraded(bytes: string): Promise<Socket> {
    const asked = once(server, 'upgrade');
    const client = connect(port, '127.0.0.1', () => client.write(bytes));
    const [, socket] = await asked;
    client.on('error', () => {}).destroy();
    return socket.on('error', () => {});
  }

  it('finds the response that is owed to a request before the upgrade', async () => {
    const requested = once(server, 'request');
    const socket = await upgraded(`GET /before HTTP/1.1\r\nHost: here\r\n\r\n${upgrade}`);
    const [, response] = (await requested) as [unknown, ServerResponse];
    expect(responseOn(socket)).toBe(response);
    socket.destroy();
  });

  it('finds none where none is owed', async () => {
    const socket = await upgraded(upgrade);
    expect(responseOn(socket)).toBe(null);
    socket.destroy();
  });
});

it('replaceInflater: what comes compressed goes to it, and it is told of the end', async () => {
  const accepting = new WebSocketServer({ server, perMessageDeflate: true });
  const client = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: { threshold: 0 } });
  const [[ws]] = (await Promise.all([once(accepting, 'connection'), once(client, 'open')])) as [[WebSocket], unknown];
  const asked: boolean[] = [];
  let cleanups = 0;
  replaceInflater(ws, {
    decompress: (_data, isLast, done) => {
      asked.push(isLast);
      setImmediate(done, null, Buffer.from(isLast ? 'ours' : ''));
    },
    cleanup: () => cleanups++,
  });
  const heard = once(ws, 'message');
  client.send('in two ', { fin: false });
  client.send('fragments', { fin: true });
  expect(String((await heard)[0])).toBe('ours');
  expect(asked).toEqual([false, true]);
  const closed = once(ws, 'close');
  client.close();
  await closed;
  expect(cleanups).toBe(1);
  accepting.close();
});
