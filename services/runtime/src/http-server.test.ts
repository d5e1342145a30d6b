import { once } from 'node:events';
import { type IncomingHttpHeaders, request as requestHttp } from 'node:http';
import { connect, type Socket } from 'node:net';
import { StarlingError } from '@starling/protocol';
import { afterEach, describe, expect, test } from 'vitest';
import { toHttpReply } from './http-reply.ts';
import { type HttpServerOptions, openHttpServer } from './http-server.ts';
import { takeJsonBodies } from './json-body.ts';
import { createLog, PinoObserver } from './log.ts';
import { Metrics } from './metrics.ts';
import { openPort } from './port.ts';
import { Readiness, type ReadinessCheck } from './readiness.ts';

const closers: Array<() => Promise<void>> = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

function make(options: Partial<HttpServerOptions> & { checks?: ReadinessCheck[] } = {}) {
  const lines: string[] = [];
  const log = createLog({ level: 'info', isReadable: false, destination: { write: (line) => void lines.push(line) } });
  const observer = new PinoObserver(log);
  const clock = { now: 0 };
  const readiness = new Readiness(options.checks ?? [], observer, () => clock.now);
  const server = openHttpServer({ log, readiness, observer, ...options });
  closers.push(() => server.close());
  return { server, readiness, lines, app: server.app, observer, clock };
}

/** What a raw peer gets back until the server ends the connection. */
async function rawAnswer(url: string, text: string): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.write(text);
  let answer = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    answer += chunk;
  });
  await once(socket, 'close');
  return answer;
}

/** Something that has begun and does not end before it is told to. */
function held() {
  let finish: () => void = () => {};
  let begin: () => void = () => {};
  let runs = 0;
  const hasBegun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const run = () => {
    runs++;
    begin();
    return finished;
  };
  return { run, hasBegun, finish: () => finish(), runs: () => runs };
}

describe('toHttpReply', () => {
  test('gives the row of a refusal with its own text', () => {
    expect(toHttpReply({ code: 'channel_name_invalid', message: 'The channel name has 201 characters' })).toEqual({
      status: 400,
      body: { error: 'The channel name has 201 characters', code: 'channel_name_invalid' },
      retryAfterSeconds: undefined,
      headers: {},
    });
  });

  test('[LI2] [LI3] tells the limit in headers and body, and Retry-After only where waiting helps', () => {
    const limit = { limit: 10, remaining: 3, reset: 2 };
    const told = { 'ratelimit-limit': '10', 'ratelimit-remaining': '3' };
    expect(toHttpReply({ code: 'rate_limited', message: 'x', limit })).toMatchObject({
      body: { error: 'x', code: 'rate_limited', limit },
      headers: { ...told, 'ratelimit-reset': '2', 'retry-after': '2' },
    });
    const never = { ...limit, reset: null };
    expect(toHttpReply({ code: 'rate_limited', message: 'x', limit: never })).toEqual({
      status: 429,
      body: { error: 'x', code: 'rate_limited', limit: never },
      retryAfterSeconds: undefined,
      headers: told,
    });
    expect(toHttpReply({ code: 'data_too_large', message: 'x', limit: never })).toMatchObject({ headers: told });
  });

  test('never shows the inside of an error: only the public text of its code', () => {
    const { status, body } = toHttpReply(new StarlingError('unavailable', 'redis://user:pw@cache refused'));
    expect(status).toBe(503);
    expect(body).toEqual({ error: 'Temporarily unavailable', code: 'unavailable' });
    expect(toHttpReply(new TypeError('x is undefined')).body).toEqual({ error: 'Internal error', code: 'internal' });
    expect(toHttpReply('thrown text').status).toBe(500);
    expect(toHttpReply(null).status).toBe(500);
    expect(toHttpReply({ code: 'toString', message: 'x' }).status).toBe(500);
  });

  test('says when to try again, in whole seconds and at least one, where trying again helps', () => {
    expect(toHttpReply(new StarlingError('unavailable', 'x')).retryAfterSeconds).toBe(1);
    expect(toHttpReply(new StarlingError('unavailable', 'x', { retryAfterSeconds: 4.2 })).retryAfterSeconds).toBe(5);
    expect(toHttpReply({ code: 'rate_limited', message: 'x' }, 0.25).retryAfterSeconds).toBe(1);
    expect(toHttpReply(new StarlingError('internal', 'x')).retryAfterSeconds).toBeUndefined();
  });
});

