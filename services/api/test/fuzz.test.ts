/**
 * The HTTP API, asked by chance: requests as every SDK writes them, which are always answered and carried out, and
 * the same with wounds, which are answered from the table and, where refused, carried out not at all.
 */
import { FakeClock, MemoryBroker } from '@starling/adapters/memory';
import { type App, type BrokerMessage, channelOfTopic, type PublishOptions, type Topic } from '@starling/ports';
import { problems, StarlingError } from '@starling/protocol';
import { expect, test } from 'vitest';
import { fuzzInTurn, type Given, type Random, seedsOf } from '../../../infra/testing/random.ts';
import { type Answer, app3, key, secret, sign, startApi } from './started-api.ts';

/** Eight seconds or so. */
const rounds = 4_000;

/** Seeds that once failed, with what broke. They run first. */
const failingSeeds: readonly number[] = [];

const pathPrefix = '/realtime';
/** Small enough to be met. */
const narrowApp: App = {
  ...app3,
  id: '4',
  keys: [{ key: 'narrow-key', secret: 'narrow-secret', isEnabled: true }],
  limits: { ...app3.limits, publishesPerSecond: 5 },
};
const channels = [
  'room',
  'a=b@c,d.e;f',
  'private-a',
  'private-encrypted-a',
  'presence-a',
  'cache-a',
  'presence-cache-a',
];

interface Request {
  readonly method: string;
  readonly target: string;
  readonly body: Buffer;
  readonly headers: Readonly<Record<string, string>>;
}

interface Sent {
  readonly channel: string | undefined;
  readonly event: unknown;
  readonly data: unknown;
  readonly except: string | undefined;
}

/** What a good request asks for. */
interface Wish {
  readonly method: string;
  /** Below `/apps/ID`, each part as it is meant. */
  readonly path: readonly string[];
  readonly query: ReadonlyArray<readonly [string, string]>;
  readonly body: string;
  /** What it publishes, in its order; nothing for one that only asks. */
  readonly sent: readonly Sent[];
  readonly status: number;
  judge(answer: unknown): void;
}

/** Keeps what was published, and fails when told to. */
class RecordingBroker extends MemoryBroker {
  readonly sent: Sent[] = [];
  failure: Error | null = null;

  override async publish(topic: Topic, message: BrokerMessage, options?: PublishOptions): Promise<number | undefined> {
    if (this.failure !== null) throw this.failure;
    const channel = channelOfTopic(topic);
    const frame = message.kind === 'terminate' ? {} : JSON.parse(Buffer.from(message.payload).toString());
    if (message.kind !== 'terminate') must(frame.channel === channel, `${channel} gets a frame of ${frame.channel}`);
    this.sent.push({ channel, event: frame.event, data: frame.data, except: message.except });
    return super.publish(topic, message, options);
  }
}

function must(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(what);
}

function mustEqual(actual: unknown, expected: unknown, what: string): void {
  const [left, right] = [JSON.stringify(actual), JSON.stringify(expected)];
  must(left === right, `${what}: expected ${right}, got ${left}`);
}

/** What can be written in UTF-8 and read again. */
function wellFormed(text: string): string {
  return Buffer.from(text).toString();
}

// ── Good requests ────────────────────────────────────────────────────────────────────────────────────────────────

function eventOf(random: Random): { name: string; data: string; socket_id?: string } {
  const name = random.text().slice(0, 200);
  const data = random.chance(0.5) ? random.json() : random.text();
  return {
    name: name === '' || name.startsWith('pusher') ? 'my-event' : name,
    data: Buffer.byteLength(data) > app3.limits.eventDataBytes ? '' : data,
    ...(random.chance(0.3) ? { socket_id: `${random.below(1e9)}.${random.below(1e9)}` } : {}),
  };
}

/** The fields as JSON in any order, with others that mean nothing, some escaped that need not be. */
function bodyOf(random: Random, fields: object): string {
  const json = (value: unknown) => (typeof value === 'string' ? random.jsonText(value) : JSON.stringify(value));
  const entries = Object.entries({ ...fields, ...(random.chance(0.2) ? { unknown: random.text() } : {}) });
  const members = random.shuffle(entries).map(([name, value]) => `${random.jsonText(name)}:${json(value)}`);
  return `{${members.join(random.pick([',', ' , ']))}}`;
}

