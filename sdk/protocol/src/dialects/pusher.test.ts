import { describe, expect, it } from 'vitest';
import {
  type ClientCommand,
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
  limits,
  parseMember,
  parseUser,
  pingFrame,
  pongFrame,
  utf8Length,
} from '../index.ts';

const commandOf = (frame: unknown): ClientCommand => {
  const command = decodeCommand(typeof frame === 'string' ? frame : JSON.stringify(frame));
  if (!command.ok) throw new Error(command.refusal.message);
  return command.value;
};
const codeOf = (frame: unknown): string => {
  const command = decodeCommand(typeof frame === 'string' ? frame : JSON.stringify(frame));
  return command.ok ? 'accepted' : command.refusal.code;
};
const withDataParsed = (frame: string): { event: string; channel?: string; data: Record<string, unknown> } => {
  const { data, ...rest } = JSON.parse(frame);
  expect(typeof data).toBe('string');
  return { ...rest, data: JSON.parse(data) };
};
const isWellFormed = (text: string): boolean => Buffer.from(text).toString() === text;
/** Parses, but is deeper than JSON.stringify can follow. */
const pit = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;

describe('a client frame', () => {
  it('[FR1] is a JSON object with a string event, and anything else is malformed', () => {
    const broken = [
      '',
      ' ',
      '{',
      'null',
      '1',
      '"pusher:ping"',
      '[]',
      '[{"event":"pusher:ping"}]',
      'undefined',
      "{'event':1}",
    ];
    const eventless = ['{}', '{"event":null}', '{"event":1}', '{"event":["pusher:ping"]}', '{"Event":"pusher:ping"}'];
    for (const text of [...broken, ...eventless, '\ufeff{"event":"pusher:ping"}', '{"event":"pusher:ping"}}', pit]) {
      expect(codeOf(text)).toBe('frame_malformed');
    }
  });

  it('[FR1] that subscribes or unsubscribes needs a string channel', () => {
    for (const event of ['pusher:subscribe', 'pusher:unsubscribe']) {
      for (const data of [
        undefined,
        null,
        1,
        '',
        'room',
        '[]',
        [],
        {},
        { channel: null },
        { channel: 1 },
        { channel: ['a'] },
      ]) {
        expect(codeOf({ event, data })).toBe('frame_malformed');
      }
    }
  });

  it('[FR2] may give its data as an object or as a string of JSON', () => {
    const frames = [
      ['pusher:subscribe', { channel: 'presence-a', auth: 'k:s', channel_data: '{"user_id":1}' }],
      ['pusher:subscribe', { channel: 'a' }],
      ['pusher:unsubscribe', { channel: 'a' }],
      ['pusher:signin', { auth: 'k:s', user_data: '{"id":"1"}' }],
    ] as const;
    for (const [event, data] of frames) {
      expect(commandOf({ event, data: JSON.stringify(data) })).toEqual(commandOf({ event, data }));
    }
  });

  it('[FR2] may have fields that nobody knows', () => {
    const data = { channel: 'a', foo: { channel: 'b' }, 'channel ': 'c' };
    expect(commandOf({ id: 7, event: 'pusher:subscribe', channel: 'top', data, event2: 1 })).toMatchObject({
      channel: 'a',
    });
  });

  it('[FR4] pings and pongs with whatever data, or with none', () => {
    for (const data of [undefined, null, '', '{}', {}, [], 5, 'text']) {
      expect(commandOf({ event: 'pusher:ping', data })).toEqual({ type: 'ping' });
      expect(commandOf({ event: 'pusher:pong', data })).toEqual({ type: 'pong' });
    }
  });

  it('[FR5] with a name a client may not send is refused, and the name is said, short and safe to print', () => {
    const names = [
      '',
      'x',
      'event',
      'Client-x',
      'client',
      ' client-x',
      'pusher:x',
      'pusher:subscription_count',
      'pusher_internal:member_added',
      '__proto__',
    ];
    for (const event of names) expect(codeOf({ event, channel: 'private-a', data: {} })).toBe('event_unsupported');
    const refused = decodeCommand(JSON.stringify({ event: `a"\n${'x'.repeat(9_000)}` }));
    expect(refused.ok ? '' : refused.refusal.message).toBe(
      `Unsupported event received on socket: "a\\"\\n${'x'.repeat(61)}…"`,
    );
  });

  it('[FR7] may have __proto__ as a key, which is a key like any other', () => {
    const inherited = '{"__proto__":{"event":"pusher:ping","channel":"a"}}';
    expect(codeOf(inherited)).toBe('frame_malformed');
    expect(codeOf(`{"event":"pusher:subscribe","data":${inherited}}`)).toBe('frame_malformed');
    const event = commandOf('{"event":"client-a","channel":"private-a","data":{"__proto__":{"x":1},"constructor":2}}');
    expect(event).toMatchObject({ data: '{"__proto__":{"x":1},"constructor":2}' });
  });
});

