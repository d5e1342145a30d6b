import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type Options, Starling, type StarlingError } from './index.ts';
import { TestServer } from './testing.ts';

let server: TestServer;
let client: Starling;
beforeEach(() => {
  vi.useFakeTimers();
  server = new TestServer();
});
afterEach(() => {
  client.disconnect();
  vi.useRealTimers();
});

interface Claims {
  sub?: string;
  cap?: Record<string, string[]>;
  lifetimeSeconds?: number;
}

let serial = 0;
function makeToken({ sub, cap = { '*': ['subscribe', 'presence', 'publish'] }, lifetimeSeconds = 600 }: Claims = {}) {
  // An issuer whose clock is a year off.
  const iat = Math.floor(Date.now() / 1_000) + 31_536_000;
  const claims = { sub, cap, iat, exp: iat + lifetimeSeconds, jti: `é${++serial}` };
  return `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`;
}

async function connect(options: Partial<Options>): Promise<StarlingError[]> {
  const { host = '', WebSocket } = server.options();
  client = new Starling('key', { host, ...(WebSocket && { WebSocket }), ...options });
  const errors: StarlingError[] = [];
  client.connection.bind('error', (error) => errors.push(error));
  await server.settled();
  return errors;
}
const pass = async (ms: number) => {
  await vi.advanceTimersByTimeAsync(ms);
  await server.settled();
};

test('a token opens what its backend need not be asked for, as its user', async () => {
  const token = makeToken({ sub: 'ada' });
  await connect({ token });
  const room = client.subscribe('private-room');
  const people = client.subscribe('presence-room');
  await server.settled();
  expect(server.tokens).toEqual([token]);
  expect(room.subscribed).toBe(true);
  expect(people.members.me?.id).toBe('ada');
  const alerts: unknown[] = [];
  client.user.bind('alert', (text) => alerts.push(text));
  server.publishToUser('ada', 'alert', 'hello');
  await server.settled();
  expect(alerts).toEqual(['hello']);
});

test('where there is an auth endpoint too, it is asked for what the token does not open', async () => {
  const asked: string[] = [];
  await connect({
    token: makeToken({
      cap: { 'private-own-*': ['subscribe'], 'private-exact': ['subscribe'], 'private-out': ['publish'] },
    }),
    channelAuthorization: {
      customHandler: ({ channelName }, callback) => {
        asked.push(channelName);
        callback(null, { auth: 'k:s' });
      },
    },
  });
  for (const name of ['private-own-7', 'private-exact', 'private-exactly', 'private-out']) client.subscribe(name);
  await server.settled();
  expect(asked).toEqual(['private-exactly', 'private-out']);
});

test('it is renewed ahead of its end, and no channel notices', async () => {
  const provider = vi.fn(() => Promise.resolve(makeToken({ lifetimeSeconds: 600 })));
  await connect({ tokenProvider: provider });
  const channel = client.subscribe('private-room');
  await server.settled();
  const changes: string[] = [];
  client.connection.bind('state_change', ({ current }) => changes.push(current));
  channel.bind('pusher:subscription_succeeded', () => changes.push('joined'));
  await pass(539_000);
  expect(provider).toHaveBeenCalledTimes(1);
  await pass(2_000);
  expect(provider).toHaveBeenCalledTimes(2);
  await pass(540_000);
  expect(server.tokens).toHaveLength(3);
  expect(new Set(server.tokens).size).toBe(3);
  expect(changes).toEqual([]);
});

