import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { isPresence, type Listeners, type Options, Starling, StarlingError } from './index.ts';
import { version } from './options.ts';
import { TestServer, type TestUser } from './testing.ts';

let server: TestServer;
const open = new Set<Starling>();
beforeEach(() => {
  vi.useFakeTimers();
  server = new TestServer();
});
afterEach(() => {
  for (const client of open) client.disconnect();
  open.clear();
  vi.useRealTimers();
});

function start(options: Partial<Options> = {}, user?: TestUser): Starling {
  const client = new Starling('key', { ...server.options(user), ...options });
  open.add(client);
  return client;
}
async function connect(options?: Partial<Options>, user?: TestUser): Promise<Starling> {
  const client = start(options, user);
  await server.settled();
  expect(client.connection.state).toBe('connected');
  return client;
}
/** What was told under this name, in order. */
function told(target: object, event: string): unknown[] {
  const all: unknown[] = [];
  (target as Listeners<Record<string, unknown>>).bind(event, (data) => all.push(structuredClone(data)));
  return all;
}
const errors = (client: Starling) => {
  const all: StarlingError[] = [];
  client.connection.bind('error', (error) => all.push(error));
  return all;
};
const states = (client: Starling) => {
  const all: string[] = [];
  client.connection.bind('state_change', ({ previous, current, reason }) => {
    expect(reason).not.toBe('');
    all.push(`${previous} > ${current}`);
  });
  return all;
};

test('the version told to servers is that of the package', () => {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  expect(version).toBe(manifest.version);
});