describe('[FR8] a frame nested too deeply', () => {
  const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
  const refusalOf = (text: string): unknown => {
    const decoded = decodeCommand(text);
    return decoded.ok ? null : [decoded.refusal.code, decoded.refusal.message];
  };
  const tooDeep = (code: string, what: string): unknown => [
    code,
    expect.stringMatching(new RegExp(`^${what} nests .*at most 32 deep$`)),
  ];

  it.each([
    ['anything', '[', ''],
    ['a client event', '{"event":"client-x","channel":"private-x","data":', '}'],
    ['a field nobody reads', '{"event":"pusher:ping","data":', '}'],
  ])('%s, is refused with the rule, in the text', (_what, before, after) => {
    expect(refusalOf(before + nested(32) + after)).toEqual(tooDeep('frame_malformed', 'A frame'));
    expect(refusalOf(before + nested(31) + after)).not.toEqual(tooDeep('frame_malformed', 'A frame'));
  });

  it('is refused before it is parsed: also where it is no JSON', () => {
    expect(refusalOf('['.repeat(60_000))).toEqual(tooDeep('frame_malformed', 'A frame'));
  });

  it.each(['pusher:subscribe', 'pusher:unsubscribe', 'pusher:signin', 'starling:publish'])(
    'in the string that is the data of %s, counts as in the frame',
    (event) => {
      const data = `{"channel":"c","id":"1","auth":"a","user_data":"u","more":${nested(31)}}`;
      expect(refusalOf(JSON.stringify({ event, data }))).toEqual(tooDeep('frame_malformed', 'A frame'));
      const fits = `{"channel":"c","id":"1","auth":"a","user_data":"u","more":${nested(30)}}`;
      expect(refusalOf(JSON.stringify({ event, data: fits }))).toBeNull();
    },
  );

  it('in channel_data or user_data, is refused as those are', () => {
    const member = parseMember(`{"user_id":"u","user_info":{"a":${nested(31)}}}`);
    expect(member.ok ? null : [member.refusal.code, member.refusal.message]).toEqual(
      tooDeep('channel_data_invalid', 'channel_data'),
    );
    const user = parseUser(`{"id":"u","user_info":{"a":${nested(31)}}}`);
    expect(user.ok ? null : [user.refusal.code, user.refusal.message]).toEqual(tooDeep('signin_refused', 'user_data'));
    expect(parseMember(`{"user_id":"u","user_info":{"a":${nested(30)}}}`).ok).toBe(true);
  });
});

describe('a subscribe', () => {
  it('passes the strings on exactly', () => {
    const channelData = '{ "user_id" : 10 , "é":"\\u00e9" }';
    const data = { channel: 'presence-a', auth: 'key:sig', channel_data: channelData };
    expect(commandOf({ event: 'pusher:subscribe', data })).toEqual({
      type: 'subscribe',
      channel: 'presence-a',
      auth: 'key:sig',
      channelData,
      isChannelDataBroken: false,
    });
  });

  it('[SU2] of a public channel may bring any auth and channel_data', () => {
    for (const auth of [undefined, null, '', 5, {}, 'key:sig']) {
      for (const channelData of [undefined, null, '', 5, {}, [], true, '{}']) {
        for (const channel of ['room', 'cache-room', '#server-to-user-u1']) {
          const data = { channel, auth, channel_data: channelData };
          expect(commandOf({ event: 'pusher:subscribe', data })).toMatchObject({ type: 'subscribe', channel });
        }
      }
    }
  });

  it('takes an auth that is empty or no string for none', () => {
    for (const auth of [undefined, null, '', 5, {}]) {
      const data = { channel: 'private-a', auth };
      expect(commandOf({ event: 'pusher:subscribe', data })).toMatchObject({ auth: undefined, channelData: undefined });
    }
  });

  it('keeps an empty channel_data apart from none: it is signed', () => {
    const data = { channel: 'presence-a', channel_data: '' };
    expect(commandOf({ event: 'pusher:subscribe', data })).toMatchObject({ channelData: '' });
  });

  it('says of a channel_data that is no string that it is broken', () => {
    for (const channel of ['private-a', 'presence-a']) {
      for (const channelData of [5, true, {}, [], { user_id: '1' }]) {
        const data = { channel, auth: 'key:sig', channel_data: channelData };
        expect(commandOf({ event: 'pusher:subscribe', data })).toMatchObject({ isChannelDataBroken: true });
      }
    }
  });
});