describe('the error shape', () => {
  test('is the same for an unknown path, a broken body, one too large, a bad path and a defect', async () => {
    const { app, lines } = make();
    await app.register(async (json) => {
      takeJsonBodies(json, { each: 100, all: 10_000_000 });
      json.post('/echo', async (request) => request.body as object);
    });
    app.get('/defect', async () => {
      throw new Error('the secret inside');
    });
    const json = { 'content-type': 'application/json' };
    const answers = await Promise.all([
      app.inject({ url: '/nothing?auth_signature=abc' }),
      app.inject({ method: 'DELETE', url: '/echo' }),
      app.inject({ method: 'POST', url: '/echo', headers: json, payload: '{"a":' }),
      app.inject({ method: 'POST', url: '/echo', headers: json, payload: JSON.stringify('x'.repeat(101)) }),
      app.inject({ url: '/%zz' }),
      app.inject({ url: '/defect' }),
    ]);
    expect(answers.map((answer) => [answer.statusCode, answer.json().code])).toEqual([
      [404, 'route_unknown'],
      [404, 'route_unknown'],
      [400, 'request_malformed'],
      [413, 'request_too_large'],
      [400, 'request_malformed'],
      [500, 'internal'],
    ]);
    for (const answer of answers) {
      expect(Object.keys(answer.json())).toEqual(['error', 'code']);
      expect(answer.headers['content-type']).toMatch(/^application\/json/);
    }
    expect(answers[0]?.json().error).toBe('No such path: GET /nothing');
    expect(answers[5]?.body).not.toContain('secret');
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { level: 'error', kind: 'request', path: '/defect', err: { message: 'the secret inside' } },
    ]);
    expect(answers[2]?.json().error).toBe('The body is not valid JSON');
  });

  test('sends Retry-After', async () => {
    const { app } = make();
    app.get('/busy', async () => {
      throw new StarlingError('unavailable', 'the store is gone', { retryAfterSeconds: 3 });
    });
    const answer = await app.inject({ url: '/busy' });
    expect([answer.statusCode, answer.headers['retry-after']]).toEqual([503, '3']);
  });

  test('holds for what is not HTTP at all, and the connection is ended', async () => {
    const { server } = make();
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    const answer = await rawAnswer(url, 'NOT HTTP\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(answer).toContain('{"error":"The request is not valid HTTP","code":"request_malformed"}');
  });
});

describe('a slow peer', () => {
  test.each([
    ['says nothing', ''],
    ['does not finish its headers', 'GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: '],
    ['does not finish the headers of an upgrade', 'GET /app/key HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n'],
  ])('[WS6] that %s is cut after the limit', async (_name, text) => {
    const { server } = make({ headersTimeoutMs: 50 });
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    const began = performance.now();
    await rawAnswer(url, text);
    expect(performance.now() - began).toBeLessThan(5_000);
  });
});

describe('the path prefix', () => {
  test.each([
    ['/realtime/where/x?a=1', '/where/x?a=1'],
    ['/where/x?a=1', '/where/x?a=1'],
    ['/realtime/realtime/where/x', undefined],
    ['/realtimewhere/x', '/realtimewhere/x'],
  ])('of %s leaves %s', async (url, expected) => {
    const { app } = make({ pathPrefix: '/realtime' });
    for (const path of ['/where/:name', '/realtimewhere/:name']) {
      app.get(path, async (request) => ({ url: request.url, original: request.originalUrl }));
    }
    const answer = await app.inject({ url });
    if (expected === undefined) expect(answer.statusCode).toBe(404);
    else expect(answer.json()).toEqual({ url: expected, original: url });
  });
});

