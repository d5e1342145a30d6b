/** `/sse/KEY` under the real engine, by plain HTTP. */
import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { connect as connectSocket } from 'node:net';
import { defaultAppLimits } from '@starling/ports';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { type Engine, type EngineOptions, startEngine } from '../engine.test-kit.ts';

const wait = { timeout: 10_000 };
let engine: Engine | undefined;

afterEach(async () => {
  await engine?.stop();
  engine = undefined;
});

async function start(options: EngineOptions = {}): Promise<Engine> {
  engine = await startEngine(options);
  return engine;
}

interface Stream {
  readonly response: IncomingMessage;
  /** Everything that came, as it came. */
  text(): string;
  /** The messages, in order. */
  messages(): Array<Record<string, unknown>>;
  readonly closed: Promise<void>;
  leave(): void;
}

async function open(port: number, path: string, headers: Record<string, string> = {}): Promise<Stream> {
  const asking: ClientRequest = request({ host: '127.0.0.1', port, path, headers }).end();
  const [response] = (await once(asking, 'response')) as [IncomingMessage];
  asking.on('error', () => undefined);
  response.on('error', () => undefined);
  onTestFinished(() => void asking.destroy());
  let text = '';
  response.setEncoding('utf8').on('data', (more: string) => {
    text += more;
  });
  return {
    response,
    text: () => text,
    messages: () => [...text.matchAll(/^data: (.*)$/gm)].map(([, json = '']) => JSON.parse(json)),
    closed: new Promise((resolve) => response.once('close', () => resolve())),
    leave: () => void asking.destroy(),
  };
}

async function received(stream: Stream, member: string): Promise<Record<string, unknown>> {
  return vi.waitFor(() => {
    const message = stream.messages().find((each) => Object.hasOwn(each, member));
    expect(message, `${member} in ${stream.text()}`).toBeDefined();
    return message as Record<string, unknown>;
  }, wait);
}

async function post(port: number, stream: string, body: string, headers: Record<string, string> = {}) {
  const answer = await fetch(`http://127.0.0.1:${port}/sse/key/${stream}`, { method: 'POST', body, headers });
  return { status: answer.status, json: await answer.json(), headers: answer.headers };
}

describe('a stream', () => {
  it('[SS1] brings the events of the channels in its address', async () => {
    const { port, publish } = await start();
    const stream = await open(port, '/sse/key?channels=news,other&channel=with,comma', { origin: 'http://a.example' });
    expect(stream.response.statusCode).toBe(200);
    expect(stream.response.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store, no-transform',
      'access-control-allow-origin': 'http://a.example',
    });
    await vi.waitFor(() => {
      const subscribed = stream.messages().flatMap((message) => message['subscribed'] ?? []);
      expect(subscribed.sort()).toEqual(['news', 'other', 'with,comma']);
    }, wait);
    expect(Object.keys(stream.messages()[0] ?? {})).toEqual(['stream']);
    expect(stream.messages()[1]).toMatchObject({ connected: expect.stringMatching(/^\d+\.\d+$/) });
    await publish('hello', 'line\nbreak');
    expect(await received(stream, 'event')).toEqual({ event: 'hello', channel: 'news', data: 'line\nbreak' });
    // Nothing but events without a name: an EventSource gets each as a message.
    expect(stream.text().replaceAll(/^data: .*\n\n/gm, '')).toBe('');
  });

  it('[SS1] leaves its channels when the client goes', async () => {
    const { port, sessions, traffic } = await start();
    const stream = await open(port, '/sse/key?channels=news');
    await received(stream, 'subscribed');
    expect(traffic.subscriptions).toBe(1);
    stream.leave();
    await vi.waitFor(() => expect([sessions.size, traffic.subscriptions]).toEqual([0, 0]), wait);
    expect(sessions.heldBytes).toBe(0);
  });

  it('[SS2] is refused with a status where coming back unchanged is useless, so that an EventSource does not', async () => {
    const { port } = await start({ app: { allowedOrigins: ['http://a.example'] } });
    const unknown = await open(port, '/sse/nobody');
    await unknown.closed;
    expect(unknown.response.statusCode).toBe(404);
    expect(JSON.parse(unknown.text())).toMatchObject({ code: 'app_unknown', number: 4001 });
    const foreign = await open(port, '/sse/key', { origin: 'http://b.example' });
    await foreign.closed;
    expect(foreign.response.statusCode).toBe(403);
    expect(JSON.parse(foreign.text())).toMatchObject({ code: 'origin_not_allowed', number: 4009 });
    expect(foreign.response.headers).not.toHaveProperty('access-control-allow-origin');
  });

  it('[SS2] ends with a time to come back where coming back helps', async () => {
    const { port, sessions } = await start();
    const stream = await open(port, '/sse/key?channels=news');
    await received(stream, 'subscribed');
    await sessions.drain({ hasSuccessor: false, overMs: 1_000 });
    await stream.closed;
    expect(stream.messages().at(-1)).toMatchObject({ error: 'restarting', number: 4100 });
    expect(Number(/^retry: (\d+)$/m.exec(stream.text())?.[1])).toBeGreaterThanOrEqual(1_000);
    const late = await open(port, '/sse/key?channels=news');
    await late.closed;
    expect(late.response.statusCode).toBe(200);
    expect(late.messages().map((message) => Object.keys(message)[0])).toEqual(['stream', 'error']);
    expect(late.text()).toMatch(/^retry: \d+$/m);
  });

  it('[SS4] carries comments while nothing happens, and lives by their being taken', async () => {
    const { port, sessions } = await start({
      settings: { activityTimeoutSeconds: 0, activityGraceMs: 20, pongTimeoutMs: 500 },
    });
    const stream = await open(port, '/sse/key');
    await vi.waitFor(() => expect(stream.text().match(/^:$/gm)?.length).toBeGreaterThan(2), wait);
    expect(sessions.size).toBe(1);
  });

  it('[SS4] of a client that does not read is closed, and others go on', async () => {
    const { port, publish, sessions } = await start({ outbox: { maxBytes: 300_000, maxStallMs: 60_000 } });
    const stalled = connectSocket(port, '127.0.0.1');
    onTestFinished(() => void stalled.destroy());
    stalled.on('error', () => undefined);
    stalled.write('GET /sse/key?channels=news HTTP/1.1\r\nHost: a\r\n\r\n');
    await once(stalled, 'data');
    stalled.pause();
    const reading = await open(port, '/sse/key?channels=news');
    await received(reading, 'subscribed');
    await vi.waitFor(() => expect(sessions.size).toBe(2), wait);
    let count = 0;
    while (sessions.size > 1) {
      if (++count > 1_000) throw new Error('It is never closed');
      await publish('big', 'x'.repeat(100_000));
      await vi.waitFor(
        () => expect(reading.messages().filter(({ event }) => event === 'big')).toHaveLength(count),
        wait,
      );
    }
    expect(sessions.size).toBe(1);
  });
});