describe('a sign-in', () => {
  it('passes the strings on exactly, and needs both', () => {
    const data = { auth: 'key:sig', user_data: '{ "id":"1" }' };
    expect(commandOf({ event: 'pusher:signin', data })).toEqual({
      type: 'signin',
      auth: 'key:sig',
      userData: '{ "id":"1" }',
    });
    for (const wrong of [
      undefined,
      null,
      {},
      { auth: 'k:s' },
      { user_data: '{}' },
      { auth: 1, user_data: '{}' },
      { auth: 'k:s', user_data: { id: '1' } },
    ]) {
      expect(codeOf({ event: 'pusher:signin', data: wrong })).toBe('signin_refused');
    }
  });
});

describe('a client event', () => {
  it('[CE1] needs both channel and data', () => {
    for (const frame of [
      {},
      { channel: 'private-a' },
      { data: {} },
      { channel: 1, data: {} },
      { channel: null, data: {} },
    ]) {
      expect(codeOf({ event: 'client-a', ...frame })).toBe('client_event_malformed');
    }
    expect(commandOf({ event: 'client-a', channel: '', data: null })).toMatchObject({ channel: '', data: 'null' });
  });

  it('[CE3] keeps event, channel and data, and drops what the client added', () => {
    const frame = { event: 'client-a', channel: 'presence-a', data: '1', user_id: 'someone else', socket_id: '1.1' };
    const command = commandOf(frame);
    expect(command).toEqual({ type: 'client-event', event: 'client-a', channel: 'presence-a', data: '1' });
  });

  it('[CE3] goes out with exactly event, channel, data, and a user_id where there is a member', () => {
    expect(encodeEvent('client-a', 'private-a', 'x')).toBe('{"event":"client-a","channel":"private-a","data":"x"}');
    expect(encodeEvent('client-a', 'presence-a', 'x', 'u"1')).toBe(
      '{"event":"client-a","channel":"presence-a","data":"x","user_id":"u\\"1"}',
    );
  });

  it.each([
    ['', ''],
    ['text', 'text'],
    ['{"on":true}', '{"on":true}'],
    ['{ "on" : true }', '{ "on" : true }'],
    ['"quoted"', '"quoted"'],
    [{ on: true }, '{"on":true}'],
    [{}, '{}'],
    [[1, 'two'], '[1,"two"]'],
    [5, '5'],
    [false, 'false'],
    [null, 'null'],
  ])('[CE4] sends data %j as the string %j', (data, text) => {
    const command = commandOf({ event: 'client-a', channel: 'private-a', data });
    expect(command).toMatchObject({ data: text });
    expect(JSON.parse(encodeEvent('client-a', 'private-a', text)).data).toBe(text);
  });

  it('[CH5] is held to the length of event names', () => {
    expect(codeOf({ event: `client-${'x'.repeat(193)}`, channel: 'private-a', data: 1 })).toBe('accepted');
    expect(codeOf({ event: `client-${'x'.repeat(194)}`, channel: 'private-a', data: 1 })).toBe('event_name_invalid');
  });
});

