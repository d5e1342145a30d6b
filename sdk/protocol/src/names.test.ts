import { describe, expect, it } from 'vitest';
import {
  type Channel,
  isSocketId,
  limits,
  parseChannelName,
  parseEventName,
  parseUserId,
  quote,
  userChannelName,
  userIdOfChannel,
} from './index.ts';

const channelOf = (name: string): Channel => {
  const channel = parseChannelName(name);
  if (!channel.ok) throw new Error(channel.refusal.message);
  return channel.value;
};

const refusalOf = (name: unknown): string => {
  const channel = parseChannelName(name);
  if (channel.ok) throw new Error(`${JSON.stringify(name)} was accepted`);
  expect(channel.refusal.code).toBe('channel_name_invalid');
  return channel.refusal.message;
};

describe('channel names', () => {
  it('[CH1] takes every allowed character, and names of 1 to 200 of them', () => {
    const allowed = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-=@,.;';
    for (const name of [allowed, ...allowed, 'x'.repeat(200)]) expect(channelOf(name).name).toBe(name);
  });

  it('[CH1] refuses every other character, wherever it stands', () => {
    const allowed = /[A-Za-z0-9_\-=@,.;]/;
    for (let unit = 0; unit < 0x300; unit++) {
      const character = String.fromCharCode(unit);
      if (allowed.test(character)) continue;
      for (const name of [`${character}a`, `a${character}a`, `a${character}`]) refusalOf(name);
    }
    for (const name of ['漢', '😀', '\ud800', '\u2028', 'a\u0301', 'a\ufeff', 'room\n']) refusalOf(name);
  });

  it.each([
    ['room', 'public', false, false],
    ['cache-room', 'public', true, false],
    ['private-room', 'private', false, false],
    ['private-cache-room', 'private', true, false],
    ['private-encrypted-room', 'private', false, true],
    ['private-encrypted-cache-room', 'private', true, true],
    ['presence-room', 'presence', false, false],
    ['presence-cache-room', 'presence', true, false],
    ['presence-encrypted-room', 'presence', false, false],
    ['presence-encrypted-cache-room', 'presence', false, false],
    ['private-cache-encrypted-room', 'private', true, false],
    ['private-', 'private', false, false],
    ['private-encrypted-cache-', 'private', true, true],
    ['presence-', 'presence', false, false],
    ['cache-', 'public', true, false],
    ['private', 'public', false, false],
    ['presence', 'public', false, false],
    ['cache', 'public', false, false],
    ['encrypted-room', 'public', false, false],
    ['Private-room', 'public', false, false],
    ['PRESENCE-room', 'public', false, false],
    ['my-private-room', 'public', false, false],
  ])('[CH2] %s is %s, cache %s, encrypted %s', (name, kind, isCache, isEncrypted) => {
    expect(channelOf(name)).toEqual({ name, kind, isCache, isEncrypted });
  });

  it('[CH3] takes # only as the beginning of a user channel', () => {
    for (const name of [
      '#',
      '#room',
      'a#b',
      '#server-to-user',
      '#server-to-user-',
      '#Server-to-user-1',
      'x#server-to-user-1',
    ]) {
      refusalOf(name);
    }
    const channel = channelOf('#server-to-user-u1');
    expect(channel).toEqual({ name: '#server-to-user-u1', kind: 'user', isCache: false, isEncrypted: false });
    expect(userIdOfChannel(channel)).toBe('u1');
    expect(userChannelName('u1')).toBe('#server-to-user-u1');
  });

  it('[CH3] holds the user id of a user channel to the characters of names and the length of user ids', () => {
    const longest = 'u'.repeat(limits.userIdLength);
    expect(userIdOfChannel(channelOf(userChannelName(longest)))).toBe(longest);
    for (const id of [`${longest}u`, 'a:b', 'a b', 'a#b', 'é', 'a\n']) refusalOf(userChannelName(id));
    expect(userIdOfChannel(channelOf('#server-to-user-private-cache-1'))).toBe('private-cache-1');
  });

  it('[CH4] refuses a name that is too long with its length and the limit', () => {
    expect(refusalOf('x'.repeat(201))).toBe('The channel name has 201 characters, the limit is 200');
  });

  it('[CH4] refuses an empty name and what is no name at all', () => {
    for (const name of ['', undefined, null, 5, true, {}, [], ['room']]) expect(refusalOf(name)).toContain('non-empty');
  });

  it('[CH4] refuses another character with the name and what is accepted, safe to print and short', () => {
    expect(refusalOf('a b')).toBe('The channel name "a b" may have only the characters A-Z a-z 0-9 _ - = @ , . ;');
    expect(refusalOf('\u0000\ud800"')).toContain('"\\u0000\\ud800\\""');
    expect(refusalOf(` ${'x'.repeat(199)}`).length).toBeLessThan(200);
    expect(refusalOf(`#server-to-user-${' '.repeat(5_000)}`).length).toBeLessThan(200);
  });
});

