import { MemoryAppStore } from '@starling/adapters/memory';
import type { WallMs } from '@starling/ports';
import { appOf } from '@starling/ports/contract';
import { describe, expect, test } from 'vitest';
import { authenticateRequest, checkBody, type SignedRequest } from './request-auth.ts';

// The published vectors: app 3 at this moment.
const nowMs = 1_353_088_179_000 as WallMs;
const auth = 'auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0';
const app = appOf('3', { keys: [{ key: '278d425bdf160c739803', secret: '7ad3773142a6692b25b8', isEnabled: true }] });
const store = new MemoryAppStore([app]);
const getSignature = '16819168891cb5dfd72b5c7a5d3d602605b26c6ba1930033b5e2eeeb65010291';
const get: SignedRequest = {
  method: 'GET',
  url: `/apps/3/channels?filter_by_prefix=presence-&info=user_count&${auth}&auth_signature=${getSignature}`,
  hasBody: false,
  appId: '3',
  pathPrefix: '',
};

describe('authenticateRequest', () => {
  test('[SG4] accepts the published vector and releases what was signed', async () => {
    const answer = await authenticateRequest(store, get, nowMs);
    if (!answer.ok) throw new Error(answer.refusal.message);
    expect(answer.value.app).toBe(app);
    expect(answer.value.query.get('filter_by_prefix')).toBe('presence-');
    expect(answer.value.query.get('info')).toBe('user_count');
  });

  test.each([
    ['another method', { method: 'POST' }],
    ['another path', { url: get.url.replace('/apps/3/channels', '/apps/3/channels/') }],
    ['another value', { url: get.url.replace('user_count', 'user_counts') }],
    ['a parameter more', { url: `${get.url}&x=1` }],
    ['a parameter less', { url: get.url.replace('&info=user_count', '') }],
    ['one digit of the signature', { url: get.url.replace(/1$/, '2') }],
    ['upper case in the signature', { url: get.url.replace(getSignature, getSignature.toUpperCase()) }],
    ['a signature cut short', { url: get.url.slice(0, -2) }],
  ])('[SG7] refuses %s without saying how near it was', async (_what, change) => {
    const answer = await authenticateRequest(store, { ...get, ...change }, nowMs);
    expect(answer).toMatchObject({ ok: false, refusal: { code: 'auth_signature' } });
    expect(JSON.stringify(answer)).not.toContain(getSignature);
  });

  test('[SG6] accepts the same request however its values are encoded', async () => {
    for (const [from, to] of [
      ['presence-', 'presence%2D'],
      ['user_count', 'user%5fcount'],
      ['info=', 'INFO='],
      ['info=', '%69nfo='],
    ] as const) {
      const answer = await authenticateRequest(store, { ...get, url: get.url.replace(from, to) }, nowMs);
      if (!answer.ok) throw new Error(answer.refusal.message);
      expect(answer.value.query.get('info')).toBe('user_count');
      expect(answer.value.query.get('filter_by_prefix')).toBe('presence-');
    }
  });

  test.each(['', '?', '?&&==&%', '?auth_key', '?%E0%A4%A', `?${'a=%&'.repeat(2_000)}`, '?__proto__=1&constructor=2'])(
    'refuses the query %j and does not throw',
    async (query) => {
      const answer = await authenticateRequest(store, { ...get, url: `/apps/3/channels${query}` }, nowMs);
      expect(answer).toMatchObject({ ok: false, refusal: { code: 'request_unauthenticated' } });
    },
  );

  test('[RE3] the string to sign in the text is the one a client can compare with its own', async () => {
    const answer = await authenticateRequest(store, { ...get, url: `${get.url}0` }, nowMs);
    expect(answer.ok ? '' : answer.refusal.message).toContain(
      JSON.stringify(`GET\n/apps/3/channels\n${auth}&filter_by_prefix=presence-&info=user_count`),
    );
  });
});

describe('checkBody', () => {
  const right = '5d41402abc4b2a76b9719d911017c592';
  const authenticated = (md5?: string) => ({ app, query: new Map(md5 === undefined ? [] : [['body_md5', md5]]) });
  const hello = Buffer.from('hello');

  test('[RE1] wants the digest of every body that is not empty, also where only its arrival told that there is one', () => {
    expect(checkBody(authenticated(right), hello)).toEqual({ ok: true, value: undefined });
    expect(checkBody(authenticated(), Buffer.alloc(0))).toEqual({ ok: true, value: undefined });
    expect(checkBody(authenticated('d41d8cd98f00b204e9800998ecf8427e'), Buffer.alloc(0)).ok).toBe(true);
    expect(checkBody(authenticated(), hello)).toMatchObject({
      ok: false,
      refusal: { code: 'request_unauthenticated', message: expect.stringContaining('lacks body_md5') },
    });
    for (const [md5, body] of [
      [right, Buffer.from('hellO')],
      [right, Buffer.alloc(0)],
      [right.toUpperCase(), hello],
    ] as const) {
      expect(checkBody(authenticated(md5), body)).toMatchObject({
        ok: false,
        refusal: { code: 'request_unauthenticated' },
      });
    }
  });
});