describe('what the server originates', () => {
  const member = { userId: 'u1', userInfo: '{"name":"Ada"}' };
  const ownFrames = {
    established: encodeConnectionEstablished('1.2', 120),
    succeeded: encodeSubscriptionSucceeded('private-a'),
    succeededWithMembers: encodeSubscriptionSucceeded('presence-a', [member]),
    internalError: encodeSubscriptionError('private-a', { type: 'AuthError', error: 'no', status: 401 })[1],
    memberAdded: encodeMemberAdded('presence-a', member),
    memberRemoved: encodeMemberRemoved('presence-a', 'u1'),
    count: encodeSubscriptionCount('a', 3),
    cacheMiss: encodeCacheMiss('cache-a'),
    signinSuccess: encodeSigninSuccess('{"id":"u1"}'),
    watchlist: encodeWatchlistEvents(['u1'], ['u2']) ?? '',
  };

  it.each(Object.entries(ownFrames))('[FR3] carries data as a string of JSON: %s', (_name, frame) => {
    const { data } = JSON.parse(frame);
    expect(typeof data).toBe('string');
    expect(typeof JSON.parse(data)).toBe('object');
  });

  it('[FR3] carries data as an object in errors, pings and pongs', () => {
    expect(JSON.parse(encodeError(4_009, 'a "reason"'))).toEqual({
      event: 'pusher:error',
      data: { code: 4_009, message: 'a "reason"' },
    });
    expect(JSON.parse(encodeError(null, 'x')).data).toEqual({ code: null, message: 'x' });
    expect(JSON.parse(pingFrame)).toEqual({ event: 'pusher:ping', data: {} });
    expect(JSON.parse(pongFrame)).toEqual({ event: 'pusher:pong', data: {} });
  });

  it('[FR6] escapes what is not well-formed UTF-16, wherever it stands', () => {
    const odd = 'a\ud800b\udc00';
    const oddMember = { userId: odd, userInfo: JSON.stringify({ [odd]: odd }) };
    const frames = [
      encodeError(null, odd),
      encodeEvent(odd, odd, odd, odd),
      encodeSubscriptionSucceeded(odd, [oddMember]),
      ...encodeSubscriptionError(odd, { type: odd, error: odd, status: 400 }),
      encodeMemberAdded(odd, oddMember),
      encodeMemberRemoved(odd, odd),
      encodeSubscriptionCount(odd, 1),
      encodeCacheMiss(odd),
      encodeSigninSuccess(odd),
      encodeWatchlistEvents([odd], []) ?? '',
    ];
    for (const frame of frames) expect(isWellFormed(frame)).toBe(true);
    expect(JSON.parse(encodeEvent(odd, odd, odd)).data).toBe(odd);
    expect(encodeEvent('e', 'c', '😀')).toContain('😀');
  });

  it('[FR6] escapes it in what a client sent, too', () => {
    const command = commandOf('{"event":"client-\\ud800","channel":"private-a","data":{"k":"\\udfff"}}');
    if (command.type !== 'client-event') throw new Error('expected a client event');
    const frame = encodeEvent(command.event, command.channel, command.data);
    expect(isWellFormed(frame)).toBe(true);
    expect(JSON.parse(JSON.parse(frame).data)).toEqual({ k: '\udfff' });
  });

  it('[FR7] has __proto__ as a key like any other', () => {
    const parsed = parseMember('{"user_id":"__proto__","user_info":{"__proto__":{"x":1}}}');
    if (!parsed.ok) throw new Error(parsed.refusal.message);
    expect(parsed.value).toEqual({ userId: '__proto__', userInfo: '{"__proto__":{"x":1}}' });
    const frame = encodeSubscriptionSucceeded('presence-a', [parsed.value, member]);
    const { hash, ids } = withDataParsed(frame).data['presence'] as { hash: object; ids: string[] };
    expect(ids).toEqual(['__proto__', 'u1']);
    expect(Object.keys(hash)).toEqual(['__proto__', 'u1']);
    expect(JSON.stringify(hash)).toBe('{"__proto__":{"__proto__":{"x":1}},"u1":{"name":"Ada"}}');
  });

  it('[HS1] greets with the socket id and the timeout in seconds', () => {
    expect(withDataParsed(ownFrames.established)).toEqual({
      event: 'pusher:connection_established',
      data: { socket_id: '1.2', activity_timeout: 120 },
    });
  });

  it('[SU1] names the channel in a success', () => {
    expect(withDataParsed(ownFrames.succeeded)).toEqual({
      event: 'pusher_internal:subscription_succeeded',
      channel: 'private-a',
      data: {},
    });
  });

  it('[SU5] says a refusal twice: with data as an object, and with the same as a string', () => {
    const said = { type: 'AuthError', error: 'Invalid "signature"', status: 401 };
    const [first, second] = encodeSubscriptionError('private-a', said);
    expect(JSON.parse(first)).toEqual({ event: 'pusher:subscription_error', channel: 'private-a', data: said });
    expect(withDataParsed(second)).toEqual({
      event: 'pusher_internal:subscription_error',
      channel: 'private-a',
      data: said,
    });
  });

  it('[PR1] lists ids, hash and count of the members, null where a user has no info', () => {
    const members = [member, { userId: '7', userInfo: 'null' }, { userId: 'a"b', userInfo: '{}' }];
    expect(withDataParsed(encodeSubscriptionSucceeded('presence-a', members))).toEqual({
      event: 'pusher_internal:subscription_succeeded',
      channel: 'presence-a',
      data: {
        presence: { ids: ['u1', '7', 'a"b'], hash: { u1: { name: 'Ada' }, '7': null, 'a"b': {} }, count: 3 },
      },
    });
  });

  it('[PR1] has an array and an object even of nobody', () => {
    const { data } = withDataParsed(encodeSubscriptionSucceeded('presence-a', []));
    expect(data).toEqual({ presence: { ids: [], hash: {}, count: 0 } });
  });

  it('[PR2] tells of a member flat: user_id and user_info', () => {
    expect(withDataParsed(ownFrames.memberAdded)).toEqual({
      event: 'pusher_internal:member_added',
      channel: 'presence-a',
      data: { user_id: 'u1', user_info: { name: 'Ada' } },
    });
  });

  it('[PR3] tells of a member gone by user_id', () => {
    expect(withDataParsed(ownFrames.memberRemoved)).toEqual({
      event: 'pusher_internal:member_removed',
      channel: 'presence-a',
      data: { user_id: 'u1' },
    });
  });

  it('[SC1] tells a count as a number', () => {
    expect(withDataParsed(ownFrames.count)).toEqual({
      event: 'pusher_internal:subscription_count',
      channel: 'a',
      data: { subscription_count: 3 },
    });
  });

  it('[CA2] names the channel in a cache miss', () => {
    expect(withDataParsed(ownFrames.cacheMiss)).toEqual({ event: 'pusher:cache_miss', channel: 'cache-a', data: {} });
  });

  it('[US1] gives user_data back letter by letter', () => {
    const userData = '{ "id":"u1", "n": 1.0, "e": "\\u00e9é" }';
    expect(withDataParsed(encodeSigninSuccess(userData))).toEqual({
      event: 'pusher:signin_success',
      data: { user_data: userData },
    });
  });

  it('[US6] says who is online and who is offline, and leaves out what is empty', () => {
    const eventsOf = (frame: string | null) => (frame === null ? null : withDataParsed(frame).data['events']);
    const online = { name: 'online', user_ids: ['u2', '__proto__'] };
    const offline = { name: 'offline', user_ids: ['u"3'] };
    expect(eventsOf(encodeWatchlistEvents(online.user_ids, offline.user_ids))).toEqual([online, offline]);
    expect(eventsOf(encodeWatchlistEvents(online.user_ids, []))).toEqual([online]);
    expect(eventsOf(encodeWatchlistEvents([], offline.user_ids))).toEqual([offline]);
    expect(encodeWatchlistEvents([], [])).toBeNull();
    const { event, channel } = JSON.parse(ownFrames.watchlist);
    expect([event, channel]).toEqual(['pusher_internal:watchlist_events', undefined]);
  });
});

