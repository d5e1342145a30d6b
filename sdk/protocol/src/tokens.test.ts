import { describe, expect, it } from 'vitest';
import {
  type Capabilities,
  type Claims,
  decodeCommand,
  encodeAuthError,
  encodeAuthSuccess,
  encodePublishAck,
  encodePublishError,
  parseCapabilities,
  parseClaims,
  refuse,
} from './index.ts';

const nowMs = Date.UTC(2026, 0, 1);
const now = nowMs / 1_000;
const good = { cap: {}, iat: now, exp: now + 60 };

function claims(changes: Record<string, unknown> = {}, atMs = nowMs): Claims {
  const parsed = parseClaims({ ...good, ...changes }, atMs);
  if (!parsed.ok) throw new Error(parsed.refusal.message);
  return parsed.value;
}

function fault(changes: Record<string, unknown>, atMs = nowMs): readonly [string, string] {
  const parsed = parseClaims({ ...good, ...changes }, atMs);
  return parsed.ok ? ['ok', ''] : [parsed.refusal.code, parsed.refusal.message];
}

function capabilities(cap: unknown): Capabilities {
  const parsed = parseCapabilities(cap);
  if (!parsed.ok) throw new Error(parsed.refusal.message);
  return parsed.value;
}

describe('the times of a token', () => {
  it('[TK2] takes it from its begin, as far as clocks differ, until its very end', () => {
    expect(claims({}, nowMs).expiresAtMs).toBe(nowMs + 60_000);
    expect(fault({}, nowMs - 10_000)[0]).toBe('ok');
    expect(fault({}, nowMs - 10_001)).toEqual(['token_invalid', expect.stringContaining('11 s from now')]);
    expect(fault({}, nowMs + 59_999)[0]).toBe('ok');
    expect(fault({}, nowMs + 60_000)[0]).toBe('token_expired');
    expect(fault({ nbf: now + 10 })[0]).toBe('ok');
    expect(fault({ nbf: now + 11 })[0]).toBe('token_invalid');
  });

  it('[TK2] lets it live no longer than a day', () => {
    expect(fault({ exp: now + 86_400 })[0]).toBe('ok');
    expect(fault({ exp: now + 86_401 })).toEqual(['token_invalid', expect.stringContaining('86400 s')]);
    expect(fault({ iat: now - 86_400, exp: now + 1 })[0]).toBe('token_invalid');
  });

  it.each([
    [{ exp: undefined }],
    [{ iat: undefined }],
    [{ exp: String(now + 60) }],
    [{ iat: null }],
    [{ exp: Number.NaN }],
    [{ exp: Number.POSITIVE_INFINITY }],
    [{ iat: Number.NEGATIVE_INFINITY }],
    [{ nbf: 'now' }],
  ])('[TK2] refuses %o', (changes) => expect(fault(changes)[0]).toBe('token_invalid'));

  it('[TK2] refuses what is no object', () => {
    for (const payload of [null, undefined, [], 'text', 7]) expect(parseClaims(payload, nowMs).ok).toBe(false);
  });
});

describe('whose a token is', () => {
  it('[TK4] gives the user with what presence shows of it', () => {
    expect(claims().user).toBeNull();
    expect(claims({ sub: 'u' }).user).toEqual({ userId: 'u', userInfo: 'null' });
    expect(claims({ sub: 'u', info: { a: 1 } }).user).toEqual({ userId: 'u', userInfo: '{"a":1}' });
    expect(claims({ jti: 'x'.repeat(128) }).tokenId).toHaveLength(128);
  });

  it.each([
    [{ sub: 7 }, 'sub'],
    [{ sub: '' }, 'sub'],
    [{ sub: 'x'.repeat(129) }, 'sub'],
    [{ sub: '\ud800' }, 'sub'],
    [{ sub: 'u', info: 'text' }, 'info'],
    [{ sub: 'u', info: [] }, 'info'],
    [{ sub: 'u', info: { a: 'x'.repeat(1_024) } }, 'info'],
    [{ info: {} }, 'info'],
    [{ jti: '' }, 'jti'],
    [{ jti: 7 }, 'jti'],
    [{ jti: 'x'.repeat(129) }, 'jti'],
  ])('[TK4] refuses %o, and names the claim', (changes, claim) => {
    expect(fault(changes)).toEqual(['token_invalid', expect.stringContaining(claim)]);
  });
});

