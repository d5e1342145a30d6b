/** Signing in elsewhere: OpenID Connect's authorization code flow with PKCE, for any provider that can be discovered. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { type Clock, type ElapsedMs, msSince } from '@starling/ports';
import { type Checked, refuse, StarlingError } from '@starling/protocol';
import { createRemoteJWKSet, errors, type JWTPayload, jwtVerify } from 'jose';
import { z } from 'zod';

export interface OidcSettings {
  /** Where its discovery document is below. */
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
}

/** Where browsers find this server, such as `https://starling.example.com/realtime`: asked when it listens. */
export type PublicUrl = () => string;

/** What must come back unchanged, kept sealed in the browser meanwhile. */
export interface OidcFlow {
  readonly state: string;
  readonly nonce: string;
  readonly verifier: string;
}

/** Whom the provider says it is. */
export interface Identity {
  readonly issuer: string;
  readonly subject: string;
  /** Only where the provider has verified it. */
  readonly verifiedEmail: string | undefined;
  readonly name: string | undefined;
}

const discovery = z.object({
  issuer: z.string(),
  authorization_endpoint: z.url(),
  token_endpoint: z.url(),
  jwks_uri: z.url(),
  token_endpoint_auth_methods_supported: z.array(z.string()).optional(),
});

interface Metadata extends z.output<typeof discovery> {
  readonly keys: ReturnType<typeof createRemoteJWKSet>;
}

const [waitMs, freshMs, answerBytesMax, clockSkewSeconds] = [5_000, 3_600_000, 512 * 1024, 60];
/** Only what the provider alone can make: with HS256 the client secret would be enough. */
const algorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];

export class OidcProvider {
  readonly #settings: OidcSettings;
  readonly #clock: Clock;
  #metadata: { readonly value: Promise<Metadata>; readonly readAt: ElapsedMs } | undefined;

  constructor(settings: OidcSettings, clock: Clock) {
    this.#settings = settings;
    this.#clock = clock;
  }

  /** Where to send the browser, and what to remember of it. Throws StarlingError `unavailable`. */
  async begin(redirectUri: string): Promise<{ readonly url: string; readonly flow: OidcFlow }> {
    const { authorization_endpoint: endpoint } = await this.#read();
    const flow = { state: random(), nonce: random(), verifier: random() };
    const url = new URL(endpoint);
    const asked = {
      response_type: 'code',
      client_id: this.#settings.clientId,
      redirect_uri: redirectUri,
      scope: 'openid email profile',
      state: flow.state,
      nonce: flow.nonce,
      code_challenge: createHash('sha256').update(flow.verifier).digest('base64url'),
      code_challenge_method: 'S256',
    };
    for (const [name, value] of Object.entries(asked)) url.searchParams.set(name, value);
    return { url: url.href, flow };
  }

  /** Who came back. Refuses what does not fit together; throws StarlingError `unavailable`. */
  async finish(
    flow: OidcFlow,
    returned: Readonly<Record<string, unknown>>,
    redirectUri: string,
  ): Promise<Checked<Identity>> {
    const { state, code, error, iss } = returned;
    if (typeof state !== 'string' || !isSame(state, flow.state)) {
      return refuse('provider_refused', 'The answer belongs to another try to sign in: try again');
    }
    const metadata = await this.#read();
    // RFC 9207: an answer of another provider, sent here.
    if (iss !== undefined && iss !== metadata.issuer) return refuse('provider_refused');
    if (error !== undefined) return refuse('provider_refused', 'The identity provider did not let you in');
    if (typeof code !== 'string' || code === '') return refuse('provider_refused');
    const idToken = await this.#exchange(metadata, code, flow.verifier, redirectUri);
    if (!idToken.ok) return idToken;
    return this.#verify(metadata, idToken.value, flow.nonce);
  }