describe('coming back', () => {
  test('[CL10] gives up on 4000 to 4099, and says why and what to do', async () => {
    const client = await connect();
    const [changes, all] = [states(client), errors(client)];
    server.disconnect(4003, 'This app is disabled');
    await server.settled();
    await vi.advanceTimersByTimeAsync(300_000);
    expect(changes).toEqual(['connected > disconnected']);
    expect(all).toHaveLength(1);
    expect(all[0]).toMatchObject({
      code: 'app_disabled',
      number: 4003,
      reason: 'This app is disabled',
      fix: expect.stringContaining('settings'),
      // As handlers written for pusher-js look for it.
      type: 'PusherError',
      data: { code: 4003, message: 'This app is disabled' },
      error: { data: { code: 4003 } },
    });
    expect(server.connectionCount).toBe(0);
    client.connect();
    await server.settled();
    expect(client.connection.state).toBe('connected');
  });

  test('[CL10] comes back at once after 4200 to 4299, but never in a loop without a pause', async () => {
    const client = await connect();
    await vi.advanceTimersByTimeAsync(6_000);
    const pauses = told(client.connection, 'connecting_in');
    server.disconnect(4200);
    await server.settled();
    await vi.advanceTimersByTimeAsync(0);
    await server.settled();
    expect(client.connection.state).toBe('connected');
    expect(pauses).toEqual([]);
    server.disconnect(4200);
    await server.settled();
    await vi.advanceTimersByTimeAsync(400);
    expect(client.connection.state).toBe('connecting');
    await vi.advanceTimersByTimeAsync(2_000);
    await server.settled();
    expect(client.connection.state).toBe('connected');
  });

  test('[CL10] pauses after 4100 to 4199, longer each time, and says for how long', async () => {
    const client = await connect({ retryMinMs: 1_000, retryMaxMs: 8_000 });
    const pauses = told(client.connection, 'connecting_in') as number[];
    server.refuse(4100);
    server.disconnect(4100);
    for (let second = 0; second < 60; second++) {
      await server.settled();
      await vi.advanceTimersByTimeAsync(1_000);
    }
    expect(client.connection.state).toBe('unavailable');
    expect(pauses.length).toBeGreaterThan(6);
    expect(pauses.length).toBeLessThan(20);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(8);
    expect(pauses.at(-1)).toBeGreaterThanOrEqual(4);
    server.accept();
    await vi.advanceTimersByTimeAsync(8_000);
    await server.settled();
    expect(client.connection.state).toBe('connected');
  });

  test('a server that answers nothing is left for another try', async () => {
    server.silence();
    const client = start();
    const all = errors(client);
    await vi.advanceTimersByTimeAsync(15_000);
    expect(all.map(({ code }) => code)).toEqual(['handshake_failed']);
    expect(client.connection.state).toBe('unavailable');
    server.accept();
    await vi.advanceTimersByTimeAsync(1_000);
    await server.settled();
    expect(client.connection.state).toBe('connected');
  });

  test('a connection gone silent is found by a ping, and replaced', async () => {
    const client = await connect({ activityTimeout: 20_000, pongTimeout: 5_000 });
    client.subscribe('room');
    await server.settled();
    const changes = states(client);
    await vi.advanceTimersByTimeAsync(60_000);
    await server.settled();
    expect(changes).toEqual([]);
    server.silence();
    await vi.advanceTimersByTimeAsync(25_000);
    expect(changes).toEqual(['connected > connecting']);
    server.accept();
    await vi.advanceTimersByTimeAsync(20_000);
    await server.settled();
    expect(changes).toEqual(['connected > connecting', 'connecting > connected']);
    expect(client.channel('room')?.subscribed).toBe(true);
  });

  test.each([-3_600_000, 3_600_000])(
    '[CK5] silence is measured right though the clock is set by %i ms',
    async (byMs) => {
      const client = await connect({ activityTimeout: 20_000, pongTimeout: 5_000 });
      const changes = states(client);
      vi.setSystemTime(Date.now() + byMs);
      await vi.advanceTimersByTimeAsync(60_000);
      await server.settled();
      expect(changes).toEqual([]);
      vi.setSystemTime(Date.now() + byMs);
      server.silence();
      await vi.advanceTimersByTimeAsync(25_000);
      expect(changes).toEqual(['connected > connecting']);
    },
  );

  test('disconnect() ends everything, whenever it is called', async () => {
    const client = await connect();
    client.connection.bind('error', () => client.disconnect());
    server.disconnect(1006);
    await server.settled();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(client.connection.state).toBe('disconnected');
    expect(vi.getTimerCount()).toBe(0);
    const early = start();
    early.disconnect();
    await server.settled();
    expect(early.connection.state).toBe('disconnected');
    expect(server.connectionCount).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('[HS9] a server that wants TLS gets it', () => {
    const urls: string[] = [];
    class Socket {
      onmessage: ((event: { data: string }) => void) | null = null;
      constructor(url: string) {
        urls.push(url);
        queueMicrotask(() =>
          this.onmessage?.({ data: '{"event":"pusher:error","data":{"code":4000,"message":"TLS"}}' }),
        );
      }
      send(): void {}
      close(): void {}
    }
    const client = start({ WebSocket: Socket, host: 'http://realtime.test' });
    return vi.waitFor(() => {
      vi.advanceTimersByTime(0);
      expect(urls.map((url) => url.split('?')[0])).toEqual([
        'ws://realtime.test:80/app/key',
        'wss://realtime.test:443/app/key',
      ]);
      expect(client.connection.state).toBe('disconnected');
    });
  });

  test.each([
    ['http://realtime.test:6001/', 'ws://realtime.test:6001/app/key'],
    ['http://realtime.test:6001', 'ws://realtime.test:6001/app/key'],
    ['https://realtime.test/rt/', 'wss://realtime.test:443/rt/app/key'],
    ['https://realtime.test/a/b//', 'wss://realtime.test:443/a/b/app/key'],
  ])('a host is taken as an address bar shows it: %s', (host, expected) => {
    const urls: string[] = [];
    class Socket {
      constructor(url: string) {
        urls.push(url);
      }
      send(): void {}
      close(): void {}
    }
    start({ WebSocket: Socket, host });
    expect(urls.map((url) => url.split('?')[0])).toEqual([expected]);
  });

  test('where there is no WebSocket the state is failed', () => {
    const client = start({ enabledTransports: ['xhr_polling'], autoConnect: false });
    const all = errors(client);
    client.connect();
    expect(client.connection.state).toBe('failed');
    expect(all[0]).toMatchObject({ code: 'websocket_missing', fix: expect.stringContaining('ws') });
  });
});

describe('channels', () => {
  test('[SU7] one unsubscribed while pending is left, and one subscribed again stays', async () => {
    const client = await connect();
    client.subscribe('private-left');
    client.unsubscribe('private-left');
    client.subscribe('private-kept');
    client.unsubscribe('private-kept');
    client.subscribe('private-kept');
    await server.settled();
    expect(server.subscriberCount('private-left')).toBe(0);
    expect(client.channel('private-left')).toBeUndefined();
    expect(server.subscriberCount('private-kept')).toBe(1);
    expect(client.allChannels().map(({ name }) => name)).toEqual(['private-kept']);
  });

  test('all are joined again after a reconnect, but what was left meanwhile', async () => {
    const client = await connect();
    for (const name of ['a', 'private-b', 'presence-c']) client.subscribe(name);
    await server.settled();
    server.disconnect();
    await server.settled();
    expect(client.allChannels().some(({ subscribed }) => subscribed)).toBe(false);
    client.unsubscribe('a');
    await vi.advanceTimersByTimeAsync(1_000);
    await server.settled();
    expect(['a', 'private-b', 'presence-c'].map((name) => server.subscriberCount(name))).toEqual([0, 1, 1]);
  });

  test('[SU5] a refused channel says why, and may be tried again', async () => {
    const client = await connect();
    server.refuseChannel('private-room', 'Not yours', 403);
    const channel = client.subscribe('private-room');
    const refusals = told(channel, 'pusher:subscription_error');
    await server.settled();
    expect(refusals).toEqual([{ type: 'AuthError', error: 'Not yours', status: 403 }]);
    expect(channel.subscriptionPending).toBe(false);
    server.accept();
    client.subscribe('private-room');
    await server.settled();
    expect(channel.subscribed).toBe(true);
  });

  test('an answer signed for a connection that has gone is not used', async () => {
    const waiting: Array<(error: Error | null, answer: { auth: string } | null) => void> = [];
    const client = await connect({
      channelAuthorization: { customHandler: (_params, callback) => void waiting.push(callback) },
    });
    const channel = client.subscribe('private-room');
    await server.settled();
    server.disconnect();
    await server.settled();
    await vi.advanceTimersByTimeAsync(1_000);
    await server.settled();
    expect(waiting).toHaveLength(2);
    waiting[0]?.(null, { auth: 'old:old' });
    await server.settled();
    expect(channel.subscribed).toBe(false);
    waiting[1]?.(null, { auth: 'new:new' });
    await server.settled();
    expect(channel.subscribed).toBe(true);
  });

  test('[PR8] presence is what the server says, through comings, goings and a reconnect', async () => {
    const ada = await connect({}, { id: 'ada', info: { name: 'Ada' } });
    const channel = ada.subscribe('presence-room');
    if (!isPresence(channel)) throw new Error('presence- makes a presence channel');
    await server.settled();
    expect(channel.members.me).toEqual({ id: 'ada', info: { name: 'Ada' } });
    const bob = await connect({}, { id: 'bob' });
    bob.subscribe('presence-room');
    server.join('presence-room', { id: '__proto__', info: { odd: true } });
    await server.settled();
    const ids = () => {
      const found: string[] = [];
      channel.members.each(({ id }) => found.push(id));
      return found.sort();
    };
    expect(ids()).toEqual(['__proto__', 'ada', 'bob']);
    expect(channel.members.count).toBe(3);
    expect(channel.members.get('__proto__')).toEqual({ id: '__proto__', info: { odd: true } });
    expect(channel.members.get('toString')).toBeNull();
    bob.disconnect();
    server.leave('presence-room', '__proto__');
    await server.settled();
    expect(ids()).toEqual(['ada']);
    server.disconnect();
    await server.settled();
    expect([channel.members.count, channel.members.me]).toEqual([0, null]);
    server.join('presence-room', { id: 'eve' });
    await vi.advanceTimersByTimeAsync(1_000);
    await server.settled();
    expect(ids()).toEqual(['ada', 'eve']);
  });

  test('names that cannot be channels are refused at once', async () => {
    const client = await connect();
    expect(() => client.subscribe('#server-to-user-ada')).toThrow(TypeError);
    expect(() => client.subscribe('private-encrypted-room')).toThrow('nacl');
    expect(() => client.subscribe('room').trigger('typing', {})).toThrow('client-');
  });

  test('one listener that throws keeps nothing from the others', async () => {
    const client = await connect();
    const channel = client.subscribe('room');
    channel.bind('order', () => {
      throw new Error('a listener’s own');
    });
    const orders = told(channel, 'order');
    const globals = told(client, 'order');
    await server.settled();
    server.publish('room', 'order', { id: 7 });
    server.publish('room', 'order', null);
    await server.settled();
    expect([orders, globals]).toEqual([
      [{ id: 7 }, null],
      [{ id: 7 }, null],
    ]);
    expect(() => vi.runOnlyPendingTimers()).toThrow('a listener’s own');
    vi.clearAllTimers();
  });

  test('unbind takes away by name, by callback and by context', async () => {
    const client = await connect();
    const channel = client.subscribe('room');
    const calls: string[] = [];
    const [a, b] = [{ name: 'a' }, { name: 'b' }];
    function listener(this: unknown) {
      calls.push((this as typeof a).name);
    }
    channel.bind('order', listener, a).bind('order', listener, b).bind('other', listener, b);
    channel.unbind('order', listener, a);
    channel.emit('order').emit('other');
    channel.unbind(null, null, b);
    channel.emit('order').emit('other');
    expect(calls).toEqual(['b', 'b']);
  });
});

describe('users', () => {
  test('[US1] a sign-in is repeated on each connection, and reaches the user’s channel', async () => {
    const client = await connect({}, { id: 'ada' });
    client.signin();
    const alerts = told(client.user, 'alert');
    for (let round = 1; round <= 2; round++) {
      await client.user.signinDonePromise;
      await server.settled();
      expect(client.user.user_data?.id).toBe('ada');
      server.publishToUser('ada', 'alert', { round });
      await server.settled();
      server.disconnect();
      await server.settled();
      expect(client.user.user_data).toBeNull();
      await vi.advanceTimersByTimeAsync(2_000);
      await server.settled();
    }
    expect(alerts).toEqual([{ round: 1 }, { round: 2 }]);
  });

  test('[PR6] a presence channel without channel_data waits for the sign-in', async () => {
    const options = {
      channelAuthorization: {
        customHandler: (_: unknown, done: (e: null, a: { auth: string }) => void) => done(null, { auth: 'k:s' }),
      },
    };
    const client = await connect(options, { id: 'ada' });
    client.signin();
    const channel = client.subscribe('presence-room');
    await server.settled();
    expect(isPresence(channel) && channel.members.me?.id).toBe('ada');
    const stranger = await connect(options);
    const refusals = told(stranger.subscribe('presence-room'), 'pusher:subscription_error');
    await server.settled();
    expect(refusals).toEqual([{ type: 'AuthError', error: expect.stringContaining('channel_data') }]);
  });
});

describe('publishing', () => {
  test('resolves when the server has published it, also to this connection unless it excludes itself', async () => {
    const client = await connect();
    const orders = told(client.subscribe('room'), 'order');
    await server.settled();
    await client.publish('room', 'order', { id: 1 });
    await client.publish(['room', 'hall'], 'order', 'two', { excludeSelf: true });
    await server.settled();
    expect(orders).toEqual([{ id: 1 }]);
    expect(server.published).toEqual([
      { channels: ['room'], event: 'order', data: { id: 1 } },
      { channels: ['room', 'hall'], event: 'order', data: 'two' },
    ]);
  });

  test('is refused by the server with its code, and at once without a connection', async () => {
    const client = await connect();
    server.refusePublish('capability_missing', 'publish on room');
    await expect(client.publish('room', 'order', 1)).rejects.toMatchObject({
      code: 'capability_missing',
      reason: 'publish on room',
    });
    client.disconnect();
    await expect(client.publish('room', 'order', 1)).rejects.toMatchObject({ code: 'not_connected' });
    await expect(client.publish('room', 'order', 1)).rejects.toBeInstanceOf(StarlingError);
    expect(server.published).toEqual([]);
  });

  test('without an answer nobody claims to know', async () => {
    const client = await connect();
    server.silence();
    const unanswered = expect(client.publish('room', 'order', 1)).rejects.toMatchObject({ code: 'publish_unknown' });
    await vi.advanceTimersByTimeAsync(20_000);
    await unanswered;
    const cut = expect(client.publish('room', 'order', 2)).rejects.toMatchObject({ code: 'publish_unknown' });
    server.disconnect(1006);
    await server.settled();
    await cut;
  });
});