describe('trustProxy', () => {
  const address = async (trustProxy: HttpServerOptions['trustProxy']) => {
    const { app } = make(trustProxy === undefined ? {} : { trustProxy });
    app.get('/address', async (request) => ({ ip: request.ip, protocol: request.protocol }));
    const headers = { 'x-forwarded-for': '9.9.9.9, 8.8.8.8', 'x-forwarded-proto': 'https' };
    return (await app.inject({ url: '/address', headers })).json();
  };
  test('believes nobody unless told, and then only as far as told', async () => {
    expect(await address(undefined)).toEqual({ ip: '127.0.0.1', protocol: 'http' });
    expect(await address(1)).toEqual({ ip: '8.8.8.8', protocol: 'https' });
    expect(await address(true)).toEqual({ ip: '9.9.9.9', protocol: 'https' });
    expect(await address(['10.0.0.0/8'])).toEqual({ ip: '127.0.0.1', protocol: 'http' });
    expect(await address(['127.0.0.1', '8.8.8.8'])).toEqual({ ip: '9.9.9.9', protocol: 'https' });
  });
});

describe('/healthz, /readyz and /metrics', () => {
  const ok: ReadinessCheck = { name: 'apps', run: async () => 1, limitMs: 1_000 };

  test('[OP1] /healthz is 200 while the process lives, /readyz only when every check passes in its time', async () => {
    const { app, lines } = make({
      checks: [
        ok,
        { name: 'broker', run: () => new Promise(() => {}), limitMs: 20 },
        { name: 'store', run: () => Promise.reject(new Error('no answer')), limitMs: 1_000 },
      ],
    });
    expect((await app.inject({ url: '/healthz' })).statusCode).toBe(200);
    const ready = await app.inject({ url: '/readyz' });
    expect(ready.statusCode).toBe(503);
    // One word for each, and nothing of why: that is in the log.
    expect(ready.json()).toEqual({
      status: 'not ready',
      checks: { apps: 'ok', broker: 'timed out', store: 'failed' },
    });
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { check: 'store', verdict: 'failed', err: { message: 'no answer' } },
      { check: 'broker', verdict: 'timed out' },
    ]);
    expect((await make({ checks: [ok] }).app.inject({ url: '/readyz' })).json()).toMatchObject({ status: 'ready' });
  });

  test('[OP1] /readyz is 503 from the moment a stop begins, even for a check that is under way', async () => {
    const check = held();
    const { app, readiness } = make({ checks: [{ name: 'broker', run: check.run, limitMs: 5_000 }] });
    const underWay = app.inject({ url: '/readyz' });
    await check.hasBegun;
    readiness.stop();
    check.finish();
    expect((await underWay).statusCode).toBe(503);
    expect((await app.inject({ url: '/readyz' })).json()).toMatchObject({ status: 'not ready' });
    expect((await app.inject({ url: '/healthz' })).statusCode).toBe(200);
  });

  test('[OP18] many who ask while a check runs, or soon after it, share it', async () => {
    const check = held();
    const { readiness, clock } = make({ checks: [{ name: 'broker', run: check.run, limitMs: 5_000 }] });
    const answers = Array.from({ length: 20 }, () => readiness.read());
    check.finish();
    expect((await Promise.all(answers)).every((answer) => answer.isReady)).toBe(true);
    expect(check.runs()).toBe(1);
    clock.now += 199;
    await readiness.read();
    expect(check.runs()).toBe(1);
    clock.now += 1;
    await readiness.read();
    expect(check.runs()).toBe(2);
  });

  test('a check that goes on failing is logged once, and again when it has passed in between', async () => {
    let isUp = false;
    const run = async () => {
      if (!isUp) throw new Error('away');
    };
    const { readiness, clock, lines } = make({ checks: [{ name: 'store', run, limitMs: 1_000 }] });
    for (const up of [false, false, true, false]) {
      isUp = up;
      clock.now += 1_000;
      expect((await readiness.read()).isReady).toBe(up);
    }
    expect(lines).toHaveLength(2);
  });

  test('[OP2] /metrics is Prometheus text for who knows the token, 401 for others, and 404 where there is none', async () => {
    const metrics = { text: new Metrics(), token: 'a-token-of-metrics' };
    const { app } = make({ metrics, pathPrefix: '/realtime' });
    for (const url of ['/metrics', '/realtime/metrics']) {
      const answer = await app.inject({ url, headers: { authorization: 'Bearer a-token-of-metrics' } });
      expect(answer.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
      expect(answer.body).toContain('# TYPE process_cpu_seconds_total counter');
      expect(answer.body).toContain('starling_log_lines_dropped_total');
      for (const authorization of [
        undefined,
        'Bearer a-token-of-metricz',
        'Bearer ',
        'Basic a-token-of-metrics',
        'Bearer a-token',
      ]) {
        const refused = await app.inject({ url, headers: authorization === undefined ? {} : { authorization } });
        expect([refused.statusCode, refused.headers['www-authenticate']]).toEqual([401, 'Bearer']);
        expect(refused.body).not.toContain('process_cpu');
      }
      expect((await make({ pathPrefix: '/realtime' }).app.inject({ url })).statusCode).toBe(404);
    }
  });
});

