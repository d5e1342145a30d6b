/** The language, given what nobody would say. Every round is made from a seed that a failure names. */
import { expect, it } from 'vitest';
import { fuzz, type Random, seedsOf } from '../../../infra/testing/random.ts';
import {
  type Checked,
  decodeCommand,
  encodeCacheMiss,
  encodeConnectionEstablished,
  encodeError,
  encodeEvent,
  encodeMemberAdded,
  encodeMemberRemoved,
  encodeSigninSuccess,
  encodeSubscriptionCount,
  encodeSubscriptionError,
  encodeSubscriptionSucceeded,
  encodeWatchlistEvents,
  isSocketId,
  limits,
  type Member,
  parseChannelName,
  parseEventName,
  parseMember,
  parseUser,
  parseUserId,
  problems,
  quote,
  requestSignatureText,
  splitAuth,
  utf8Length,
} from './index.ts';

/** About five seconds for all. STARLING_FUZZ_FACTOR makes it a night. */
const rounds = 3_000;

/** Seeds that once failed, with what broke. They run first. */
const failingSeeds: readonly number[] = [];

const seeds = (): Iterable<number> => seedsOf(failingSeeds, rounds);

// ── What must hold, whatever comes in. Plain throws: an expect for each would take most of the time. ──────────────

function must(isTrue: boolean, what: string): asserts isTrue {
  if (!isTrue) throw new Error(what);
}

function mustBe(actual: unknown, expected: unknown, what: string): void {
  if (!Object.is(actual, expected)) throw new Error(`${what}: expected ${String(expected)}, got ${String(actual)}`);
}

/** A value, or a refusal that has a row and a text that is short enough for a frame and safe in it. */
function outcomeOf<T>(checked: Checked<T>): T | null {
  if (checked.ok) return checked.value;
  const { code, message } = checked.refusal;
  must(Object.hasOwn(problems, code), `no row for ${code}`);
  must(message.length > 0 && message.length < 600, `a text of ${message.length} characters`);
  must(isWellFormed(message), 'a text that is not well-formed');
  readFrame(encodeError(problems[code].number, message));
  return null;
}

function isWellFormed(text: string): boolean {
  return Buffer.from(text).toString() === text;
}

/** The frame as a client reads it. Every frame is UTF-8 and JSON. */
function readFrame(frame: string): Record<string, unknown> {
  must(isWellFormed(frame), 'a frame that is not UTF-8');
  return JSON.parse(frame);
}

/** The data of a frame that the server originates. */
function readData(frame: string): Record<string, unknown> {
  const { data } = readFrame(frame);
  must(typeof data === 'string', 'data is not a string');
  return JSON.parse(data);
}

function mustHaveKeys(value: object, ...keys: string[]): void {
  mustBe(Object.keys(value).join(), keys.join(), 'the keys of what was encoded');
}

// ── What comes in. ───────────────────────────────────────────────────────────────────────────────────────────────

const channelName = (random: Random): string =>
  random.pick(['', 'private-', 'presence-', 'cache-', 'private-cache-', 'private-encrypted-', '#server-to-user-']) +
  (random.chance(0.8) ? random.word() : random.text());

const userId = (random: Random): string => (random.chance(0.5) ? random.word() : random.text());

const userIdJson = (random: Random): string =>
  random.chance(0.7)
    ? random.jsonText(userId(random))
    : random.pick(['10', '-0', '1e3', '1.5', '9007199254740993', 'null', '[]']);

const channelData = (random: Random): string =>
  random.jsonObject([
    ['user_id', userIdJson(random)],
    ['user_info', random.chance(0.7) ? random.jsonObject([[random.text(), random.json(3)]]) : random.json()],
  ]);

const userData = (random: Random): string => {
  const watchlist = random.list(6, () => random.jsonText(userId(random)));
  return random.jsonObject([
    ['id', random.chance(0.8) ? random.jsonText(userId(random)) : random.json(1)],
    ['user_info', random.chance(0.7) ? random.jsonObject([[random.text(), random.json(2)]]) : random.json(2)],
    ['watchlist', random.chance(0.8) ? `[${watchlist}]` : random.json(2)],
  ]);
};

/** Usually as it should be; sometimes wounded, sometimes nothing like it. */
const spoiled = (random: Random, good: string): string => {
  if (random.chance(0.55)) return good;
  if (random.chance(0.8)) return random.mutate(good);
  if (random.chance(0.5)) return random.json();
  return random.chance(0.5)
    ? random.text()
    : Buffer.from(random.bytes(200)).toString(random.chance(0.5) ? 'utf8' : 'latin1');
};