describe('channel_data', () => {
  const memberOf = (data: unknown) => parseMember(typeof data === 'string' ? data : JSON.stringify(data));
  const wrong = { ok: false, refusal: { code: 'channel_data_invalid' } };

  it('[PR5] is a JSON object with a user_id', () => {
    expect(memberOf({ user_id: 'u1' })).toEqual({ ok: true, value: { userId: 'u1', userInfo: 'null' } });
    for (const data of [
      '',
      'u1',
      'null',
      '[]',
      '"{}"',
      '{',
      {},
      { id: 'u1' },
      { user_id: null },
      { user_id: '' },
      pit,
    ]) {
      expect(memberOf(data)).toMatchObject(wrong);
    }
  });

  it('[CH6] may give the user_id as a number, which is the user of that string', () => {
    expect(memberOf({ user_id: 10 })).toEqual(memberOf({ user_id: '10' }));
    for (const id of [1.5, 2 ** 53, true, [], {}, 'x'.repeat(129)])
      expect(memberOf({ user_id: id })).toMatchObject(wrong);
  });

  it('[PR5] may have a user_info that is an object or null', () => {
    expect(memberOf({ user_id: '1', user_info: null })).toEqual(memberOf({ user_id: '1' }));
    expect(memberOf({ user_id: '1', user_info: { a: [1] } })).toMatchObject({ value: { userInfo: '{"a":[1]}' } });
    for (const info of ['', 'text', 0, false, true, [], [{}]]) {
      expect(memberOf({ user_id: '1', user_info: info })).toMatchObject(wrong);
    }
    expect(memberOf(`{"user_id":"1","user_info":{"a":${pit}}}`)).toMatchObject(wrong);
  });

  it('[PR5] takes a user_info of up to 1 KiB, counted in bytes', () => {
    const fits = 'x'.repeat(limits.userInfoBytes - '{"a":""}'.length);
    expect(memberOf({ user_id: '1', user_info: { a: fits } })).toMatchObject({ ok: true });
    expect(memberOf({ user_id: '1', user_info: { a: `${fits}x` } })).toMatchObject(wrong);
    expect(memberOf({ user_id: '1', user_info: { a: `${fits.slice(1)}é` } })).toMatchObject(wrong);
    // White space is not what is passed on.
    expect(memberOf(`{"user_id":"1","user_info":{${' '.repeat(2_000)}}}`)).toMatchObject({ value: { userInfo: '{}' } });
  });
});