describe('[OP25] requests sent without waiting for answers', () => {
  async function talk(url: string): Promise<{ socket: Socket; text: () => string }> {
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    let text = '';
    socket.setEncoding('latin1').on('data', (data: string) => {
      text += data;
    });
    socket.on('error', () => {});
    await once(socket, 'connect');
    return { socket, text: () => text };
  }
  const ask = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

  test('are handled one after another, and answered in their order', async () => {
    const { server, app } = make();
    const under = { way: 0, most: 0 };
    app.get('/:number', async (request) => {
      under.most = Math.max(under.most, ++under.way);
      await new Promise((resolve) => setImmediate(resolve));
      under.way--;
      return (request.params as { number: string }).number;
    });
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    const { socket, text } = await talk(url);
    const numbers = Array.from({ length: 17 }, (_, index) => String(100 + index));
    socket.write(numbers.map((number) => ask(`/${number}`)).join(''));
    await expect.poll(() => text().match(/\r\n\r\n(\d+)/g)?.length).toBe(17);
    expect([...text().matchAll(/\r\n\r\n(\d\d\d)/g)].map(([, number]) => number)).toEqual(numbers);
    expect(under.most).toBe(1);
    // The connection goes on.
    socket.write(ask('/200'));
    await expect.poll(text).toMatch(/200$/);
    socket.destroy();
  });

  test('let others in between each two', async () => {
    const { server, app } = make();
    let handled = 0;
    app.get('/count', async () => ++handled);
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    const { socket } = await talk(url);
    let turns = 0;
    const turn = (): void => {
      turns++;
      if (handled < 10) setImmediate(turn);
    };
    turn();
    socket.write(ask('/count').repeat(10));
    await expect.poll(() => handled).toBe(10);
    expect(turns).toBeGreaterThanOrEqual(10);
    socket.destroy();
  });

  test('are cut beyond 16 that wait, whatever came with them, and nothing else notices', async () => {
    const { server, app } = make();
    let handled = 0;
    app.get('/count', async () => String(++handled).repeat(1_000));
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    const { socket } = await talk(url);
    const closed = once(socket, 'close');
    socket.write(ask('/count').repeat(1_400));
    await closed;
    expect(handled).toBeLessThanOrEqual(1);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
  });

  test('end with their connection', async () => {
    const { server, app, observer } = make();
    const slow = held();
    let handled = 0;
    app.get('/slow', async () => {
      handled++;
      await slow.run();
      return 'late';
    });
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    const { socket } = await talk(url);
    socket.write(ask('/slow').repeat(5));
    await slow.hasBegun;
    socket.destroy();
    await expect.poll(() => server.openSockets).toBe(0);
    slow.finish();
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    expect(handled).toBe(1);
    expect(observer.defects.size).toBe(0);
  });
});