const ask = { body: '', sent: [], status: 200 };
const emptyObject = (answer: unknown) => mustEqual(answer, {}, 'the answer');

const wishes: ReadonlyArray<(random: Random) => Wish> = [
  function trigger(random) {
    const event = eventOf(random);
    const names = Array.from({ length: random.between(1, 8) }, () => random.pick(channels));
    const withInfo = random.chance(0.2);
    const where = names.length === 1 && random.chance(0.5) ? { channel: names[0] } : { channels: names };
    const distinct = [...new Set(names)];
    return {
      method: 'POST',
      path: ['events'],
      query: [],
      body: bodyOf(random, { ...event, ...where, ...(withInfo ? { info: 'user_count,subscription_count' } : {}) }),
      sent: distinct.map((channel) => ({ channel, event: event.name, data: event.data, except: event.socket_id })),
      status: 200,
      judge: (answer) => {
        if (!withInfo) emptyObject(answer);
        else mustEqual(Object.keys((answer as { channels: object }).channels), distinct, 'channels of the answer');
      },
    };
  },
  function triggerBatch(random) {
    const batch = random.list(10, () => ({ ...eventOf(random), channel: random.pick(channels) }));
    return {
      method: 'POST',
      path: ['batch_events'],
      query: [],
      body: JSON.stringify({ batch }),
      sent: batch.map(({ channel, name, data, socket_id }) => ({ channel, event: name, data, except: socket_id })),
      status: 200,
      judge: emptyObject,
    };
  },
  function triggerOnChannel(random) {
    const { name, data } = eventOf(random);
    const event = wellFormed(name);
    const channel = random.pick(channels);
    const body = wellFormed(data);
    return {
      method: 'POST',
      path: ['channels', channel, 'events'],
      query: [['name', event]],
      body,
      sent: [{ channel, event, data: body, except: undefined }],
      status: 202,
      judge: emptyObject,
    };
  },
  function terminate(random) {
    const user = wellFormed(random.text().slice(0, 128));
    return {
      ...ask,
      method: 'POST',
      path: ['users', user === '' ? 'u' : user, 'terminate_connections'],
      query: [],
      sent: [{ channel: undefined, event: undefined, data: undefined, except: undefined }],
      judge: emptyObject,
    };
  },
  function list(random) {
    const prefix = random.chance(0.5)
      ? wellFormed(random.text().slice(0, 200))
      : random.pick(channels).slice(0, random.below(12));
    return {
      ...ask,
      method: 'GET',
      path: ['channels'],
      query: [['filter_by_prefix', prefix]],
      judge: (answer) => {
        const expected = channels.filter((name) => name.startsWith(prefix)).sort();
        mustEqual(Object.keys((answer as { channels: object }).channels).sort(), expected, 'channels');
      },
    };
  },
  function look(random) {
    return {
      ...ask,
      method: 'GET',
      path: ['channels', random.pick(channels)],
      query: random.chance(0.5) ? [['info', 'subscription_count']] : [],
      judge: (answer) => must((answer as { occupied: boolean }).occupied, 'the channel is occupied'),
    };
  },
  () => ({
    ...ask,
    method: 'GET',
    path: ['channels', 'presence-a', 'users'],
    query: [],
    judge: (answer) => mustEqual(answer, { users: [{ id: 'u1' }] }, 'users'),
  }),
];

// ── How SDKs write them ──────────────────────────────────────────────────────────────────────────────────────────

