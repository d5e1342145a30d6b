/** The opening handshake over a real socket, and what becomes of requests that are none. */
import type { Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EchoServer } from '../echo-server.test-kit.ts';
import { clientFrame, handshake, RawClient } from './raw-client.test-kit.ts';

const server = new EchoServer({ closeTimeoutMs: 200 });
const clients: RawClient[] = [];

beforeAll(() => {
  server.app.get('/healthz', async () => 'alive');
  server.app.post('/echo', async (request) => request.body);
  server.app.get('/never', () => new Promise(() => {}));
  return server.start();
});
afterEach(() => {
  for (const client of clients.splice(0)) client.destroy();
});
afterAll(() => server.app.close());

async function connect(port = server.port): Promise<RawClient> {
  const client = await RawClient.connect(port);
  clients.push(client);
  return client;
}

describe('a right handshake', () => {
  it('[WS1] is accepted with the answer of RFC 6455, section 1.3', async () => {
    const client = await connect();
    client.send(handshake('/app/key', { 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==' }));
    const answer = await client.answer();
    expect(answer.status).toBe(101);
    expect(answer.headers.get('sec-websocket-accept')).toBe('s3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
    expect(answer.headers.get('upgrade')?.toLowerCase()).toBe('websocket');
    expect(answer.headers.get('connection')?.toLowerCase()).toBe('upgrade');
    expect(answer.headers.has('sec-websocket-extensions')).toBe(false);
  });

  it.each<[string, Record<string, string>]>([
    ['in upper case', { Upgrade: 'WEBSOCKET', Connection: 'UPGRADE' }],
    ['as Firefox sends it', { Connection: 'keep-alive, Upgrade' }],
    ['with another protocol offered beside', { Upgrade: 'websocket, h2c' }],
    ['with an offer of compression, which is not taken', { 'Sec-WebSocket-Extensions': 'permessage-deflate' }],
  ])('[WS1] is accepted %s', async (_how, headers) => {
    const client = await connect();
    const answer = await client.shakeHands('/app/key', headers);
    expect(answer.headers.has('sec-websocket-extensions')).toBe(false);
    client.send(clientFrame('hello'));
    expect(await client.text()).toBe('hello');
  });

  it('takes a frame that came in one piece with it', async () => {
    const client = await connect();
    client.send(Buffer.concat([Buffer.from(handshake('/app/key')), clientFrame('early')]));
    expect((await client.answer()).status).toBe(101);
    expect(await client.text()).toBe('early');
  });

  it('waits for a hook of the server that takes its time, and loses no frame meanwhile', async () => {
    const slow = new EchoServer({ closeTimeoutMs: 200, handshakeTimeoutMs: 1_000 });
    slow.app.addHook('onRequest', () => new Promise((resolve) => setImmediate(resolve)));
    await slow.start();
    const client = await connect(slow.port);
    client.send(Buffer.concat([Buffer.from(handshake('/app/key')), clientFrame('early')]));
    expect((await client.answer()).status).toBe(101);
    expect(await client.text()).toBe('early');
    const lost = await connect(slow.port);
    lost.send(handshake('/nowhere'));
    expect((await lost.answer()).status).toBe(404);
    await lost.ended();
    client.destroy();
    await slow.app.close();
  });

  it('greets the session with what address and headers say', async () => {
    const client = await connect();
    await client.shakeHands('/app/k%20%2F1/?protocol=7&client=js&version=8.6.0&version=9&flash=false', {
      Origin: 'https://example.com',
    });
    expect(server.session.connectRequest).toEqual({
      key: 'k /1',
      protocol: '7',
      client: 'js',
      version: '8.6.0',
      origin: 'https://example.com',
      address: '127.0.0.1',
      isTls: false,
    });
    const bare = await connect();
    await bare.shakeHands('/app/key');
    expect(server.session.connectRequest).toMatchObject({ key: 'key', protocol: undefined, origin: undefined });
  });

  it('believes a proxy about address and TLS only where it is trusted', async () => {
    const trusting = new EchoServer({ closeTimeoutMs: 200 }, { trustProxy: true });
    await trusting.start();
    const headers = { 'X-Forwarded-For': '203.0.113.7', 'X-Forwarded-Proto': 'https' };
    for (const [each, expected] of [
      [trusting, { address: '203.0.113.7', isTls: true }],
      [server, { address: '127.0.0.1', isTls: false }],
    ] as const) {
      const client = await connect(each.port);
      await client.shakeHands('/app/key', headers);
      expect(each.session.connectRequest).toMatchObject(expected);
      client.destroy();
    }
    await trusting.app.close();
  });
});

describe('an open connection', () => {
  it('holds neither its request nor its response, nor a time limit', async () => {
    setFlagsFromString('--expose-gc');
    const collectGarbage: () => void = runInNewContext('gc');
    const held: WeakRef<object>[] = [];
    const sockets: Socket[] = [];
    const watched = new EchoServer({ closeTimeoutMs: 200 });
    watched.app.addHook('onRequest', (request, reply, done) => {
      held.push(new WeakRef(request.raw), new WeakRef(reply.raw), new WeakRef(request), new WeakRef(reply));
      sockets.push(request.raw.socket);
      done();
    });
    await watched.start();
    const client = await connect(watched.port);
    await client.shakeHands('/app/key');
    const deadline = Date.now() + 5_000;
    while (held.some((each) => each.deref() !== undefined) && Date.now() < deadline) {
      await new Promise((resolve) => setImmediate(resolve));
      collectGarbage();
    }
    expect(held.map((each) => each.deref()?.constructor.name)).toEqual(held.map(() => undefined));
    expect(sockets.map((socket) => socket.timeout ?? 0)).toEqual([0]);
    client.send(clientFrame('still here'));
    expect(await client.text()).toBe('still here');
    client.destroy();
    await watched.app.close();
  });
});

describe('a wrong handshake', () => {
  it.each<[string, Parameters<typeof handshake>[1], RegExp]>([
    ['no Host', { Host: null }, /Host/],
    ['an empty Host', { Host: '' }, /Host/],
    ['no Upgrade', { Upgrade: null }, /Upgrade/],
    ['another Upgrade', { Upgrade: 'h2c' }, /Upgrade/],
    ['no Connection', { Connection: null }, /Upgrade|Connection/],
    ['another Connection', { Connection: 'keep-alive' }, /Upgrade|Connection/],
    ['no Sec-WebSocket-Key', { 'Sec-WebSocket-Key': null }, /Sec-WebSocket-Key/],
    ['a key of 15 bytes', { 'Sec-WebSocket-Key': Buffer.alloc(15).toString('base64') }, /Sec-WebSocket-Key/],
    ['a key of 17 bytes', { 'Sec-WebSocket-Key': Buffer.alloc(17).toString('base64') }, /Sec-WebSocket-Key/],
    ['a key that is not Base64', { 'Sec-WebSocket-Key': '!!!!!!!!!!!!!!!!!!!!!!==' }, /Sec-WebSocket-Key/],
    ['two keys', { 'Sec-WebSocket-Key': ['AAAAAAAAAAAAAAAAAAAAAA==', 'AAAAAAAAAAAAAAAAAAAAAA=='] }, /once/],
    ['no version', { 'Sec-WebSocket-Version': null }, /Sec-WebSocket-Version/],
    ['a bad subprotocol list', { 'Sec-WebSocket-Protocol': 'a,,b' }, /Sec-WebSocket-Protocol/],
  ])('[WS1] with %s gets a 400 that names the header', async (_what, headers, named) => {
    const client = await connect();
    const before = server.sessions.length;
    client.send(handshake('/app/key', headers));
    const answer = await client.answer();
    expect(answer.status).toBe(400);
    expect(answer.body).toMatch(named);
    expect(server.sessions.length).toBe(before);
  });

  it('[WS1] over HTTP/1.0 gets a 400 that says so, and the end', async () => {
    const client = await connect();
    client.send(handshake('/app/key', {}, { version: '1.0' }));
    const answer = await client.answer();
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.body)).toEqual({ error: expect.stringContaining('HTTP/1.1'), code: 'request_malformed' });
    await client.ended();
  });

  it.each(['8', '12', '14', '0', '013', '13, 13', 'x'])(
    '[WS1] of version %s gets a 426 that says 13, and the end',
    async (version) => {
      const client = await connect();
      client.send(handshake('/app/key', { 'Sec-WebSocket-Version': version }));
      const answer = await client.answer();
      expect(answer.status).toBe(426);
      expect(answer.headers.get('sec-websocket-version')).toBe('13');
      expect(answer.headers.get('connection')).toBe('Upgrade, close');
      expect(JSON.parse(answer.body)).toMatchObject({ code: 'upgrade_required' });
      await client.ended();
    },
  );

  it('[WS1] with POST upgrades nothing', async () => {
    const client = await connect();
    client.send(handshake('/app/key', { 'Content-Length': '2' }, { method: 'POST' }));
    client.send('{}');
    expect((await client.answer()).status).toBe(404);
  });
});

describe('what is no handshake', () => {
  it.each(['/app/key', '/app/key/', '/app/key?protocol=7'])('[WS8] a plain GET of %s gets 426', async (path) => {
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`);
    expect(response.status).toBe(426);
    expect(response.headers.get('upgrade')).toBe('websocket');
    expect(await response.json()).toEqual({ error: expect.any(String), code: 'upgrade_required' });
  });

  it('[WS8] a HEAD gets 426 too', async () => {
    const response = await fetch(`http://127.0.0.1:${server.port}/app/key`, { method: 'HEAD' });
    expect(response.status).toBe(426);
  });

  it.each(['/', '/app', '/app/key/more', '/apps/1/events', '/app/../x'])(
    '[WS8] an upgrade for %s gets 404 and the end',
    async (path) => {
      const client = await connect();
      client.send(handshake(path));
      const answer = await client.answer();
      expect(answer.status).toBe(404);
      expect(JSON.parse(answer.body)).toEqual({ error: 'Not found', code: 'route_unknown' });
      await client.ended();
    },
  );

  it('ends the connection when another route has answered an upgrade', async () => {
    const client = await connect();
    client.send(handshake('/healthz'));
    expect((await client.answer()).body).toBe('alive');
    await client.ended();
  });

  it('ends an upgrade that no one answers', async () => {
    const impatient = new EchoServer({ handshakeTimeoutMs: 100 });
    impatient.app.get('/never', () => new Promise(() => {}));
    await impatient.start();
    const client = await connect(impatient.port);
    client.send(handshake('/never'));
    await client.ended();
    await impatient.app.close();
  });

  it('[WS9] drops a connection that asks to upgrade while an answer is owed', async () => {
    const client = await connect();
    client.send(`GET /never HTTP/1.1\r\nHost: x\r\n\r\n${handshake('/app/key')}`);
    await client.ended();
    expect(server.logLines.filter((line) => JSON.parse(line).level >= 40)).toEqual([]);
  });

  it('reads a request with an Upgrade that is not offered as if it had none, body and successors included', async () => {
    const client = await connect();
    const body = JSON.stringify({ text: 'grüße' });
    const headers = {
      Upgrade: 'h2c',
      Connection: 'Upgrade, HTTP2-Settings',
      'HTTP2-Settings': 'AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA',
      'Sec-WebSocket-Key': null,
      'Sec-WebSocket-Version': null,
      'Content-Type': 'application/json',
      'Content-Length': String(Buffer.byteLength(body)),
    };
    const text = handshake('/echo', headers, { method: 'POST' });
    // The body in two pieces, the second with the next request behind it.
    await client.sendAlone(text + body.slice(0, 5));
    client.send(`${body.slice(5)}GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n`);
    const answer = await client.answer();
    expect(answer).toMatchObject({ status: 200, body });
    expect((await client.answer()).body).toBe('alive');
  });
});

describe('a connection that asks again and again', () => {
  it('[WS17] for an Upgrade that is not offered gathers no listeners', async () => {
    const follow = (): void => {};
    // As those do who follow the connections of a server.
    const onConnection = (socket: Socket): void => void socket.on('close', follow);
    server.app.server.on('connection', onConnection);
    const accepted = new Promise<Socket>((resolve) => server.app.server.once('connection', resolve));
    const client = await connect();
    const socket = await accepted;
    const counts = (): number[] => socket.eventNames().map((name) => socket.listenerCount(name));
    const ask = async (): Promise<void> => {
      client.send(handshake('/healthz', { Upgrade: 'h2c', 'Sec-WebSocket-Key': null, 'Sec-WebSocket-Version': null }));
      expect((await client.answer()).body).toBe('alive');
    };
    await ask();
    await ask();
    const before = counts();
    for (let each = 0; each < 30; each++) await ask();
    expect(counts()).toEqual(before);
    expect(socket.listeners('close').filter((each) => each === follow)).toHaveLength(1);
    server.app.server.removeListener('connection', onConnection);
  });
});

describe('a request target', () => {
  it.each(['http', 'ws', 'HTTPS'])('[WS16] that is an address of %s: leads where its path does', async (scheme) => {
    const client = await connect();
    await client.shakeHands(`${scheme}://starling.example:8080/app/key?protocol=5`, { Host: 'another.example' });
    expect(server.session.connectRequest).toMatchObject({ key: 'key', protocol: '5' });
  });

  it('[WS16] that is an address of nothing is not found', async () => {
    const client = await connect();
    client.send(handshake('http://starling.example'));
    expect((await client.answer()).status).toBe(404);
    await client.ended();
  });

  it.each([
    ['the same twice', ['127.0.0.1', '127.0.0.1']],
    ['two', ['one.example', 'two.example']],
  ])('[WS16] with %s in Host gets a 400 that names it', async (_what, hosts) => {
    for (const target of ['/app/key', 'http://one.example/app/key']) {
      const client = await connect();
      client.send(handshake(target, { Host: hosts }));
      const answer = await client.answer();
      expect([answer.status, JSON.parse(answer.body).error]).toEqual([400, expect.stringContaining('Host')]);
      await client.ended();
    }
  });
});

describe('time', () => {
  it('[WS6] ends a connection that does not finish its request headers', async () => {
    const strict = new EchoServer(
      {},
      { http: { headersTimeout: 200, requestTimeout: 400, connectionsCheckingInterval: 50 } },
    );
    await strict.start();
    const silent = await connect(strict.port);
    const slow = await connect(strict.port);
    const good = await connect(strict.port);
    const text = handshake('/app/key');
    let sent = 10;
    const dribble = setInterval(() => slow.send(text[sent++] ?? ''), 20);
    slow.send(text.slice(0, sent));
    await good.shakeHands('/app/key');
    for (const client of [slow, silent]) {
      expect((await client.answer()).status).toBe(408);
      await client.ended();
    }
    clearInterval(dribble);
    // An upgraded connection is not under that limit.
    good.send(clientFrame('still here'));
    expect(await good.text()).toBe('still here');
    good.destroy();
    await strict.app.close();
  });
});