describe('closing', () => {
  test('[OP6] is not held up by those who do not send the rest, and answers one that it has whole', async () => {
    const { server, app } = make();
    const slow = held();
    await app.register(async (json) => {
      takeJsonBodies(json, { each: 100, all: 1_000 });
      json.post('/echo', async () => ({}));
    });
    app.get('/slow', async () => {
      await slow.run();
      return 'late';
    });
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    const open = async (text: string) => {
      const socket = connect(Number(new URL(url).port), '127.0.0.1');
      socket.on('error', () => {});
      await once(socket, 'connect');
      socket.write(text);
      return { socket, closed: once(socket.resume(), 'close') };
    };
    const strangers = [
      await open('GET /healthz HTTP/1.1\r\nHost: a\r\nX: '),
      await open('POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{'),
    ];
    const whole = fetch(`${url}/slow`);
    await slow.hasBegun;
    const closed = server.close();
    await Promise.all(strangers.map((stranger) => stranger.closed));
    slow.finish();
    expect(await (await whole).text()).toBe('late');
    await closed;
  });

  test('[OP6] answers the request in flight, ends idle connections and those that never spoke, and takes no new ones', async () => {
    const { server, readiness, app } = make();
    const slow = held();
    app.get('/slow', async () => {
      await slow.run();
      return { done: true };
    });
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    const idle = connect(Number(new URL(url).port), '127.0.0.1');
    idle.write('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n');
    await once(idle, 'data');
    const silent = connect(Number(new URL(url).port), '127.0.0.1');
    await once(silent, 'connect');
    const inFlight = requestHttp(`${url}/slow`, { agent: false, headers: { connection: 'keep-alive' } }).end();
    const answered = once(inFlight, 'response') as Promise<[{ statusCode: number; headers: IncomingHttpHeaders }]>;
    await slow.hasBegun;

    readiness.stop();
    const idleEnded = Promise.all([once(idle, 'close'), once(silent, 'close')]);
    const closed = server.close();
    await idleEnded;
    await expect(fetch(`${url}/healthz`)).rejects.toThrow();
    slow.finish();
    const [{ statusCode, headers }] = await answered;
    expect([statusCode, headers.connection]).toEqual([200, 'close']);
    inFlight.destroy();
    await closed;
  });
});

