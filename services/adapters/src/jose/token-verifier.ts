/** Tokens signed by an app's own keys or by its identity provider, verified by jose. */
import type { App, Clock, Observer, TokenVerifier, VerifiedToken, WallMs } from '@starling/ports';
import { type Checked, limits, parseClaims, quote, refuse } from '@starling/protocol';
import { decodeProtectedHeader, errors, type JWTVerifyOptions, jwtVerify } from 'jose';
import { type FetchLimits, fetchKeys } from './fetch-keys.ts';
import { defaultKeySetLimits, type KeyFinder, type KeySetLimits, KeySets } from './key-sets.ts';

export interface JoseTokenVerifierOptions extends Partial<KeySetLimits>, Partial<FetchLimits> {}

type Signer = VerifiedToken['signer'];
type Algorithms = readonly string[];

/** Two families that share no key: what verifies one could otherwise be taken for a secret of the other. */
const secretAlgorithms: Algorithms = ['HS256'];
const providerAlgorithms: Algorithms = ['RS256', 'ES256', 'EdDSA', 'Ed25519'];

export class JoseTokenVerifier implements TokenVerifier {
  readonly #keySets: KeySets;

  /** `clock`: for how long key sets are kept; by which time tokens count is told with each. */
  constructor(clock: Pick<Clock, 'elapsed'>, observer: Observer, options: JoseTokenVerifierOptions = {}) {
    const fetchLimits = { limitMs: 5_000, maxBytes: 262_144, mayBePrivate: false, ...options };
    const keySetLimits = { ...defaultKeySetLimits, ...options };
    this.#keySets = new KeySets((url) => fetchKeys(url, fetchLimits), clock, observer, keySetLimits);
  }

  async verify(app: App, token: string, nowMs: WallMs): Promise<Checked<VerifiedToken>> {
    if (!app.tokens.isEnabled) return refuse('token_invalid', 'This app takes no tokens');
    if (token.length > limits.tokenBytes) {
      return refuse('token_invalid', `The token has ${token.length} bytes, the limit is ${limits.tokenBytes}`);
    }
    const { alg, kid } = headerOf(token);
    if (typeof kid !== 'string') return refuse('token_invalid', 'The token is no JWT, or has no "kid" in its header');
    if (secretAlgorithms.includes(alg ?? '')) {
      const key = app.keys.find((each) => each.isEnabled && each.key === kid);
      if (key === undefined) return refuse('token_invalid', `kid: ${quote(kid)} is no enabled key of this app`);
      return check(token, Buffer.from(key.secret), { key: key.key }, nowMs, { algorithms: [...secretAlgorithms] });
    }
    if (!providerAlgorithms.includes(alg ?? '')) {
      return refuse('token_invalid', 'alg must be HS256, or RS256, ES256 or EdDSA by an identity provider');
    }
    return this.#verifyByProvider(app, token, kid, nowMs);
  }

  async #verifyByProvider(app: App, token: string, kid: string, nowMs: WallMs): Promise<Checked<VerifiedToken>> {
    const { jwksUrl, issuer, audience } = app.tokens;
    if (jwksUrl === undefined) {
      return refuse('token_invalid', 'This app takes HS256 only: no JWKS URL of an identity provider is set');
    }
    // Whoever has an account at a provider can have it sign something: without these its tokens for other services would count.
    if (!issuer || !audience) {
      return refuse('token_invalid', 'This app has a JWKS URL and no issuer, or no audience: its settings need both');
    }
    const find = await this.#keySets.find(jwksUrl, kid);
    if (find === 'unknown') return refuse('token_invalid', `kid: the JWKS of this app has no key ${quote(kid)}`);
    if (find === 'unreachable') return refuse('token_unverifiable');
    return check(token, find, { jwksUrl }, nowMs, {
      algorithms: [...providerAlgorithms],
      issuer,
      audience,
    });
  }
}

async function check(
  token: string,
  key: Uint8Array | KeyFinder,
  signer: Signer,
  nowMs: WallMs,
  rules: JWTVerifyOptions,
): Promise<Checked<VerifiedToken>> {
  const options = { ...rules, currentDate: new Date(nowMs), clockTolerance: limits.tokenSkewSeconds };
  try {
    const { payload } =
      typeof key === 'function' ? await jwtVerify(token, key, options) : await jwtVerify(token, key, options);
    const claims = parseClaims(payload, nowMs);
    return claims.ok ? { ok: true, value: { ...claims.value, signer } } : claims;
  } catch (err) {
    // Whatever it is: a text that is no token, a key of the provider that is none.
    if (err instanceof errors.JWTExpired) return refuse('token_expired');
    return refuse('token_invalid', `The token is not valid: ${err instanceof Error ? err.message : 'unreadable'}`);
  }
}

/** Nothing of what is no token. */
function headerOf(token: string): { readonly alg?: string | undefined; readonly kid?: unknown } {
  try {
    return decodeProtectedHeader(token);
  } catch {
    // Said by the missing key id.
    return {};
  }
}
