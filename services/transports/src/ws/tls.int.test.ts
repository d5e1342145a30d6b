/** The same over TLS, whose socket takes, buffers and empties in other ways than a plain one. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { openSocketWriter } from '@starling/fanout';
import type { FastifyHttpOptions } from 'fastify';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { buildNativeFanout } from '../../../../infra/testing/native-fanout.ts';
import { EchoServer } from '../echo-server.test-kit.ts';
import { clientFrame, closePayload, handshake, opcodes, RawClient } from './raw-client.test-kit.ts';

const folder = mkdtempSync(join(tmpdir(), 'starling-tls-'));
const files = { key: join(folder, 'key.pem'), cert: join(folder, 'cert.pem') };
const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
const names = ['-subj', '/CN=starling.test', '-keyout', files.key, '-out', files.cert];
execFileSync('openssl', ['req', '-x509', ...curve, ...names], { stdio: 'ignore' });
const cert = readFileSync(files.cert);

const https = { https: { key: readFileSync(files.key), cert } } as unknown as FastifyHttpOptions<Server>;
const native = buildNativeFanout();
const writer = openSocketWriter('auto', native.file);
const server = new EchoServer({ closeTimeoutMs: 300 }, https, { writer });
const clients: RawClient[] = [];

beforeAll(() => {
  server.app.post('/echo', async (request) => request.body);
  return server.start();
});
afterEach(() => {
  for (const client of clients.splice(0)) client.destroy();
});
afterAll(async () => {
  await server.app.close();
  rmSync(folder, { recursive: true });
  native.remove();
});

async function dial(): Promise<RawClient> {
  const socket = connect({ port: server.port, host: '127.0.0.1', ca: cert, servername: 'starling.test' });
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve);
    socket.once('error', reject);
  });
  const client = new RawClient(socket);
  clients.push(client);
  return client;
}

describe('over TLS', () => {
  it('holds a conversation, and tells the session that it is one', async () => {
    const client = await dial();
    await client.shakeHands('/app/key');
    expect(server.session.connectRequest.isTls).toBe(true);
    client.send(clientFrame('grüße'));
    expect(await client.text()).toBe('grüße');
    client.send(clientFrame('life', { opcode: opcodes.ping }));
    expect(await client.pong()).toBe('life');
    client.send(clientFrame(closePayload(1000, 'bye'), { opcode: opcodes.close }));
    expect(await client.close()).toEqual({ code: 1000, reason: 'bye' });
    await client.ended();
  });

  it('reports a buffer that has emptied, and mixes no frames on the way there', async () => {
    const client = await dial();
    await client.shakeHands('/app/key');
    const { session } = server;
    const payload = 's'.repeat(100_000);
    const frame = session.transport.codec.frame(Buffer.from(payload));
    for (let round = 0; round < 20; round++) {
      client.send(clientFrame(`${round}`, { opcode: opcodes.ping }));
      session.transport.write(frame);
    }
    expect(session.transport.bufferedBytes).toBeGreaterThan(0);
    const drained = session.next('drained');
    for (let texts = 0; texts < 20; ) {
      const { opcode, payload: received } = await client.frame();
      if (opcode !== opcodes.text) continue;
      texts++;
      expect(received.toString() === payload).toBe(true);
    }
    await drained;
    expect(session.transport.bufferedBytes).toBe(0);
  });

  it('encrypts what the fan-out writes: a descriptor it could send to past TLS is there, and is left alone', async () => {
    const client = await dial();
    await client.shakeHands('/app/key');
    const { transport } = server.session;
    expect(writer.path).toBe('native');
    transport.fanout?.write([transport], [transport.codec.frame(Buffer.from('secret'))], 1);
    expect(await client.text()).toBe('secret');
  });

  it('[WS7] is cut within the limit when it is closed and does not read', async () => {
    const client = await dial();
    await client.shakeHands('/app/key');
    const { session } = server;
    client.socket.pause();
    session.transport.write(session.transport.codec.frame(Buffer.alloc(20_000_000, 's')));
    session.transport.close(4203, 'too slow');
    await session.next('ended');
    expect(session.ends).toBe(1);
  });

  it('reads a request with an Upgrade that is not offered as if it had none', async () => {
    const client = await dial();
    const headers = { Upgrade: 'h2c', 'Content-Type': 'application/json', 'Content-Length': '9' };
    for (const body of ['{"a":"b"}', '{"c":"d"}']) {
      client.send(handshake('/echo', headers, { method: 'POST' }) + body);
      expect(await client.answer()).toMatchObject({ status: 200, body });
    }
  });
});
