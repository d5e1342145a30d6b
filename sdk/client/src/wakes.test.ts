/** What a page tells of the network and of itself, told by hand. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Options, Starling } from './index.ts';
import { TestServer } from './testing.ts';

/** Counts who listens, so that nobody stays behind. */
class Source extends EventTarget {
  listenerCount = 0;
  override addEventListener(...given: Parameters<EventTarget['addEventListener']>): void {
    this.listenerCount++;
    super.addEventListener(...given);
  }
  override removeEventListener(...given: Parameters<EventTarget['removeEventListener']>): void {
    this.listenerCount--;
    super.removeEventListener(...given);
  }
}

let page: Source;
let document: Source & { visibilityState: string };
let server: TestServer;
let client: Starling;
beforeEach(() => {
  vi.useFakeTimers();
  server = new TestServer();
  page = new Source();
  document = Object.assign(new Source(), { visibilityState: 'visible' });
  vi.stubGlobal('document', document);
  vi.stubGlobal('addEventListener', page.addEventListener.bind(page));
  vi.stubGlobal('removeEventListener', page.removeEventListener.bind(page));
});
afterEach(() => {
  client.disconnect();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

async function connect(options: Partial<Options> = {}): Promise<string[]> {
  client = new Starling('key', { ...server.options(), ...options });
  client.subscribe('room');
  await server.settled();
  const changes: string[] = [];
  client.connection.bind('state_change', ({ current }) => changes.push(current));
  return changes;
}
/** Until everything that is due after this time has been said and heard. */
async function pass(ms: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
  await server.settled();
}
const tell = (source: EventTarget, type: string, more: object = {}) =>
  source.dispatchEvent(Object.assign(new Event(type), more));
const see = (visibilityState: 'visible' | 'hidden') => {
  document.visibilityState = visibilityState;
  tell(document, 'visibilitychange');
};
const isJoined = () => client.connection.state === 'connected' && client.channel('room')?.subscribed === true;
/** Into a pause of at least half an hour. */
async function loseConnection(): Promise<void> {
  server.refuse(4100);
  server.disconnect(4100);
  await pass(5);
  server.accept();
  expect(client.connection.state).toBe('connecting');
}
const slow = { retryMinMs: 3_600_000, retryMaxMs: 3_600_000 };

describe('while waiting for the next try', () => {
  test('a network that is back is tried at once', async () => {
    await connect(slow);
    await loseConnection();
    tell(page, 'online');
    await pass(0);
    expect(isJoined()).toBe(true);
  });

  test('a page that is seen again tries at once, and one that is hidden does not', async () => {
    await connect(slow);
    await loseConnection();
    see('hidden');
    await pass(1_000);
    expect(client.connection.state).toBe('connecting');
    see('visible');
    await pass(0);
    expect(isJoined()).toBe(true);
  });
});

test('a try that hangs is begun anew by a new network, and left alone by a look', async () => {
  server.silence();
  await connect({ handshakeTimeoutMs: 3_600_000 });
  server.accept();
  see('visible');
  await pass(1_000);
  expect(client.connection.state).toBe('connecting');
  tell(page, 'online');
  await pass(0);
  expect(isJoined()).toBe(true);
});

describe('while connected', () => {
  test.each([
    ['a network that is back', () => tell(page, 'online'), 5_000],
    ['a page that is seen again', () => see('visible'), 5_000],
    // It may be another network that has gone: no haste.
    ['a network that has gone', () => tell(page, 'offline'), 20_000],
  ])('%s asks whether the connection is alive', async (_what, wake, limitMs) => {
    const changes = await connect({ activityTimeout: 3_600_000, pongTimeout: 20_000 });
    const pongs: string[] = [];
    client.connection.bind('pong', () => pongs.push('pong'));
    wake();
    await pass(30_000);
    expect(pongs).toEqual(['pong']);
    expect(changes).toEqual([]);

    server.silence();
    wake();
    await pass(limitMs - 1);
    expect(changes).toEqual([]);
    await pass(1);
    expect(changes).toEqual(['connecting']);
    server.accept();
    await pass(60_000);
    expect(isJoined()).toBe(true);
  });
});

describe('a page that is frozen', () => {
  test.each([
    ['frozen and resumed', () => tell(document, 'freeze'), () => tell(document, 'resume')],
    [
      'kept and shown again',
      () => tell(page, 'pagehide', { persisted: true }),
      () => tell(page, 'pageshow', { persisted: true }),
    ],
  ])('leaves, tries nothing, and is back as soon as it runs: %s', async (_what, freeze, resume) => {
    const changes = await connect();
    freeze();
    await pass(0);
    expect(server.connectionCount).toBe(0);
    expect(changes).toEqual(['connecting']);
    await pass(3_600_000);
    expect(server.connectionCount).toBe(0);
    resume();
    await pass(0);
    expect(isJoined()).toBe(true);
    expect(server.connectionCount).toBe(1);
  });

  test('one that goes for good, or comes for the first time, changes nothing', async () => {
    const changes = await connect();
    tell(page, 'pagehide', { persisted: false });
    tell(page, 'pageshow', { persisted: false });
    await pass(0);
    expect(changes).toEqual([]);
    expect(server.connectionCount).toBe(1);
  });
});

test('who has disconnected hears nothing of it any more', async () => {
  await connect();
  expect(page.listenerCount + document.listenerCount).toBe(7);
  client.disconnect();
  expect(page.listenerCount + document.listenerCount).toBe(0);
  for (const wake of [() => tell(page, 'online'), () => see('visible'), () => tell(document, 'resume')]) wake();
  await pass(60_000);
  expect(client.connection.state).toBe('disconnected');
  client.connect();
  await pass(0);
  expect(page.listenerCount + document.listenerCount).toBe(7);
});