describe('what a client says', () => {
  async function opened(options: EngineOptions = {}) {
    const { port, ...others } = await start(options);
    const stream = await open(port, '/sse/key', { origin: 'http://a.example' });
    const { stream: id } = await received(stream, 'stream');
    await received(stream, 'connected');
    return { port, stream, id: id as string, ...others };
  }

  it('[SS3] comes as requests to the stream, and is answered by the stream', async () => {
    const { port, stream, id, publish } = await opened();
    const { status, headers } = await post(port, id, '{"subscribe":"news"}', { 'content-type': 'text/plain' });
    expect(status).toBe(202);
    expect(headers.get('access-control-allow-origin')).toBe('http://a.example');
    await received(stream, 'subscribed');
    await publish('hello');
    await received(stream, 'event');
    expect((await post(port, id, 'no JSON')).status).toBe(202);
    expect(await received(stream, 'error')).toMatchObject({ error: 'frame_malformed' });
    expect((await post(port, id, '')).status).toBe(202);
  });

  it('[SS3] is refused for a stream that is not open here, and of a size that no message has', async () => {
    const { port, stream, id, sessions } = await opened();
    expect(await post(port, 'nope', '{}')).toMatchObject({ status: 404, json: { code: 'stream_unknown' } });
    expect(await post(port, id, 'x'.repeat(100_000))).toMatchObject({
      status: 413,
      json: { code: 'request_too_large' },
    });
    stream.leave();
    await vi.waitFor(() => expect(sessions.size).toBe(0), wait);
    expect((await post(port, id, '{}')).status).toBe(404);
  });

  it('[SS3] is let through by a browser that asks before', async () => {
    const { port, id } = await opened();
    const answer = await fetch(`http://127.0.0.1:${port}/sse/key/${id}`, { method: 'OPTIONS' });
    expect(answer.status).toBe(204);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'access-control-allow-origin': 'http://a.example',
      'access-control-allow-methods': 'POST',
      'access-control-allow-headers': 'content-type',
    });
  });

  it('[SS3] counts in the inbound rate: a flood ends the stream', async () => {
    const { port, stream, id } = await opened({
      settings: { framesPerSecond: 1 },
      app: { limits: { ...defaultAppLimits, channelsPerConnection: 1, clientEventsPerSecond: 0 } },
    });
    await Promise.all(Array.from({ length: 20 }, () => post(port, id, '{"ping":1}').catch(() => undefined)));
    expect(await received(stream, 'error')).toMatchObject({ error: 'frame_rate', number: 4100 });
    await stream.closed;
  });
});
