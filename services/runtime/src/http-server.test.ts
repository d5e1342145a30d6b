import { once } from 'node:events';
import { type IncomingHttpHeaders, request as requestHttp } from 'node:http';
import { connect } from 'node:net';
import { StarlingError } from '@starling/protocol';
import { afterEach, describe, expect, test } from 'vitest';
import { type HttpServerOptions, openHttpServer, toHttpReply } from './http-server.ts';
import { StartError } from './lifecycle.ts';
import { createLog, PinoObserver } from './log.ts';
import { Metrics } from './metrics.ts';
import { Readiness, type ReadinessCheck } from './readiness.ts';

const closers: Array<() => Promise<void>> = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

function make(options: Partial<HttpServerOptions> & { checks?: ReadinessCheck[] } = {}) {
  const lines: string[] = [];
  const log = createLog({ level: 'info', isReadable: false, destination: { write: (line) => void lines.push(line) } });
  const readiness = new Readiness(options.checks ?? [], new PinoObserver(log));
  const server = openHttpServer({ log, readiness, metrics: new Metrics(), ...options });
  closers.push(() => server.close());
  return { server, readiness, lines, app: server.app };
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
    app.post('/echo', { bodyLimit: 100 }, async (request) => request.body as object);
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
      { level: 'error', path: '/defect', err: { message: 'the secret inside' } },
    ]);
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
    const url = await server.listen('127.0.0.1', 0);
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
    const url = await server.listen('127.0.0.1', 0);
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
    expect(ready.json()).toEqual({
      status: 'not ready',
      checks: { apps: 'ok', broker: 'timed out', store: 'failed' },
    });
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ check: 'store', err: { message: 'no answer' } });
    expect((await make({ checks: [ok] }).app.inject({ url: '/readyz' })).json()).toEqual({
      status: 'ready',
      checks: { apps: 'ok' },
    });
  });

  test('[OP1] /readyz is 503 from the moment a stop begins, even for a check that is under way', async () => {
    const check = held();
    const { app, readiness } = make({ checks: [{ name: 'broker', run: check.run, limitMs: 5_000 }] });
    const underWay = app.inject({ url: '/readyz' });
    await check.hasBegun;
    readiness.stop();
    check.finish();
    expect((await underWay).statusCode).toBe(503);
    expect((await app.inject({ url: '/readyz' })).json()).toEqual({
      status: 'not ready',
      checks: { lifecycle: 'stopping' },
    });
    expect((await app.inject({ url: '/healthz' })).statusCode).toBe(200);
  });

  test('many who ask while a check runs share it', async () => {
    const check = held();
    const { readiness } = make({ checks: [{ name: 'broker', run: check.run, limitMs: 5_000 }] });
    const answers = Array.from({ length: 20 }, () => readiness.read());
    check.finish();
    expect((await Promise.all(answers)).every((answer) => answer.isReady)).toBe(true);
    expect(check.runs()).toBe(1);
    await readiness.read();
    expect(check.runs()).toBe(2);
  });

  test('[OP2] /metrics is Prometheus text', async () => {
    const answer = await make().app.inject({ url: '/metrics' });
    expect(answer.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(answer.body).toContain('# TYPE process_cpu_seconds_total counter');
  });
});

describe('listening', () => {
  test('says which port is in use and what to do', async () => {
    const port = Number(new URL(await make().server.listen('127.0.0.1', 0)).port);
    await expect(make().server.listen('127.0.0.1', port)).rejects.toThrow(
      new StartError(`port ${port} of 127.0.0.1 is in use: end the other program, or set STARLING_PORT`),
    );
  });
});

describe('closing', () => {
  test('[OP6] answers the request in flight, ends idle connections and those that never spoke, and takes no new ones', async () => {
    const { server, readiness, app } = make();
    const slow = held();
    app.get('/slow', async () => {
      await slow.run();
      return { done: true };
    });
    const url = await server.listen('127.0.0.1', 0);
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