const isRawSafe = (text: string) => /^[A-Za-z0-9_\-=@,.;:/?!*'()]*$/.test(text);
const asForm = (text: string) => encodeURIComponent(text).replaceAll('%20', '+');

/** Signs and writes the wish; `app` decides with which key. */
function write(random: Random, app: App, wish: Wish, timestamp: number): Request {
  const isRaw = random.chance(0.3) && wish.query.every(([, value]) => isRawSafe(value));
  const dialect = isRaw ? 'raw' : random.pick(['percent', 'form', 'signed as encoded']);
  const query = wish.query.map(
    ([name, value]) => [name, dialect === 'signed as encoded' ? encodeURIComponent(value) : value] as const,
  );
  const encode = dialect === 'percent' ? encodeURIComponent : dialect === 'form' ? asForm : (value: string) => value;

  const raw = ['', 'apps', app.id, ...wish.path].join('/');
  const escaped = ['', 'apps', app.id, ...wish.path.map(encodeURIComponent)].join('/');
  const path = wish.path.every(isRawPart) && random.chance(0.5) ? raw : escaped;
  const sentPrefix = random.pick(['', pathPrefix]);
  const signedPath = random.pick(['', pathPrefix]) + random.pick([path, raw]);

  const [{ key: appKey = '', secret: appSecret = '' } = {}] = app.keys;
  const body = Buffer.from(wish.body);
  const target = sign({
    method: wish.method,
    path: sentPrefix + path,
    signedPath,
    query: random.chance(0.1) ? [...query, ['extra', '1']] : query,
    body,
    timestamp: timestamp + random.between(-600, 600),
    key: appKey,
    secret: appSecret,
    encode,
  });
  const type = random.pick([{}, { 'content-type': 'application/json' }, { 'content-type': 'text/none; x' }]);
  return { method: wish.method, target, body, headers: type };
}

const isRawPart = (part: string) => /^[A-Za-z0-9_\-=@,.;]+$/.test(part) && part !== '.' && part !== '..';

// ── Wounds ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** What Node's client agrees to put on a request line, and no more than it can hold. */
const sendable = (target: string) => `/${target.replaceAll(/[^\u0021-\u00ff]/g, '').slice(1, 6_000)}`;

const wounds: Record<string, (random: Random, request: Request, app: App, wish: Wish, timestamp: number) => Request> = {
  'target mutated': (random, request) => ({ ...request, target: sendable(random.mutate(request.target)) }),
  'body mutated behind the signature': (random, request) => ({
    ...request,
    body: Buffer.from(random.mutate(request.body.toString())),
  }),
  'body of bytes behind the signature': (random, request) => ({ ...request, body: Buffer.from(random.bytes(60)) }),
  'another method': (random, request) => ({
    ...request,
    method: random.pick(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD']),
  }),
  'wrong secret': (random, _request, app, wish, timestamp) =>
    write(random, { ...app, keys: [{ key, secret: `${secret}x`, isEnabled: true }] }, wish, timestamp),
  'another app': (random, _request, app, wish, timestamp) =>
    write(random, { ...app, id: random.pick(['3', '4', '5', '']) }, wish, timestamp),
  'time far away': (random, _request, app, wish, timestamp) =>
    write(random, app, wish, timestamp + random.pick([-1, 1]) * random.between(1_201, 1e9)),
  'query of nonsense, signed': (random, _request, app, wish, timestamp) =>
    write(
      random,
      app,
      {
        ...wish,
        query: [['info', wellFormed(random.text())], ...wish.query, ['name', wellFormed(random.text())]],
      },
      timestamp,
    ),
  'path of nonsense, signed': (random, _request, app, wish, timestamp) => {
    const path = [...wish.path.slice(0, random.below(4)), wellFormed(random.text()), ...wish.path.slice(2)];
    return write(random, app, { ...wish, path }, timestamp);
  },
  'data too large, signed': (random, _request, app, _wish, timestamp) => {
    const data = random.pick(['x', 'é', '漢']).repeat(app.limits.eventDataBytes);
    const body = JSON.stringify({ name: 'e', channel: random.pick(channels), data: `${data}.${random.text()}` });
    return write(
      random,
      app,
      { ...ask, method: 'POST', path: ['events'], query: [], body, judge: () => {} },
      timestamp,
    );
  },
  'body mutated, signed': (random, _request, app, wish, timestamp) =>
    write(random, app, { ...wish, body: random.mutate(wish.body) }, timestamp),
  'body of other JSON, signed': (random, _request, app, wish, timestamp) =>
    write(random, app, { ...wish, body: random.json() }, timestamp),
};

/** Those that no request survives. */
const fatalWounds = ['wrong secret', 'time far away', 'data too large, signed'];

// ── The test ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** A success, or a row of the table. */
function mustBeOfTheTable({ status, json }: Answer, isHead: boolean): void {
  if (isHead && json === null) return;
  must(typeof json === 'object' && json !== null && !Array.isArray(json), 'an answer that is no object');
  if (status === 200 || status === 202) return;
  const { error, code } = json as { error: unknown; code: string };
  must(typeof error === 'string' && error !== '', `${status} without a text`);
  must(Object.hasOwn(problems, code), `${code} is no row of the table`);
  mustEqual(status, problems[code as keyof typeof problems].status, `the status of ${code}`);
}

test('[RE1] [RE3] [RE6] [RE8] [SG6] carries out every good request, and of a refused one nothing', async () => {
  const broker = new RecordingBroker(new FakeClock());
  const api = await startApi({ apps: [app3, narrowApp], pathPrefix, broker: () => broker });
  for (const channel of channels) {
    for (const appId of ['3', '4']) {
      await api.presenceStore.join({
        topic: `${appId}:${channel}` as Topic,
        socketId: '1.1',
        member: { userId: 'u1', userInfo: 'null' },
      });
    }
  }
  const outcomes = new Map<string, number>();

  const ask = async (random: Random, given: Given): Promise<void> => {
    api.clock.advance(random.below(300));
    broker.sent.length = 0;
    api.problems.length = 0;
    const app = random.chance(0.9) ? app3 : narrowApp;
    const wish = random.pick(wishes)(random);
    const good = write(random, app, wish, api.nowSeconds());
    const wound = random.chance(0.5) ? random.pick(Object.keys(wounds)) : 'none';
    const request = wounds[wound]?.(random, good, app, wish, api.nowSeconds()) ?? good;
    const isDown = random.chance(0.05);
    broker.failure = isDown
      ? random.pick([new StarlingError('unavailable', 'the broker is down'), new Error('a defect')])
      : null;
    const { method, target, body, headers } = given({ wound, isDown, ...request, body: request.body.toString() });

    const answer = await api.send(method, target, request.body, headers);
    given({ wound, isDown, method, target, body, answer: `${answer.status} ${answer.text.slice(0, 500)}` });
    mustBeOfTheTable(answer, method === 'HEAD');
    const isDone = answer.status === 200 || answer.status === 202;
    if (!isDone) mustEqual(broker.sent, [], 'published by a refused request');
    must(isDown || (answer.status < 500 && api.problems.length === 0), `a failure: ${JSON.stringify(api.problems)}`);
    // The body of a GET is not read.
    const isForged = wound.endsWith('behind the signature') && method === 'POST' && !request.body.equals(good.body);
    must(!isDone || !(isForged || fatalWounds.includes(wound)), 'it was carried out');
    must(isDone || method === 'HEAD' || !answer.text.includes(secret), 'the secret is told');
    if (wound === 'none' && !(isDown && wish.sent.length > 0) && !(app === narrowApp && answer.status === 429)) {
      mustEqual(answer.status, wish.status, 'the status');
      wish.judge(answer.json);
      mustEqual(broker.sent, wish.sent, 'published');
    }
    const { limit } = (answer.json ?? {}) as { limit?: { reset: number | null } };
    if ((answer.status === 429 && limit?.reset !== null) || answer.status === 503)
      must(answer.headers['retry-after'] !== undefined, 'no Retry-After');
    outcomes.set(`${wound}: ${answer.status}`, (outcomes.get(`${wound}: ${answer.status}`) ?? 0) + 1);
  };

  await fuzzInTurn(seedsOf(failingSeeds, rounds), ask);
  // Wounds that never got past the signature would prove little of what comes after it.
  for (const outcome of [
    'none: 200',
    'none: 429',
    'none: 503',
    'body mutated, signed: 400',
    'path of nonsense, signed: 400',
  ]) {
    expect(outcomes.get(outcome) ?? 0, `${outcome} in ${JSON.stringify([...outcomes])}`).toBeGreaterThan(0);
  }
});