const auth = (random: Random): string => (random.chance(0.6) ? `${random.word()}:${random.word()}` : random.text());

function clientFrame(random: Random): string {
  const event = random.pick([
    'pusher:subscribe',
    'pusher:unsubscribe',
    'pusher:signin',
    'pusher:ping',
    'client-',
    'other',
  ]);
  if (event === 'client-' || event === 'other') {
    return random.jsonObject([
      ['event', random.jsonText(event === 'other' ? random.text() : event + random.text())],
      ['channel', random.jsonText(channelName(random))],
      ['data', random.json()],
    ]);
  }
  const signed = random.chance(0.5) ? random.json(2) : random.jsonText(spoiled(random, channelData(random)));
  const data = random.jsonObject([
    ['channel', random.jsonText(channelName(random))],
    ['auth', random.chance(0.8) ? random.jsonText(auth(random)) : random.json(1)],
    ['channel_data', signed],
    ['user_data', random.jsonText(userData(random))],
  ]);
  return random.jsonObject([
    ['event', random.jsonText(event)],
    ['data', random.chance(0.3) ? random.jsonText(data) : data],
  ]);
}

// ── The rounds. ──────────────────────────────────────────────────────────────────────────────────────────────────

it('[FR1] decodes any text to a command or a refusal, and relays what it decoded', () => {
  const seen = new Map<string, number>();
  fuzz(seeds(), (random, given) => {
    const text = given(spoiled(random, clientFrame(random)));
    const command = outcomeOf(decodeCommand(text));
    const type = command?.type ?? 'refused';
    seen.set(type, (seen.get(type) ?? 0) + 1);
    if (command?.type !== 'client-event') return;
    must(command.event.startsWith('client-'), 'an event that clients may not send');
    const frame = readFrame(encodeEvent(command.event, command.channel, command.data, 'u1'));
    mustHaveKeys(frame, 'event', 'channel', 'data', 'user_id');
    mustBe(frame['event'], command.event, 'event');
    mustBe(frame['channel'], command.channel, 'channel');
    mustBe(frame['data'], command.data, 'data');
    const { data } = JSON.parse(text);
    if (typeof data === 'string') mustBe(command.data, data, 'string data');
    else mustBe(JSON.stringify(JSON.parse(command.data)), command.data, 'data that was JSON');
  });
  // A generator that reaches only refusals would prove little.
  const types = ['refused', 'ping', 'subscribe', 'unsubscribe', 'signin', 'client-event'];
  for (const type of types) expect(seen.get(type) ?? 0, type).toBeGreaterThan(rounds / 100);
});

it('[FR2] decodes data alike whether it is an object or the string of it', () => {
  let compared = 0;
  fuzz(seeds(), (random, given) => {
    const event = random.pick(['pusher:subscribe', 'pusher:unsubscribe', 'pusher:signin']);
    const data = given(
      spoiled(
        random,
        random.jsonObject([
          ['channel', random.jsonText(channelName(random))],
          ['auth', random.jsonText(auth(random))],
          ['channel_data', random.jsonText(channelData(random))],
          ['user_data', random.jsonText(userData(random))],
        ]),
      ),
    );
    // As a string, broken JSON spoils the data; as it is, the whole frame, or it ends the data early.
    try {
      if (typeof JSON.parse(data) !== 'object') return;
    } catch {
      return;
    }
    compared++;
    const asObject = decodeCommand(`{"event":"${event}","data":${data}}`);
    const asText = decodeCommand(`{"event":"${event}","data":${JSON.stringify(data)}}`);
    mustBe(JSON.stringify(asText), JSON.stringify(asObject), 'the two decoded');
  });
  expect(compared).toBeGreaterThan(rounds / 3);
});

function mustBeMember(member: Member): void {
  must(member.userId.length >= 1 && member.userId.length <= limits.userIdLength, 'the length of a user id');
  must(Buffer.byteLength(member.userInfo) <= limits.userInfoBytes, 'the length of user_info');
  const info = JSON.parse(member.userInfo);
  must(typeof info === 'object' && !Array.isArray(info), 'user_info is no object');
  mustBe(JSON.stringify(info), member.userInfo, 'user_info read and written');
}