  async #exchange(metadata: Metadata, code: string, verifier: string, redirectUri: string): Promise<Checked<string>> {
    const { clientId, clientSecret } = this.#settings;
    const form = new URLSearchParams({
      grant_type: 'authorization_code',
      code,
      redirect_uri: redirectUri,
      code_verifier: verifier,
      client_id: clientId,
    });
    const headers: Record<string, string> = { accept: 'application/json' };
    // Basic is what holds where nothing is said.
    if (metadata.token_endpoint_auth_methods_supported?.includes('client_secret_basic') ?? true) {
      const pair = `${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`;
      headers['authorization'] = `Basic ${Buffer.from(pair).toString('base64')}`;
    } else form.set('client_secret', clientSecret);
    const answer = await ask(metadata.token_endpoint, { method: 'POST', headers, body: form });
    const read = z.object({ id_token: z.string() }).safeParse(answer.body);
    if (answer.status === 200 && read.success) return { ok: true, value: read.data.id_token };
    if (answer.status >= 500) throw away(`its token endpoint answered ${answer.status}`);
    return refuse('provider_refused', 'The identity provider did not confirm the sign-in: try again');
  }

  async #verify(metadata: Metadata, idToken: string, nonce: string): Promise<Checked<Identity>> {
    const { clientId } = this.#settings;
    let claims: JWTPayload;
    try {
      const verified = await jwtVerify(idToken, metadata.keys, {
        algorithms,
        issuer: metadata.issuer,
        audience: clientId,
        currentDate: new Date(this.#clock.now()),
        clockTolerance: clockSkewSeconds,
        requiredClaims: ['sub', 'exp', 'iat', 'nonce'],
      });
      claims = verified.payload;
    } catch (err) {
      if (err instanceof errors.JWKSTimeout || !(err instanceof errors.JOSEError)) throw away('its keys', err);
      return refuse('provider_refused', 'What the identity provider says about you is not signed as it must be');
    }
    const { sub, azp, email, name, aud } = claims;
    const isForUs = Array.isArray(aud) && aud.length > 1 ? azp === clientId : azp === undefined || azp === clientId;
    if (typeof claims['nonce'] !== 'string' || !isSame(claims['nonce'], nonce) || !isForUs || !sub) {
      return refuse('provider_refused');
    }
    const isVerified = claims['email_verified'] === true || claims['email_verified'] === 'true';
    return {
      ok: true,
      value: {
        issuer: metadata.issuer,
        subject: sub,
        verifiedEmail: isVerified && typeof email === 'string' ? email : undefined,
        name: typeof name === 'string' && name.trim() !== '' ? name.trim().slice(0, 100) : undefined,
      },
    };
  }

  #read(): Promise<Metadata> {
    const former = this.#metadata;
    if (former !== undefined && msSince(former.readAt, this.#clock) < freshMs) return former.value;
    const value = this.#discover();
    this.#metadata = { value, readAt: this.#clock.elapsed() };
    // The next who asks tries again.
    value.catch(() => {
      if (this.#metadata?.value === value) this.#metadata = undefined;
    });
    return value;
  }

  async #discover(): Promise<Metadata> {
    const { issuer } = this.#settings;
    const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
    const { status, body } = await ask(url, { headers: { accept: 'application/json' } });
    const read = discovery.safeParse(body);
    if (status !== 200 || !read.success) throw away(`${url} answered ${status} and no discovery document`);
    if (read.data.issuer !== issuer) {
      throw away(`${url} is of the issuer ${read.data.issuer}: set STARLING_OIDC_ISSUER to exactly that`);
    }
    const keys = createRemoteJWKSet(new URL(read.data.jwks_uri), { timeoutDuration: waitMs });
    return { ...read.data, keys };
  }
}

async function ask(url: string, init: RequestInit): Promise<{ readonly status: number; readonly body: unknown }> {
  try {
    // Not followed: a redirect would carry the code and the secret elsewhere.
    const answer = await fetch(url, { ...init, redirect: 'error', signal: AbortSignal.timeout(waitMs) });
    let text = '';
    const decoder = new TextDecoder();
    for await (const chunk of answer.body ?? []) {
      text += decoder.decode(chunk, { stream: true });
      if (text.length > answerBytesMax) throw new Error(`more than ${answerBytesMax} bytes`);
    }
    return { status: answer.status, body: parseJson(text) };
  } catch (err) {
    throw away(`${new URL(url).origin} cannot be asked`, err);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Undefined fits no schema: it is refused like any other wrong content.
    return undefined;
  }
}

function away(what: string, cause?: unknown): StarlingError {
  return new StarlingError('unavailable', `The identity provider cannot be used: ${what}`, { cause });
}

function random(): string {
  return randomBytes(32).toString('base64url');
}

function isSame(one: string, other: string): boolean {
  const [a, b] = [one, other].map((each) => createHash('sha256').update(each).digest());
  return a !== undefined && b !== undefined && timingSafeEqual(a, b);
}
