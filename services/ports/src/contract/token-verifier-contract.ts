/** What every token verifier must do with tokens that an app's own key signed. */
import { createHmac } from 'node:crypto';
import { limits } from '@starling/protocol';
import { describe, expect, it } from 'vitest';
import type { App, TokenVerifier, WallMs } from '../index.ts';
import { appOf } from './app-store-contract.ts';

const base64url = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token made by hand, of whatever header and payload. */
export function tokenOf(header: object, payload: unknown, secret: string): string {
  const signed = `${base64url(header)}.${base64url(payload)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

export function tokenVerifierContract(name: string, make: () => TokenVerifier): void {
  describe(`${name} as a token verifier`, () => {
    const nowMs = Date.UTC(2026, 0, 1) as WallMs;
    const now = nowMs / 1_000;
    const app = appOf('1', {
      keys: [
        { key: 'key', secret: 'secret', isEnabled: true },
        { key: 'old', secret: 'old secret', isEnabled: false },
      ],
    });
    const good = { sub: 'u', info: { name: 'U' }, cap: { 'private-*': ['subscribe'] }, iat: now, exp: now + 60 };
    const header = { alg: 'HS256', typ: 'JWT', kid: 'key' };
    const verify = (token: string, to: App = app) => make().verify(to, token, nowMs);
    const codeOf = async (token: string, to: App = app) => {
      const checked = await verify(token, to);
      return checked.ok ? 'ok' : checked.refusal.code;
    };

    it('[TK1] says what a good token claims, and by which key', async () => {
      const checked = await verify(tokenOf(header, { ...good, jti: 't', extra: 1 }, 'secret'));
      if (!checked.ok) throw new Error(checked.refusal.message);
      expect(checked.value).toMatchObject({
        user: { userId: 'u', userInfo: '{"name":"U"}' },
        issuedAtMs: nowMs,
        expiresAtMs: nowMs + 60_000,
        tokenId: 't',
        signer: { key: 'key' },
      });
      expect(checked.value.capabilities.allows('subscribe', 'private-a')).toBe(true);
    });

    it('[TK1] refuses a signature that is not of the key named, or of no key of ours', async () => {
      for (const [kid, secret] of [
        ['key', 'other'],
        ['key', ''],
        ['key', 'old secret'],
        ['old', 'old secret'],
        ['none', 'secret'],
        ['', 'secret'],
        ['__proto__', 'secret'],
      ] as const) {
        expect(await codeOf(tokenOf({ ...header, kid }, good, secret)), kid).toBe('token_invalid');
      }
      expect(await codeOf(tokenOf({ alg: 'HS256' }, good, 'secret'))).toBe('token_invalid');
      expect(await codeOf(tokenOf(header, good, 'secret'), appOf('2'))).toBe('token_invalid');
    });

    it('[TK1] refuses every other algorithm, and a token without a signature', async () => {
      for (const alg of ['none', 'None', 'hs256', 'HS384', 'HS512', 'RS256', 'ES256', 'EdDSA', 'PS256', '', 1, null]) {
        expect(await codeOf(tokenOf({ ...header, alg }, good, 'secret')), String(alg)).toBe('token_invalid');
      }
      const [head, payload, signature] = tokenOf(header, good, 'secret').split('.') as [string, string, string];
      expect(await codeOf(`${head}.${payload}.`)).toBe('token_invalid');
      expect(await codeOf(`${base64url({ alg: 'none' })}.${payload}.`)).toBe('token_invalid');
      expect(await codeOf(`${head}.${base64url({ ...good, sub: 'v' })}.${signature}`)).toBe('token_invalid');
    });

    it('[TK1] refuses what is no token, and one that is too long', async () => {
      for (const text of ['', '.', '..', '...', 'a.b.c', '{}', '😀.😀.😀', `${'e'.repeat(limits.tokenBytes)}`]) {
        expect(await codeOf(text), text.slice(0, 9)).toBe('token_invalid');
      }
      const padding = 'x'.repeat(limits.tokenBytes);
      expect(await codeOf(tokenOf(header, { ...good, padding }, 'secret'))).toBe('token_invalid');
      expect(await codeOf(tokenOf({ ...header, crit: ['b64'], b64: false }, good, 'secret'))).toBe('token_invalid');
      expect(await codeOf(tokenOf(header, [good], 'secret'))).toBe('token_invalid');
      expect(await codeOf(tokenOf(header, null, 'secret'))).toBe('token_invalid');
    });

    it('[TK2] refuses a token that is over, and tells it from one that is wrong', async () => {
      expect(await codeOf(tokenOf(header, { ...good, iat: now - 60, exp: now }, 'secret'))).toBe('token_expired');
      expect(await codeOf(tokenOf(header, { ...good, iat: now - 60, exp: now }, 'wrong'))).toBe('token_invalid');
      expect(await codeOf(tokenOf(header, { ...good, nbf: now + 60 }, 'secret'))).toBe('token_invalid');
    });

    it('[TK12] takes none of an app whose tokens are switched off', async () => {
      const token = tokenOf(header, good, 'secret');
      expect(await codeOf(token)).toBe('ok');
      expect(await codeOf(token, { ...app, tokens: { isEnabled: false } })).toBe('token_invalid');
    });
  });
}
