/** Against a provider that is a real server on this machine, which a test may have misbehave in any way. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { FakeClock } from '@starling/adapters/memory';
import type { App, TokenSettings } from '@starling/ports';
import { appOf, tokenOf, tokenVerifierContract } from '@starling/ports/contract';
import { exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { fetchKeys } from './fetch-keys.ts';
import { JoseTokenVerifier, type JoseTokenVerifierOptions } from './token-verifier.ts';

const silent = { notes: false, note: () => {}, problem: () => {}, defect: () => {} };

tokenVerifierContract('JoseTokenVerifier', () => new JoseTokenVerifier(new FakeClock(), silent));

interface Pair {
  readonly jwk: JWK;
  sign(claims?: Record<string, unknown>, header?: { kid?: string; alg?: string }): Promise<string>;
}

const startMs = Date.UTC(2026, 0, 1);
const named = { issuer: 'https://id.example.com', audience: 'starling' } as const;

async function pairOf(alg: string, kid: string): Promise<Pair> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return {
    jwk: { ...(await exportJWK(publicKey)), kid },
    sign: (claims = {}, header = {}) =>
      new SignJWT({
        sub: 'u',
        cap: { '*': ['publish'] },
        iat: startMs / 1_000,
        exp: startMs / 1_000 + 3_600,
        iss: named.issuer,
        aud: named.audience,
        ...claims,
      })
        .setProtectedHeader({ alg, kid, ...header })
        .sign(privateKey),
  };
}

describe('tokens of an identity provider', () => {
  let pairs: Record<'rsa' | 'ec' | 'ed' | 'stranger', Pair>;
  beforeAll(async () => {
    const [rsa, ec, ed, stranger] = await Promise.all([
      pairOf('RS256', 'rsa'),
      pairOf('ES256', 'ec'),
      pairOf('EdDSA', 'ed'),
      pairOf('RS256', 'stranger'),
    ]);
    pairs = { rsa, ec, ed, stranger };
  });

  let requests = 0;
  let answer: (response: ServerResponse, request: IncomingMessage) => void;
  const server = createServer((request, response) => {
    requests++;
    answer(response, request);
  });
  let url: string;
  const problems: unknown[] = [];
  const publish = (...keys: unknown[]) => {
    answer = (response) => response.end(JSON.stringify({ keys }));
  };

  beforeEach(async () => {
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks`;
    requests = 0;
    problems.length = 0;
    publish(pairs.rsa.jwk, pairs.ec.jwk, pairs.ed.jwk);
  });
  afterEach(async () => {
    server.closeAllConnections();
    await new Promise((closed) => server.close(closed));
  });

  function open(options: JoseTokenVerifierOptions = {}) {
    const observer = {
      ...silent,
      problem: (what: string, { err }: { err?: unknown }) => problems.push(`${what}: ${err}`),
    };
    const clock = new FakeClock(startMs);
    const verifier = new JoseTokenVerifier(clock, observer, { mayBePrivate: true, ...options });
    /** By then so much time has gone by, where that is later than the last. */
    return async (token: string, settings: Partial<TokenSettings> = {}, atMs = startMs): Promise<string> => {
      const app: App = appOf('1', { tokens: { isEnabled: true, jwksUrl: url, ...named, ...settings } });
      clock.advance(Math.max(0, atMs - clock.now()));
      const checked = await verifier.verify(app, token, clock.now());
      if (!checked.ok) return checked.refusal.code;
      expect(checked.value).toMatchObject({ user: { userId: 'u' }, signer: { jwksUrl: settings.jwksUrl ?? url } });
      return 'ok';
    };
  }

  it('[TK1] takes RS256, ES256 and EdDSA, and asks for the keys once', async () => {
    const verify = open();
    for (const { sign } of [pairs.rsa, pairs.ec, pairs.ed]) expect(await verify(await sign())).toBe('ok');
    expect(requests).toBe(1);
  });

  it('[TK1] refuses a signature of another key, another algorithm than the key’s, and a set that is not the app’s', async () => {
    const verify = open();
    expect(await verify(await pairs.stranger.sign({}, { kid: 'rsa' }))).toBe('token_invalid');
    expect(await verify(await pairs.rsa.sign({}, { kid: 'ec' }))).toBe('token_invalid');
    const app = appOf('1');
    const clock = new FakeClock(startMs);
    expect(await new JoseTokenVerifier(clock, silent).verify(app, await pairs.rsa.sign(), clock.now())).toMatchObject({
      refusal: { code: 'token_invalid' },
    });
  });

  it('[TK1] never takes a public key for a secret', async () => {
    const verify = open();
    const claims = { sub: 'u', cap: {}, iat: startMs / 1_000, exp: startMs / 1_000 + 60 };
    publish(pairs.rsa.jwk, { kty: 'oct', kid: 'shared', k: Buffer.from('secret').toString('base64url') });
    expect(await verify(await pairs.rsa.sign())).toBe('ok');
    for (const secret of [JSON.stringify(pairs.rsa.jwk), pairs.rsa.jwk.n ?? '', 'secret']) {
      for (const kid of ['rsa', 'shared']) {
        for (const alg of ['HS256', 'RS256', 'none']) {
          expect(await verify(tokenOf({ alg, kid }, claims, secret)), `${alg} ${kid}`).toBe('token_invalid');
        }
      }
    }
  });

  it('[TK5] demands the issuer and the audience that the app names', async () => {
    const verify = open();
    const token = await pairs.ec.sign({ aud: ['other', 'starling'] });
    expect(await verify(token)).toBe('ok');
    expect(await verify(token, { audience: 'another' })).toBe('token_invalid');
    expect(await verify(token, { issuer: 'https://id.example.org' })).toBe('token_invalid');
    expect(await verify(await pairs.ec.sign({ iss: undefined }))).toBe('token_invalid');
    expect(await verify(await pairs.ec.sign({ aud: undefined }))).toBe('token_invalid');
  });

  it('[TK5] takes no token by a JWKS while the app names no issuer or no audience, and does not ask for the keys', async () => {
    const verify = open();
    const token = await pairs.ec.sign();
    const { issuer, audience } = named;
    for (const tokens of [{}, { issuer }, { audience }, { issuer, audience: '' }, { issuer: '', audience }]) {
      const app: App = appOf('1', { tokens: { isEnabled: true, jwksUrl: url, ...tokens } });
      const clock = new FakeClock(startMs);
      const verifier = new JoseTokenVerifier(clock, silent, { mayBePrivate: true });
      expect(await verifier.verify(app, token, clock.now())).toMatchObject({ refusal: { code: 'token_invalid' } });
    }
    expect(requests).toBe(0);
    expect(await verify(token)).toBe('ok');
  });

  it('[TK2] tells a token that is over', async () => {
    const verify = open();
    const token = await pairs.rsa.sign();
    expect(await verify(token, {}, startMs + 3_599_999)).toBe('ok');
    expect(await verify(token, {}, startMs + 3_600_000)).toBe('token_expired');
    expect(await verify(token, {}, startMs + 3_700_000)).toBe('token_expired');
  });

  it('[TK6] finds a key that the provider has begun to use, and leaves one that it has dropped', async () => {
    const verify = open();
    expect(await verify(await pairs.rsa.sign())).toBe('ok');
    publish(pairs.ec.jwk, pairs.stranger.jwk);
    expect(await verify(await pairs.stranger.sign(), {}, startMs + 30_000)).toBe('ok');
    expect(await verify(await pairs.rsa.sign(), {}, startMs + 60_000)).toBe('token_invalid');
    expect(requests).toBe(3);
  });

  it('[TK6] asks again beside its work when the set is old', async () => {
    const verify = open();
    expect(await verify(await pairs.rsa.sign())).toBe('ok');
    const asked = new Promise<void>((resolve) => {
      answer = (response) => {
        response.end(JSON.stringify({ keys: [pairs.ec.jwk] }));
        resolve();
      };
    });
    expect(await verify(await pairs.rsa.sign(), {}, startMs + 600_000)).toBe('ok');
    await asked;
    // This one waits for the answer.
    expect(await verify(await pairs.stranger.sign(), {}, startMs + 600_000)).toMatch(/^token_/);
    expect(await verify(await pairs.rsa.sign(), {}, startMs + 600_001)).toBe('token_unverifiable');
    expect(await verify(await pairs.ec.sign(), {}, startMs + 600_001)).toBe('ok');
    expect(requests).toBe(2);
  });

  it('[TK6] asks for unknown keys once in a while, however many tokens name them', async () => {
    const verify = open();
    expect(await verify(await pairs.rsa.sign())).toBe('ok');
    const stranger = await pairs.stranger.sign();
    expect(await verify(stranger, {}, startMs + 1)).toBe('token_unverifiable');
    expect(requests).toBe(1);
    const codes = await Promise.all(Array.from({ length: 50 }, () => verify(stranger, {}, startMs + 30_000)));
    expect(new Set(codes)).toEqual(new Set(['token_invalid']));
    expect(requests).toBe(2);
    expect(await verify(stranger, {}, startMs + 59_999)).toBe('token_unverifiable');
    expect(await verify(await pairs.ed.sign(), {}, startMs + 59_999)).toBe('ok');
    expect(requests).toBe(2);
  });

  it('[TK6] lets no more than so many wait for a provider', async () => {
    let release: () => void = () => undefined;
    answer = (response) => {
      release = () => response.end(JSON.stringify({ keys: [pairs.rsa.jwk] }));
    };
    const arrived = new Promise<void>((resolve) => server.once('request', () => resolve()));
    const verify = open({ maxWaiting: 3 });
    const token = await pairs.rsa.sign();
    const waiting = Promise.all(Array.from({ length: 3 }, () => verify(token)));
    await arrived;
    expect(await verify(token)).toBe('token_unverifiable');
    release();
    expect(await waiting).toEqual(['ok', 'ok', 'ok']);
    expect(await verify(token)).toBe('ok');
    expect(requests).toBe(1);
  });

  it('[TK6] goes on with what it has while the provider is away, for a day', async () => {
    const verify = open();
    const token = (atMs: number) => pairs.rsa.sign({ iat: atMs / 1_000, exp: atMs / 1_000 + 60 });
    expect(await verify(await token(startMs))).toBe('ok');
    answer = (response) => response.writeHead(503).end();
    for (const hours of [1, 12, 23]) {
      const atMs = startMs + hours * 3_600_000;
      expect(await verify(await token(atMs), {}, atMs)).toBe('ok');
    }
    const atMs = startMs + 24 * 3_600_000;
    expect(await verify(await token(atMs), {}, atMs)).toBe('token_unverifiable');
    publish(pairs.rsa.jwk);
    expect(await verify(await token(atMs), {}, atMs + 30_000)).toBe('ok');
    expect(problems[0]).toMatch(/status 503/);
  });

  it.each([-25, 25])(
    '[CK1] [TK6] keeps keys, and pauses, as long as ever when the clock is set by %i h',
    async (hours) => {
      const clock = new FakeClock(startMs);
      const verifier = new JoseTokenVerifier(clock, silent, { mayBePrivate: true });
      const app: App = appOf('1', { tokens: { isEnabled: true, jwksUrl: url, ...named } });
      const codeOf = async (pair: Pair) => {
        const iat = Math.floor(clock.now() / 1_000);
        const checked = await verifier.verify(app, await pair.sign({ iat, exp: iat + 60 }), clock.now());
        return checked.ok ? 'ok' : checked.refusal.code;
      };
      expect(await codeOf(pairs.rsa)).toBe('ok');
      clock.stepWall(hours * 3_600_000);
      expect(await codeOf(pairs.rsa)).toBe('ok');
      publish(pairs.stranger.jwk);
      expect(await codeOf(pairs.stranger)).toBe('token_unverifiable');
      expect(requests).toBe(1);
      clock.advance(30_000);
      expect(await codeOf(pairs.stranger)).toBe('ok');
      expect(requests).toBe(2);
    },
  );

  const answers: Record<string, (response: ServerResponse) => void> = {
    'an error': (response) => response.writeHead(500).end(),
    'a redirect': (response) => response.writeHead(302, { location: url }).end(),
    'no JSON': (response) => response.end('<html>'),
    'no key set': (response) => response.end('{"keys":{}}'),
    'JSON null': (response) => response.end('null'),
    'too much': (response) => response.end(JSON.stringify({ keys: [], padding: 'x'.repeat(262_144) })),
    'a cut answer': (response) =>
      response.writeHead(200, { 'content-length': '100' }).write('{"keys":', () => response.destroy()),
    'nothing at all': (response) => response.destroy(),
    'half of it, and no more': (response) => response.write('{"keys":['),
  };
  it.each(Object.keys(answers))('[TK6] takes %s for no answer, and asks again later', async (name) => {
    answer = answers[name] as (response: ServerResponse) => void;
    const verify = open({ limitMs: 200 });
    expect(await verify(await pairs.rsa.sign())).toBe('token_unverifiable');
    expect(problems).toHaveLength(1);
    expect(requests).toBe(1);
    publish(pairs.rsa.jwk);
    expect(await verify(await pairs.rsa.sign())).toBe('token_unverifiable');
    expect(await verify(await pairs.rsa.sign(), {}, startMs + 30_000)).toBe('ok');
  });

  it('[TK6] does not ask where keys could be forged on the way, nor inside its own network', async () => {
    const token = await pairs.rsa.sign();
    const jwksUrls = [
      'http://example.com/jwks',
      'http://10.0.0.1/jwks',
      'ftp://127.0.0.1/jwks',
      'file:///etc/passwd',
      'no',
    ];
    for (const jwksUrl of jwksUrls) expect(await open()(token, { jwksUrl }), jwksUrl).toBe('token_unverifiable');
    expect(await open({ mayBePrivate: false })(token)).toBe('token_unverifiable');
    const named = url.replace('127.0.0.1', 'localhost');
    expect(await open({ mayBePrivate: false })(token, { jwksUrl: named })).toBe('token_unverifiable');
    expect(await open()(token, { jwksUrl: named })).toBe('ok');
    expect(requests).toBe(1);
  });

  it('[TK6] takes no name for this machine, however it begins', async () => {
    const limits = { limitMs: 1_000, maxBytes: 1_000, mayBePrivate: true };
    for (const host of ['127.evil.example', '127.0.0.1.evil.example', 'localhost.evil.example', '[::ffff:127.0.0.1]']) {
      await expect(fetchKeys(`http://${host}/jwks`, limits), host).rejects.toThrow('must come from an https: URL');
    }
  });

  it('[TK6] is not upset by a key in the set that is none', async () => {
    const verify = open();
    publish({ kty: 'RSA', kid: 'rsa', n: 'AQAB', e: 'AQAB' }, { kid: 7 }, null, pairs.ec.jwk);
    expect(await verify(await pairs.rsa.sign())).toMatch(/^token_(invalid|unverifiable)$/);
  });
});