describe('event names', () => {
  const codeOf = (name: unknown): string => {
    const event = parseEventName(name);
    return event.ok ? 'accepted' : event.refusal.code;
  };

  it('[CH5] takes any string of 1 to 200 characters', () => {
    for (const name of [
      'e',
      'App\\Events\\Made',
      'a.b c',
      'client-x',
      'pusher',
      'pushers:x',
      'é',
      '😀',
      'x'.repeat(200),
    ]) {
      expect(parseEventName(name)).toEqual({ ok: true, value: name });
    }
  });

  it('[CH5] refuses an empty one, one too long, and what is no string', () => {
    for (const name of ['', 'x'.repeat(201), undefined, null, 1, {}, ['e']])
      expect(codeOf(name)).toBe('event_name_invalid');
  });

  it('[CH5] refuses the reserved beginnings', () => {
    for (const name of [
      'pusher:',
      'pusher:ping',
      'pusher_internal:',
      'pusher_internal:member_added',
      'starling:auth',
    ]) {
      expect(codeOf(name)).toBe('event_name_invalid');
    }
  });
});

describe('user ids', () => {
  it('[CH6] takes strings of 1 to 128 characters as they are', () => {
    for (const id of ['1', 'u-1', 'a:b c', '😀', '__proto__', 'x'.repeat(128)]) {
      expect(parseUserId(id)).toEqual({ ok: true, value: id });
    }
  });

  it('[CH6] takes a safe integer for the string of its digits', () => {
    expect(parseUserId(10)).toEqual(parseUserId('10'));
    expect(parseUserId(Number.MAX_SAFE_INTEGER)).toEqual({ ok: true, value: '9007199254740991' });
    const lost = parseUserId(JSON.parse('9007199254740993'));
    expect(lost.ok ? '' : lost.refusal.message).toContain('send it as a string');
    expect(parseUserId(-7)).toEqual({ ok: true, value: '-7' });
    expect(parseUserId(0)).toEqual({ ok: true, value: '0' });
    expect(parseUserId(-0)).toEqual({ ok: true, value: '0' });
  });

  it('[CH6] refuses everything else', () => {
    const wrong = [
      '',
      'x'.repeat(129),
      1.5,
      2 ** 53,
      Number.NaN,
      Infinity,
      null,
      undefined,
      true,
      {},
      [],
      ['1'],
      '\ud800',
      'a\udc00b',
    ];
    for (const id of wrong) expect(parseUserId(id)).toMatchObject({ ok: false, refusal: { code: 'user_id_invalid' } });
  });
});

describe('socket ids', () => {
  it('[CH7] are two runs of decimal digits joined by one dot', () => {
    for (const id of ['1.1', '1234.5678', '0.0', `${'9'.repeat(20)}.${'9'.repeat(20)}`])
      expect(isSocketId(id)).toBe(true);
  });

  it('[CH7] are nothing else', () => {
    const wrong = [
      '',
      '.',
      '1',
      '1.',
      '.1',
      '1.1.1',
      '1..1',
      ' 1.1',
      '1.1\n',
      '1.1 ',
      '1,1',
      '-1.1',
      '1.a',
      '1e3.1',
      '١.١',
      1.1,
      null,
    ];
    for (const id of wrong) expect(isSocketId(id)).toBe(false);
  });
});

describe('quoting', () => {
  it('makes any text safe to print, and short', () => {
    expect(quote('a"b\n')).toBe('"a\\"b\\n"');
    expect(quote('x'.repeat(65))).toBe(`"${'x'.repeat(64)}…"`);
    expect(quote(`${'x'.repeat(63)}😀`)).toBe(`"${'x'.repeat(63)}\\ud83d…"`);
  });
});