it('[PR5] parses any channel_data to a member or a refusal, and tells of the member as it is', () => {
  let found = 0;
  fuzz(seeds(), (random, given) => {
    const texts = given(Array.from({ length: random.between(1, 4) }, () => spoiled(random, channelData(random))));
    const members = new Map<string, Member>();
    for (const text of texts) {
      const member = outcomeOf(parseMember(text));
      if (member === null) continue;
      mustBeMember(member);
      members.set(member.userId, member);
    }
    if (members.size > 0) found++;
    const channel = channelName(random);
    const { presence } = readData(encodeSubscriptionSucceeded(channel, [...members.values()]));
    const { ids, hash, count } = presence as { ids: string[]; hash: Record<string, unknown>; count: number };
    mustBe(JSON.stringify(ids), JSON.stringify([...members.keys()]), 'ids');
    mustBe(count, members.size, 'count');
    mustBe(Object.keys(hash).length, members.size, 'the size of hash');
    for (const [id, member] of members) {
      must(Object.hasOwn(hash, id), 'a user is not in hash');
      mustBe(JSON.stringify(hash[id]), member.userInfo, 'user_info in hash');
      const added = readData(encodeMemberAdded(channel, member));
      mustHaveKeys(added, 'user_id', 'user_info');
      mustBe(added['user_id'], id, 'user_id added');
      mustBe(JSON.stringify(added['user_info']), member.userInfo, 'user_info added');
      const removed = readData(encodeMemberRemoved(channel, id));
      mustHaveKeys(removed, 'user_id');
      mustBe(removed['user_id'], id, 'user_id removed');
    }
  });
  expect(found).toBeGreaterThan(rounds / 4);
});

it('[US1] parses any user_data to a user or a refusal, and gives it back letter by letter', () => {
  let found = 0;
  fuzz(seeds(), (random, given) => {
    const text = given(spoiled(random, userData(random)));
    mustBe(readData(encodeSigninSuccess(text))['user_data'], text, 'user_data');
    const user = outcomeOf(parseUser(text));
    if (user === null) return;
    found++;
    mustBeMember(user);
    mustBe(new Set(user.watchlist).size, user.watchlist.length, 'distinct ids of the watchlist');
    for (const id of user.watchlist) must(parseUserId(id).ok, 'a watched id that is none');
    const half = Math.ceil(user.watchlist.length / 2);
    const [online, offline] = [user.watchlist.slice(0, half), user.watchlist.slice(half)];
    const frame = encodeWatchlistEvents(online, offline);
    if (frame === null) return mustBe(user.watchlist.length, 0, 'the watchlist of no frame');
    const events = readData(frame)['events'] as Array<{ name: string; user_ids: string[] }>;
    for (const event of events) must(event.user_ids.length > 0, 'an empty list');
    const idsOf = (name: string): string[] => events.find((event) => event.name === name)?.user_ids ?? [];
    mustBe(JSON.stringify([idsOf('online'), idsOf('offline')]), JSON.stringify([online, offline]), 'who is where');
  });
  expect(found).toBeGreaterThan(rounds / 10);
});

it('[CH2] gives every name a channel or a refusal, by its characters and its beginning', () => {
  // Said otherwise than in the source: a name and its parts, rather than a list of beginnings.
  const expected = /^(?:(private)-(encrypted-)?(cache-)?|(presence)-(cache-)?|(cache)-)?/;
  let found = 0;
  fuzz(seeds(), (random, given) => {
    const name = given(random.chance(0.7) ? channelName(random) : spoiled(random, channelName(random)));
    const channel = outcomeOf(parseChannelName(name));
    const isUser = /^#server-to-user-[A-Za-z0-9_\-=@,.;]{1,128}$/.test(name);
    mustBe(channel !== null, isUser || /^[A-Za-z0-9_\-=@,.;]{1,200}$/.test(name), 'whether it is a name');
    if (channel === null) return;
    found++;
    mustBe(channel.name, name, 'name');
    const [, isPrivate, isEncrypted, privateCache, isPresence, presenceCache, publicCache] = expected.exec(name) ?? [];
    mustBe(channel.kind, isUser ? 'user' : (isPrivate ?? isPresence ?? 'public'), 'kind');
    mustBe(channel.isEncrypted, isEncrypted !== undefined, 'isEncrypted');
    mustBe(channel.isCache, (privateCache ?? presenceCache ?? publicCache) !== undefined, 'isCache');
  });
  expect(found).toBeGreaterThan(rounds / 4);
});