test('a provider that fails is asked again, less and less often, and says why meanwhile', async () => {
  const failure = Object.assign(new Error('Bad gateway'), { status: 502 });
  const provider = vi.fn(() => Promise.reject<string>(failure));
  const errors = await connect({ tokenProvider: provider });
  await pass(60_000);
  const count = provider.mock.calls.length;
  expect(count).toBeGreaterThan(4);
  expect(count).toBeLessThan(12);
  expect(errors[0]).toMatchObject({
    code: 'token_unavailable',
    reason: expect.stringContaining('Bad gateway'),
    cause: failure,
  });
  expect(server.connectionCount).toBe(0);
  provider.mockImplementation(() => Promise.resolve(makeToken()));
  await pass(30_000);
  expect(client.connection.state).toBe('connected');

  // The same while connected: what is open stays so.
  provider.mockImplementation(() => Promise.reject(failure));
  await pass(545_000);
  expect(errors.at(-1)).toMatchObject({ code: 'token_unavailable' });
  expect(client.connection.state).toBe('connected');
  provider.mockImplementation(() => Promise.resolve(makeToken()));
  await pass(30_000);
  expect(server.tokens).toHaveLength(2);
});

test.each([401, 403])('a provider that refuses with %i is not asked again, and its reason is told', async (status) => {
  const provider = vi.fn(() => Promise.reject(Object.assign(new Error('Locked out'), { status })));
  const errors = await connect({ tokenProvider: provider });
  await pass(300_000);
  expect(provider).toHaveBeenCalledTimes(1);
  expect(errors).toMatchObject([{ code: 'token_refused', reason: expect.stringContaining('Locked out') }]);
  expect(client.connection.state).toBe('disconnected');
});

test('a token that the server found expired is not shown again', async () => {
  const provider = vi.fn(() => makeToken());
  await connect({ tokenProvider: provider });
  server.disconnect(4200);
  await pass(2_000);
  expect(provider).toHaveBeenCalledTimes(1);
  expect(server.tokens).toHaveLength(2);
  server.disconnect(4110, 'The token has expired');
  await pass(3_000);
  expect(provider).toHaveBeenCalledTimes(2);
  expect(client.connection.state).toBe('connected');
});

test('[CK5] a token is shown no longer than it lives, though the clock is set back or the device has slept', async () => {
  const provider = vi.fn(() => makeToken({ lifetimeSeconds: 600 }));
  await connect({ tokenProvider: provider });
  client.disconnect();
  vi.setSystemTime(Date.now() - 3_600_000);
  client.connect();
  await server.settled();
  expect(provider).toHaveBeenCalledTimes(1);
  client.disconnect();
  await pass(600_000);
  client.connect();
  await server.settled();
  expect(provider).toHaveBeenCalledTimes(2);
  client.disconnect();
  // As after a sleep, through which only the wall clock went on.
  vi.setSystemTime(Date.now() + 3_600_000);
  client.connect();
  await server.settled();
  expect(provider).toHaveBeenCalledTimes(3);
  expect(client.connection.state).toBe('connected');
});

test('a provider that refuses a renewal is left alone, and the connection with it', async () => {
  const provider = vi.fn(() => Promise.resolve(makeToken()));
  const errors = await connect({ tokenProvider: provider });
  provider.mockImplementation(() => Promise.reject(Object.assign(new Error('Locked out'), { status: 403 })));
  await pass(600_000);
  expect(provider).toHaveBeenCalledTimes(2);
  expect(errors.map(({ code }) => code)).toEqual(['token_refused']);
  expect(client.connection.state).toBe('connected');
});

test.each(['a.b.c', 'opaque', 'e30.////.e30'])(
  'the token %s is shown to the server, which is to judge it',
  async (token) => {
    const errors = await connect({ token });
    expect(server.tokens).toEqual([token]);
    expect(errors).toEqual([]);
  },
);

test('a provider that gives no token has failed', async () => {
  const errors = await connect({ tokenProvider: () => '' });
  expect(errors).toMatchObject([{ code: 'token_unavailable', reason: expect.stringContaining('no token') }]);
});

test('refreshToken() takes over new rights at once', async () => {
  const tokens = [makeToken(), makeToken({ sub: 'ada' })];
  await connect({ tokenProvider: () => tokens.shift() ?? '' });
  client.refreshToken();
  await server.settled();
  expect(server.tokens).toHaveLength(2);
  expect(client.user.user_data?.id).toBe('ada');
});
