import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type ChannelAuthOptions, type Fetch, type Options, Starling } from './index.ts';
import { TestServer } from './testing.ts';

interface Request {
  url: string;
  headers: Record<string, string>;
  body: string;
}
type Reply = { status?: number; body: unknown } | Error;

let server: TestServer;
let client: Starling;
const requests: Request[] = [];
beforeEach(() => {
  vi.useFakeTimers();
  server = new TestServer();
  requests.length = 0;
});
afterEach(() => {
  client.disconnect();
  vi.useRealTimers();
});

/** A client whose backend answers so; the last answer is repeated. */
async function connect(options: Partial<Options>, ...replies: [Reply, ...Reply[]]): Promise<void> {
  const fetch: Fetch = async (url, { headers, body }) => {
    requests.push({ url, headers, body });
    const reply = (replies.length > 1 ? replies.shift() : replies[0]) as Reply;
    if (reply instanceof Error) throw reply;
    const { status = 200, body: answer } = reply;
    return {
      ok: status === 200,
      status,
      text: async () => (typeof answer === 'string' ? answer : JSON.stringify(answer)),
    };
  };
  const { host = '', WebSocket } = server.options();
  client = new Starling('key', { host, ...(WebSocket && { WebSocket }), fetch, ...options });
  await server.settled();
}
async function pass(ms: number) {
  await server.settled();
  await vi.advanceTimersByTimeAsync(ms);
  await server.settled();
}
const refusals = (name: string) => {
  const all: unknown[] = [];
  client.subscribe(name).bind('pusher:subscription_error', (error) => all.push(error));
  return all;
};
const good = { body: { auth: 'k:s' } };

test.each<[string, Partial<Options>]>([
  [
    'channelAuthorization',
    {
      channelAuthorization: {
        transport: 'ajax',
        endpoint: '/auth',
        params: { a: 1, b: 'x y' },
        headers: { 'x-a': '1' },
        paramsProvider: () => ({ b: '&' }),
        headersProvider: () => ({ 'x-b': '2' }),
      } as ChannelAuthOptions,
    },
  ],
])('%s: what is asked is as with pusher-js', async (_name, options) => {
  await connect(options, good);
  const channel = client.subscribe('private-room');
  await server.settled();
  expect(channel.subscribed).toBe(true);
  expect(requests).toEqual([
    {
      url: '/auth',
      headers: { 'content-type': 'application/x-www-form-urlencoded', 'x-a': '1', 'x-b': '2' },
      body: `socket_id=${client.connection.socket_id}&channel_name=private-room&a=1&b=%26`,
    },
  ]);
});

test('the options of older times work', async () => {
  await connect({ authEndpoint: '/old', auth: { params: { a: '1' }, headers: { 'x-a': '1' } } }, good);
  client.subscribe('private-room');
  await server.settled();
  expect(requests).toMatchObject([{ url: '/old', headers: { 'x-a': '1' }, body: expect.stringMatching(/&a=1$/) }]);
  const asked: string[] = [];
  client.disconnect();
  await connect(
    {
      authorizer: ({ name }) => ({
        authorize: (socketId, callback) => {
          asked.push(`${socketId} ${name}`);
          callback(null, { auth: 'k:s' });
        },
      }),
    },
    good,
  );
  client.subscribe('private-room');
  await server.settled();
  expect(asked).toEqual([`${client.connection.socket_id} private-room`]);
});

test('a refusal is told once, with the status; a passing failure is tried again until it has passed', async () => {
  await connect({}, { status: 403, body: 'Forbidden' });
  const all = refusals('private-room');
  await pass(120_000);
  expect(all).toEqual([{ type: 'AuthError', status: 403, error: expect.stringContaining('Forbidden') }]);
  expect(requests).toHaveLength(1);
  client.disconnect();

  await connect({}, { status: 500, body: '' }, new Error('No network'), { body: 'not JSON' }, good);
  const passing = refusals('private-room');
  await pass(10_000);
  expect(passing).toMatchObject([
    { status: 500, willRetry: true },
    { status: 0, willRetry: true, error: expect.stringContaining('No network') },
    { status: 200, error: expect.stringContaining('not JSON') },
  ]);
  client.subscribe('private-room');
  await server.settled();
  expect(client.channel('private-room')?.subscribed).toBe(true);
});

test('a provider that throws is a refusal, not a channel that waits for ever', async () => {
  const paramsProvider = () => {
    throw new Error('No session');
  };
  await connect({ channelAuthorization: { paramsProvider } }, good);
  const all = refusals('private-room');
  await server.settled();
  expect(all).toMatchObject([{ error: expect.stringContaining('No session') }]);
});

test('a batch asks once for all channels of a moment', async () => {
  const channels = {
    'private-a': { auth: 'k:a' },
    'presence-b': { auth: 'k:b', channel_data: '{"user_id":"ada"}' },
    'private-c': { error: 'Not yours', status: 403 },
  };
  await connect(
    { channelAuthorization: { endpoint: '/auth', batch: true, headers: { 'x-a': '1' } } },
    { body: { channels } },
  );
  const [c, d] = [refusals('private-c'), refusals('private-d')];
  client.subscribe('private-a');
  client.subscribe('presence-b');
  await pass(10);
  expect(requests).toHaveLength(1);
  expect(requests[0]?.headers).toEqual({ 'content-type': 'application/json', 'x-a': '1' });
  expect(JSON.parse(requests[0]?.body ?? '')).toEqual({
    socket_id: client.connection.socket_id,
    channels: ['private-c', 'private-d', 'private-a', 'presence-b'],
  });
  expect(['private-a', 'presence-b'].map((name) => client.channel(name)?.subscribed)).toEqual([true, true]);
  expect(c).toEqual([{ type: 'AuthError', error: 'Not yours', status: 403 }]);
  expect(d).toMatchObject([{ status: 403 }]);
});

test.each([
  ['404', { status: 404, body: '' }],
  ['405', { status: 405, body: '' }],
  ['an answer of another kind', { body: { auth: 'k:s' } }],
])('a batch answered by %s is asked one by one, from then on', async (_name, reply) => {
  await connect({ channelAuthorization: { batch: true } }, reply, good);
  client.subscribe('private-a');
  client.subscribe('private-b');
  await pass(10);
  client.subscribe('private-c');
  await pass(10);
  expect(requests.map(({ body }) => body.startsWith('{'))).toEqual([true, false, false, false]);
  expect(client.allChannels().map(({ subscribed }) => subscribed)).toEqual([true, true, true]);
});

test('a batch that failed for a moment is asked again', async () => {
  const channels = { 'private-a': { auth: 'k:a' } };
  await connect({ channelAuthorization: { batch: true } }, { status: 503, body: '' }, { body: { channels } });
  client.subscribe('private-a');
  await pass(2_000);
  expect(requests).toHaveLength(2);
  expect(client.channel('private-a')?.subscribed).toBe(true);
});

test('jsonp is refused with what to use instead', async () => {
  await connect({}, good);
  expect(() => new Starling('key', { host: 'a', authTransport: 'jsonp' })).toThrow('CORS');
});