it('[CH4] checks names, ids and lengths of whatever it is given', () => {
  fuzz(seeds(), (random, given) => {
    const text = given(random.chance(0.5) ? random.text() : random.mutate(random.text()));
    mustBe(utf8Length(text), Buffer.byteLength(text), 'the length in UTF-8');
    const quoted = quote(text);
    must(quoted.length <= 64 * 6 + 3 && isWellFormed(quoted), 'a quoted text that is long or not well-formed');
    must(text.length > 64 || JSON.parse(quoted) === text, 'a short text quoted');
    must(!isSocketId(text) || /^[0-9]+\.[0-9]+$/.test(text), 'a socket id');
    for (const value of [text, text.length, [text], { text }, null, undefined, Number.NaN, true]) {
      outcomeOf(parseChannelName(value));
      const event = outcomeOf(parseEventName(value));
      must(event === null || (event === value && !/^pusher(_internal)?:/.test(event)), 'an event name');
      const id = outcomeOf(parseUserId(value));
      must(id === null || id === String(value), 'a user id');
    }
  });
});

it('[SG4] writes what is signed alike in whatever order the query comes', () => {
  fuzz(seeds(), (random, given) => {
    const pairs = given(random.list(8, () => [random.text(), random.text()] as const));
    // Repeated keys keep their order, so only distinct ones may be shuffled.
    const distinct = [...new Map(pairs.map((pair) => [pair[0].toLowerCase(), pair])).values()];
    const text = requestSignatureText('Post', '/apps/3', distinct);
    mustBe(requestSignatureText('POST', '/apps/3', random.shuffle(distinct)), text, 'shuffled');
    mustBe(requestSignatureText('post', '/apps/3', [...distinct, ['AUTH_SIGNATURE', 'x']]), text, 'with the signature');
    must(text.startsWith('POST\n/apps/3\n'), 'the first two lines');
    const kept = distinct.filter(([name]) => name.toLowerCase() !== 'auth_signature');
    const length = kept.reduce((sum, [name, value]) => sum + name.toLowerCase().length + value.length + 2, 0);
    mustBe(text.length, 'POST\n/apps/3\n'.length + Math.max(0, length - 1), 'the length of all pairs');
    for (const [name, value] of kept) must(text.includes(`${name.toLowerCase()}=${value}`), 'a pair is missing');
  });
});

it('[SU3] splits an auth value at its first colon, or not at all', () => {
  fuzz(seeds(), (random, given) => {
    const text = given(spoiled(random, auth(random)));
    const parts = splitAuth(text);
    mustBe(parts !== null, /^[^:]+:.+$/s.test(text), 'whether it can be split');
    if (parts === null) return;
    mustBe(`${parts.key}:${parts.signature}`, text, 'the parts together');
    must(!parts.key.includes(':'), 'a colon in the key');
  });
});

it('[FR6] encodes any text into frames that are UTF-8 and JSON, and give it back', () => {
  fuzz(seeds(), (random, given) => {
    const [event, channel, data, user] = given([random.text(), random.text(), random.text(), random.text()] as const);
    const number = random.below(2 ** 31);
    const plain = readFrame(encodeEvent(event, channel, data));
    mustHaveKeys(plain, 'event', 'channel', 'data');
    const frame = readFrame(encodeEvent(event, channel, data, user));
    for (const [key, value] of Object.entries({ event, channel, data, user_id: user })) mustBe(frame[key], value, key);
    const error = readFrame(encodeError(number, data))['data'] as Record<string, unknown>;
    mustBe(error['code'], number, 'code');
    mustBe(error['message'], data, 'message');
    const refused = { type: event, error: data, status: number };
    const [object, text] = encodeSubscriptionError(channel, refused);
    mustBe(JSON.stringify(readFrame(object)['data']), JSON.stringify(refused), 'the error as an object');
    mustBe(JSON.stringify(readData(text)), JSON.stringify(refused), 'the error as a string');
    for (const own of [object, text, encodeCacheMiss(channel), encodeSubscriptionCount(channel, number)]) {
      mustBe(readFrame(own)['channel'], channel, 'channel');
    }
    mustBe(readData(encodeSubscriptionCount(channel, number))['subscription_count'], number, 'count');
    mustBe(Object.keys(readData(encodeSubscriptionSucceeded(channel))).length, 0, 'the data of a plain success');
    mustBe(readData(encodeConnectionEstablished('1.2', number))['activity_timeout'], number, 'timeout');
  });
});