describe('[RE21] a request that another server might read otherwise', () => {
  const get = 'GET /echo HTTP/1.1\r\nHost: a\r\n';
  const post = 'POST /echo HTTP/1.1\r\nHost: a\r\n';
  test.each([
    ['both lengths', `${post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['two lengths that differ', `${post}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello`],
    ['a length that is no number', `${post}Content-Length: +5\r\n\r\nhello`],
    ['a length with a comma', `${post}Content-Length: 5, 5\r\n\r\nhello`],
    ['an encoding that does not end in chunked', `${post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`],
    ['an unknown encoding', `${post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    ['an encoding said twice', `${post}Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n`],
    ['a folded header', `${get}X-A: b\r\n c\r\n\r\n`],
    ['a space before the colon', `${get}X-A : b\r\n\r\n`],
    ['a space before the colon of its length', `${post}Content-Length : 5\r\n\r\nhello`],
    ['bare line feeds', 'GET /echo HTTP/1.1\nHost: a\n\n'],
    ['a bare carriage return in a header', `${get}X-A: b\rc\r\n\r\n`],
    ['a zero byte in a header', `${get}X-A: b\0c\r\n\r\n`],
    ['a chunk size that is none', `${post}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n`],
    ['no Host', 'GET /echo HTTP/1.1\r\n\r\n'],
    ['two Hosts', `${get}Host: b\r\nConnection: close\r\n\r\n`],
    ['the same Host twice', `${get}host: a\r\nConnection: close\r\n\r\n`],
    ['no HTTP version', 'GET /echo\r\n\r\n'],
  ])('with %s gets 400, is served nothing, and nothing behind it is either', async (_name, text) => {
    const { server, app } = make({ headersTimeoutMs: 1_000, requestTimeoutMs: 1_000 });
    let served = 0;
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
    for (const method of ['GET', 'POST']) {
      app.route({ method, url: '/echo', handler: async () => ({ served: ++served }) });
    }
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    const answer = await rawAnswer(url, `${text}GET /echo HTTP/1.1\r\nHost: smuggled\r\nConnection: close\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    // Two hosts are well-formed HTTP, so what follows is a request of its own, and not one hidden in the first.
    if (!_name.includes('Host')) expect(served).toBe(0);
    else expect(answer.split('HTTP/1.1 200').length - 1).toBeLessThanOrEqual(served);
  });
});

describe('[RE22] the request target', () => {
  test('may be a whole URL, whose host counts rather than that of the header', async () => {
    const { server, app } = make({ pathPrefix: '/realtime' });
    app.get('/where/:name', async ({ url, originalUrl, headers, host }) => ({
      url,
      originalUrl,
      host,
      header: headers.host,
    }));
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    const answer = await rawAnswer(
      url,
      'GET http://example.com:80/realtime/where/x?a=1 HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n',
    );
    expect(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4))).toEqual({
      url: '/where/x?a=1',
      originalUrl: '/realtime/where/x?a=1',
      host: 'example.com:80',
      header: 'example.com:80',
    });
    for (const target of ['HTTP://a', 'https://a?x=1', 'ftp://a/healthz', 'http:///healthz', '*']) {
      expect(await rawAnswer(url, `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)).toMatch(
        /^HTTP\/1\.1 40[04] /,
      );
    }
    expect(await rawAnswer(url, 'GET HTTP://a/healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')).toMatch(
      / 200 /,
    );
  });
});

describe('[RE23] what is not taken', () => {
  test('headers over the limit get 431, and the limit is a setting', async () => {
    const { server } = make({ maxHeaderBytes: 2_048 });
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    const request = (bytes: number) =>
      `GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-A: ${'x'.repeat(bytes)}\r\n\r\n`;
    expect(await rawAnswer(url, request(1_500))).toMatch(/^HTTP\/1\.1 200 /);
    const answer = await rawAnswer(url, request(4_000));
    expect(answer).toMatch(/^HTTP\/1\.1 431 /);
    expect(answer).toContain('"code":"headers_too_large"');
  });

  test('a compressed body gets 415', async () => {
    const { app } = make();
    app.post('/echo', async () => ({}));
    for (const [encoding, status] of [
      ['gzip', 415],
      ['br', 415],
      ['identity', 200],
      ['Identity', 200],
    ] as const) {
      const answer = await app.inject({ method: 'POST', url: '/echo', headers: { 'content-encoding': encoding } });
      expect(answer.statusCode).toBe(status);
    }
  });

  test('a body that does not arrive in time gets 408', async () => {
    const { server, app } = make({ headersTimeoutMs: 50, requestTimeoutMs: 50 });
    await app.register(async (json) => {
      takeJsonBodies(json, { each: 100, all: 10_000_000 });
      json.post('/echo', async () => ({}));
    });
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    const answer = await rawAnswer(
      url,
      'POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{',
    );
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
  });

  test('a body for an unknown path is not waited for', async () => {
    const { server } = make();
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    const head =
      'POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 3000000\r\n\r\n[';
    expect(await rawAnswer(url, head)).toMatch(/^HTTP\/1\.1 404 /);
  });

  test('JSON nested deeper than 32 gets 400 before it is parsed, a key __proto__ gets 400, an empty body is none', async () => {
    const { app } = make();
    await app.register(async (json) => {
      takeJsonBodies(json, { each: 1_000_000, all: 10_000_000 });
      json.post('/echo', async (request) => ({ body: request.body ?? null }));
    });
    const post = (payload: string) =>
      app.inject({ method: 'POST', url: '/echo', headers: { 'content-type': 'application/json' }, payload });
    const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
    expect((await post(nested(32))).statusCode).toBe(200);
    expect((await post(nested(33))).json()).toMatchObject({ code: 'json_too_deep' });
    expect((await post('['.repeat(900_000))).json()).toMatchObject({ code: 'json_too_deep' });
    for (const poison of ['{"__proto__":{"x":1}}', '{"constructor":{"prototype":{"x":1}}}']) {
      expect((await post(poison)).statusCode).toBe(400);
    }
    expect((await post('')).json()).toEqual({ body: null });
  });
});

describe('[RE27] JSON bodies under way', () => {
  const each = 10_000;
  const head = `POST /echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ${each}\r\n\r\n`;
  const most = JSON.stringify('x'.repeat(each - 2)).slice(0, -1);

  async function begin(
    url: string,
    text: string,
  ): Promise<{ socket: Socket; closed: Promise<unknown>; answer: () => string }> {
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    let answer = '';
    socket.on('error', () => {}).setEncoding('latin1');
    socket.on('data', (data: string) => {
      answer += data;
    });
    const closed = once(socket, 'close');
    await once(socket, 'connect');
    socket.write(text);
    return { socket, closed, answer: () => answer };
  }

  async function open(all: number) {
    const { server, app } = make();
    await app.register(async (json) => {
      takeJsonBodies(json, { each, all });
      json.post('/echo', async (request) => ({ length: (request.body as string).length }));
    });
    return server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
  }

  test('beyond a total let no other begin, and are answered when they are whole', async () => {
    const url = await open(2 * each - 10);
    const halves = [await begin(url, head + most), await begin(url, head + most)];
    const refused = async () => {
      const { answer, socket } = await begin(url, `${head}"`);
      await expect.poll(answer).toMatch(/^HTTP/);
      socket.destroy();
      return /^HTTP\/1\.1 (\d+)/.exec(answer())?.[1];
    };
    await expect.poll(refused).toBe('503');
    for (const { socket, answer } of halves) {
      socket.write('"');
      await expect.poll(answer).toContain('"length":9998');
      socket.destroy();
    }
    const { answer } = await begin(url, `${head + most}"`);
    await expect.poll(answer).toContain('"length":9998');
  });

  test('that were begun before and together hold twice the total are cut', async () => {
    const url = await open(each);
    const begun = await Promise.all(Array.from({ length: 5 }, () => begin(url, `${head}"`)));
    await expect.poll(async () => (await fetch(`${url}/healthz`)).status).toBe(200);
    let gone = 0;
    for (const { closed } of begun) void closed.then(() => gone++);
    for (const { socket } of begun) socket.write(most.slice(1));
    await expect.poll(() => gone).toBeGreaterThan(0);
    expect(gone).toBeLessThan(5);
  });
});

describe('[RE24] Expect: 100-continue', () => {
  test('gets its 100 only when the body is wanted, and a refusal without it ends the connection', async () => {
    const { server, app } = make();
    await app.register(async (json) => {
      takeJsonBodies(json, { each: 100, all: 10_000_000 });
      json.addHook('onRequest', async (request, reply) =>
        request.url === '/closed' ? reply.code(401).send({ no: 'entry' }) : undefined,
      );
      for (const path of ['/open', '/closed']) json.post(path, async (request) => request.body as object);
    });
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    const head = (path: string) =>
      `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n`;
    const refused = await rawAnswer(url, head('/closed'));
    expect(refused).toMatch(/^HTTP\/1\.1 401 /);
    expect(refused.toLowerCase()).toContain('connection: close');

    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.write(head('/open'));
    expect(String((await once(socket, 'data'))[0])).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    socket.write('{"a":1}');
    expect(String((await once(socket, 'data'))[0])).toContain('{"a":1}');
    socket.destroy();
  });
});

describe('[OP16] connections', () => {
  const open = async (url: string) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.on('error', () => {});
    await once(socket, 'connect');
    return socket;
  };
  const asks = async (url: string) => {
    const socket = await open(url);
    socket.write('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n');
    const answered = await Promise.race([
      once(socket, 'data').then(() => true),
      once(socket, 'close').then(() => false),
    ]);
    return { socket, answered };
  };

  test('beyond the bound are refused, and those that wait for nothing make room', async () => {
    const { server } = make({ sockets: { most: 2 } });
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    const [first, second] = [await asks(url), await asks(url)];
    expect([first.answered, second.answered]).toEqual([true, true]);
    const gone = Promise.all([once(first.socket, 'close'), once(second.socket, 'close')]);
    expect((await asks(url)).answered).toBe(false);
    await gone;
    expect(server.refusedSockets).toBe(1);
    expect((await asks(url)).answered).toBe(true);
  });

  test('of one address that have sent no request are bounded, and count no more when they have', async () => {
    const { server } = make({ sockets: { unfinishedPerAddress: 2 } });
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    for (let count = 0; count < 5; count++) expect((await asks(url)).answered).toBe(true);
    const silent = [await open(url), await open(url)];
    expect((await asks(url)).answered).toBe(false);
    silent[0]?.destroy();
    await expect.poll(async () => (await asks(url)).answered).toBe(true);
  });

  test('behind a trusted proxy are not bounded by its address', async () => {
    const { server } = make({ trustProxy: 1, sockets: {} });
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    const silent = await Promise.all(Array.from({ length: 1_005 }, () => open(url)));
    expect((await asks(url)).answered).toBe(true);
    for (const socket of silent) socket.destroy();
  });

  test('[OP12] an error of accepting, or a handler that throws outside of the framework, ends nothing', async () => {
    const { server, app, observer } = make();
    const url = await server.serve(await openPort({ host: '127.0.0.1', port: 0 }));
    app.server.emit('error', Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' }));
    const broken = {
      writable: true,
      write: () => {
        throw new Error('odd');
      },
      destroy: () => {},
    };
    app.server.emit('clientError', new Error('no HTTP'), broken);
    expect(observer.defects.get('connection')).toBe(2);
    expect((await asks(url)).answered).toBe(true);
  });
});