describe('what a token allows', () => {
  it.each([
    ['private-a', 'private-a', true],
    ['private-a', 'private-ab', false],
    ['private-a', 'private-', false],
    ['private-*', 'private-', true],
    ['private-*', 'private-a', true],
    ['private-*', 'presence-a', false],
    ['private-*-x', 'private-1-x', false],
    ['*', 'anything', true],
    ['*', 'private-a', true],
    ['*', '#server-to-user-1', false],
    ['#*', '#server-to-user-1', true],
    ['#server-to-user-1', '#server-to-user-1', true],
    ['**', 'a', false],
    ['*a', 'a', false],
    ['PRIVATE-A', 'private-a', false],
    ['__proto__', '__proto__', true],
    ['constructor', 'toString', false],
  ])('[TK3] %s on %s: %s', (pattern, channel, isAllowed) => {
    const cap = capabilities(JSON.parse(`{${JSON.stringify(pattern)}:["subscribe"],"other-*":["publish"]}`));
    expect(cap.allows('subscribe', channel)).toBe(isAllowed);
    expect(cap.allows('presence', channel)).toBe(false);
    expect([cap.has('subscribe'), cap.has('publish'), cap.has('history')]).toEqual([true, true, false]);
  });

  it('[TK3] adds up what several patterns allow', () => {
    const cap = capabilities({ 'a*': ['subscribe'], 'ab*': ['publish', 'publish'], abc: ['presence'], empty: [] });
    expect(['subscribe', 'publish', 'presence', 'history'].map((each) => cap.allows(each as 'publish', 'abc'))).toEqual(
      [true, true, true, false],
    );
    expect(cap.json).toBe('{"a*":["subscribe"],"ab*":["publish","publish"],"abc":["presence"],"empty":[]}');
  });

  const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`p${index}`, []]));
  it('[TK3] takes 100 patterns of 200 characters and no more', () => {
    expect(parseCapabilities(many(100)).ok).toBe(true);
    expect(parseCapabilities(many(101)).ok).toBe(false);
    expect(parseCapabilities({ ['x'.repeat(200)]: [] }).ok).toBe(true);
    expect(parseCapabilities({ ['x'.repeat(201)]: [] }).ok).toBe(false);
  });

  it.each([
    [undefined],
    [null],
    [[]],
    ['*'],
    [{ a: 'subscribe' }],
    [{ a: ['read'] }],
    [{ a: [1] }],
    [{ a: {} }],
    [{ '': [] }],
  ])('[TK3] refuses %o', (cap) => expect(fault({ cap })).toEqual(['token_invalid', expect.stringContaining('cap')]));
});

describe('frames', () => {
  const decode = (frame: unknown) => {
    const decoded = decodeCommand(JSON.stringify(frame));
    return decoded.ok ? decoded.value : decoded.refusal.code;
  };

  it('[TK9] reads a token, and that there is none', () => {
    expect(decode({ event: 'starling:auth', data: { token: 't', more: 1 } })).toEqual({ type: 'auth', token: 't' });
    expect(decode({ event: 'starling:auth', data: '{"token":"t"}' })).toEqual({ type: 'auth', token: 't' });
    for (const data of [undefined, null, {}, { token: 7 }, 'text', []]) {
      expect(decode({ event: 'starling:auth', data })).toEqual({ type: 'auth', token: undefined });
    }
  });

  it('[SP3] reads a publish with an id of 1 to 64 characters', () => {
    const data = { id: 'x'.repeat(64), channels: ['a'], name: 'e', data: 'd' };
    expect(decode({ event: 'starling:publish', data })).toEqual({ type: 'publish', id: data.id, fields: data });
    expect(decode({ event: 'starling:publish', data: JSON.stringify(data) })).toMatchObject({ id: data.id });
    for (const id of [undefined, null, '', 7, 'x'.repeat(65)]) {
      expect(decode({ event: 'starling:publish', data: { ...data, id } })).toBe('frame_malformed');
    }
    for (const given of [undefined, null, [], 'text']) {
      expect(decode({ event: 'starling:publish', data: given })).toBe('frame_malformed');
    }
  });

  it('[FR3] answers with data as strings of JSON, whatever ids and texts hold', () => {
    const odd = '"\\\n\ud800</script>';
    const read = (frame: string) => {
      const { event, data } = JSON.parse(frame) as { event: string; data: string };
      return [event, JSON.parse(data)];
    };
    const refusal = refuse('token_invalid', odd).refusal;
    expect(read(encodeAuthSuccess(odd, 7, '{"a":[]}'))).toEqual([
      'starling:auth_success',
      { user_id: odd, expires_in: 7, capabilities: { a: [] } },
    ]);
    expect(read(encodeAuthSuccess(null, 0, '{}'))[1]).toMatchObject({ user_id: null });
    expect(read(encodeAuthError(refusal))).toEqual(['starling:auth_error', { code: 'token_invalid', message: odd }]);
    expect(read(encodePublishAck(odd))).toEqual(['starling:publish_ack', { id: odd }]);
    expect(read(encodePublishError(odd, refusal))).toEqual([
      'starling:publish_error',
      { id: odd, code: 'token_invalid', message: odd },
    ]);
    expect(read(encodePublishError('1', refusal, 2))[1]).toMatchObject({ retry_after: 2 });
  });
});