describe('user_data', () => {
  const userOf = (data: unknown) => parseUser(typeof data === 'string' ? data : JSON.stringify(data));
  const wrong = { ok: false, refusal: { code: 'signin_refused' } };

  it('[CH6] has an id that is a string', () => {
    expect(userOf({ id: 'u1' })).toEqual({ ok: true, value: { userId: 'u1', userInfo: 'null', watchlist: [] } });
    for (const id of [undefined, null, '', 10, true, {}, 'x'.repeat(129)]) expect(userOf({ id })).toMatchObject(wrong);
    for (const text of ['', 'u1', '[]', 'null', '{']) expect(userOf(text)).toMatchObject(wrong);
  });

  it('holds user_info to the rules of members, and refuses as a sign-in', () => {
    expect(userOf({ id: 'u1', user_info: { a: 1 } })).toMatchObject({ value: { userInfo: '{"a":1}' } });
    for (const info of ['text', [], { a: 'x'.repeat(2_000) }])
      expect(userOf({ id: 'u1', user_info: info })).toMatchObject(wrong);
  });

  it('[US6] may have a watchlist of user ids, each taken once', () => {
    expect(userOf({ id: 'u1', watchlist: ['b', 'a', 'b', '__proto__'] })).toMatchObject({
      value: { watchlist: ['b', 'a', '__proto__'] },
    });
    expect(userOf({ id: 'u1', watchlist: null })).toMatchObject({ value: { watchlist: [] } });
    for (const list of ['a', {}, [1], [null], [''], ['a', {}], ['x'.repeat(129)]]) {
      expect(userOf({ id: 'u1', watchlist: list })).toMatchObject(wrong);
    }
  });

  it('[US8] keeps a watchlist above the limit whole: the engine cuts it, and says so', () => {
    const watchlist = Array.from({ length: 150 }, (_, index) => `u${index}`);
    expect(userOf({ id: 'u1', watchlist })).toMatchObject({ value: { watchlist } });
  });
});

describe('the length in UTF-8', () => {
  it.each([
    '',
    'abc',
    'é',
    '漢',
    '😀',
    '\ud800',
    '\udc00',
    '\ud800\ud800\udc00',
    '\udc00\ud800',
    'a\ud83d',
    '\u07ff\u0800\uffff',
  ])('of %j is that of its bytes', (text) => expect(utf8Length(text)).toBe(Buffer.byteLength(text)));
});
