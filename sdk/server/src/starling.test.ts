/** The package against the real HTTP API, and against a network that fails. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type Fetch, Starling, type StarlingOptions } from './index.ts';

const given = { appId: '3', key: '278d425bdf160c739803', secret: '7ad3773142a6692b25b8', url: 'http://127.0.0.1:1' };

interface Attempt {
  readonly url: URL;
  readonly body: Record<string, unknown>;
}

type Outcome = { status: number; body?: string; headers?: Record<string, string> } | Error;

/** Answers the attempts one after another, the last outcome for all that follow. */
function starlingWith(outcomes: readonly Outcome[], options: Partial<StarlingOptions> = {}) {
  const attempts: Attempt[] = [];
  const fetch: Fetch = async (url, { body }) => {
    attempts.push({ url: new URL(url), body: body === undefined ? {} : JSON.parse(body) });
    const outcome = outcomes[Math.min(attempts.length, outcomes.length) - 1];
    if (outcome === undefined || outcome instanceof Error) throw outcome ?? new Error('no outcome');
    const { status, body: text = '{}', headers = {} } = outcome;
    return { status, headers: { get: (name) => headers[name] ?? null }, text: async () => text };
  };
  return { attempts, starling: new Starling({ ...given, fetch, ...options }) };
}

describe('a request that fails', () => {
  const away = Object.assign(new TypeError('fetch failed'), { cause: new Error('connect ECONNREFUSED') });

  it.each([
    ['the network fails', away],
    ['the server is busy', { status: 503, headers: { 'retry-after': '0' } }],
    ['the server fails', { status: 500, body: '{"error":"Internal error","code":"internal"}' }],
    ['the app publishes too much', { status: 429, headers: { 'retry-after': '0' } }],
    ['a proxy says so in HTML', { status: 502, body: '<html>' }],
  ])('is repeated with the same message id when %s', async (_what, outcome) => {
    const { starling, attempts } = starlingWith([outcome, outcome, { status: 200 }]);
    await starling.trigger('a', 'e', { n: 1 });
    expect(attempts).toHaveLength(3);
    expect(new Set(attempts.map(({ body }) => body['message_id'])).size).toBe(1);
  });

  it('is given up after so many attempts, with the last reason', async () => {
    const { starling, attempts } = starlingWith([away], { retries: 1 });
    await expect(starling.trigger('a', 'e', {})).rejects.toMatchObject({
      code: 'network',
      message: expect.stringContaining('ECONNREFUSED'),
      status: undefined,
    });
    expect(attempts).toHaveLength(2);
  });

  it.each([
    [400, '{"error":"no","code":"event_name_invalid"}', 'event_name_invalid', 'no'],
    [401, 'Unknown key', 'request_unauthenticated', 'HTTP 401: Unknown key'],
    [413, '', 'request_too_large', 'HTTP 413: '],
    [418, '', 'answer_unknown', 'HTTP 418: '],
  ])('is not repeated when the answer is %i', async (status, body, code, message) => {
    const { starling, attempts } = starlingWith([{ status, body }]);
    await expect(starling.trigger('a', 'e', {})).rejects.toMatchObject({ code, message, status });
    expect(attempts).toHaveLength(1);
  });

  it('is not repeated when it would have to wait for long', async () => {
    const { starling, attempts } = starlingWith([{ status: 429, headers: { 'retry-after': '60' } }]);
    await expect(starling.trigger('a', 'e', {})).rejects.toMatchObject({ code: 'rate_limited', retryAfterSeconds: 60 });
    expect(attempts).toHaveLength(1);
  });

  it('[LI6] is not repeated where waiting brings nothing back, and the error tells the limit', async () => {
    const limit = { limit: 4, remaining: 4, reset: null };
    const body = JSON.stringify({ error: 'no', code: 'rate_limited', limit });
    const { starling, attempts } = starlingWith([{ status: 429, body }]);
    await expect(starling.trigger('a', 'e', {})).rejects.toMatchObject({ code: 'rate_limited', limit });
    expect(attempts).toHaveLength(1);
    const odd = JSON.stringify({ error: 'no', code: 'data_too_large', limit: { limit: '4' } });
    const { starling: other } = starlingWith([{ status: 413, body: odd }]);
    await expect(other.trigger('a', 'e', {})).rejects.toMatchObject({ code: 'data_too_large', limit: undefined });
  });

  it('is given up when no answer comes in time', async () => {
    const server = createServer(() => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    const { port } = server.address() as AddressInfo;
    const starling = new Starling({ ...given, url: `http://127.0.0.1:${port}`, timeoutMs: 50, retries: 0 });
    await expect(starling.channels()).rejects.toMatchObject({ code: 'timeout' });
  });

  it('is not led elsewhere by a redirect', async () => {
    const seen: string[] = [];
    const server = createServer((request, response) => {
      seen.push(request.url ?? '');
      response.writeHead(307, { location: '/elsewhere' }).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const starling = new Starling({ ...given, url: `http://127.0.0.1:${port}`, retries: 0 });
    await expect(starling.trigger('a', 'e', {})).rejects.toMatchObject({ code: 'answer_unknown', status: 307 });
    expect(seen).toHaveLength(1);
  });
});

describe('what cannot be sent', () => {
  const { starling, attempts } = starlingWith([{ status: 200 }]);
  const wrong: ReadonlyArray<readonly [string, () => Promise<unknown>]> = [
    ['no channel', () => starling.trigger([], 'e', {})],
    ['101 channels', () => starling.trigger(Array(101).fill('a'), 'e', {})],
    ['a bad channel name', () => starling.trigger('a b', 'e', {})],
    ['a reserved event name', () => starling.trigger('a', 'pusher:x', {})],
    ['a bad socket id', () => starling.trigger('a', 'e', {}, { socketId: 'x' })],
    ['an empty message id', () => starling.trigger('a', 'e', {}, { messageId: '' })],
    ['undefined as data', () => starling.trigger('a', 'e', undefined)],
    ['an encrypted channel beside another', () => starling.trigger(['private-encrypted-a', 'b'], 'e', {})],
    ['an encrypted channel without a key', () => starling.trigger('private-encrypted-a', 'e', {})],
    ['11 events', () => starling.triggerBatch(Array(11).fill({ channel: 'a', event: 'e', data: 1 }))],
    ['a user without an id', () => starling.sendToUser('', 'e', {})],
    ['a token that lives too long', () => starling.createToken({ capabilities: {}, expiresInSeconds: 86_401 })],
  ];
  it.each(wrong)('is refused before it is: %s', async (_what, call) => {
    await expect(call()).rejects.toMatchObject({ code: 'invalid_argument' });
    expect(attempts).toEqual([]);
  });

  it.each([
    { ...given, appId: '' },
    { ...given, appId: 'a' },
    { ...given, secret: '' },
    { ...given, url: '127.0.0.1' },
    { ...given, url: 'ws://127.0.0.1' },
    { ...given, encryptionMasterKey: 'short' },
  ])('is refused by the constructor: %j', (options) => {
    expect(() => new Starling(options)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });
});

describe('a connection URL', () => {
  it('holds everything, a path prefix too', async () => {
    const { attempts } = starlingWith([{ status: 200 }]);
    const fetch: Fetch = async (url) => {
      attempts.push({ url: new URL(url), body: {} });
      return { status: 200, headers: { get: () => null }, text: async () => '{}' };
    };
    await Starling.fromUrl('https://k:s%2F@example.com:8443/realtime/apps/7', { fetch }).channels();
    const [attempt] = attempts;
    expect(attempt?.url.origin).toBe('https://example.com:8443');
    expect(attempt?.url.pathname).toBe('/realtime/apps/7/channels');
    expect(attempt?.url.searchParams.get('auth_key')).toBe('k');
  });

  it.each(['', 'x', 'http://127.0.0.1/apps/7', 'http://k@h/apps/7', 'http://k:s@h/apps/seven', 'http://k:s@h/'])(
    'is refused, without saying it, when it is %j',
    (url) => {
      expect(() => Starling.fromUrl(url)).toThrow('Expected a URL like http://KEY:SECRET@HOST:PORT/apps/ID');
    },
  );
});
