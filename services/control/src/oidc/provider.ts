/**
 * Signing in elsewhere: OpenID Connect's authorization code flow with PKCE, for any provider that can be discovered. The flow
 * itself is the library's; here stand the bounds on what a provider may cost, and what it means when one fails.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { type Clock, type ElapsedMs, msSince } from '@starling/ports';
import { type Checked, refuse, StarlingError } from '@starling/protocol';
import {
  AuthorizationResponseError,
  allowInsecureRequests,
  authorizationCodeGrant,
  buildAuthorizationUrl,
  type ClientAuth,
  ClientError,
  ClientSecretPost,
  Configuration,
  type CustomFetch,
  calculatePKCECodeChallenge,
  clockSkew,
  clockTolerance,
  customFetch,
  discovery,
  enableNonRepudiationChecks,
  type IDToken,
  ResponseBodyError,
  randomNonce,
  randomPKCECodeVerifier,
  randomState,
  WWWAuthenticateChallengeError,
} from 'openid-client';
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

/** What the provider says of the person. */
export interface Identity {
  readonly issuer: string;
  readonly subject: string;
  /** Only where the provider has verified it. */
  readonly verifiedEmail: string | undefined;
  readonly name: string | undefined;
}

/** What we read of a discovery document; the library reads the rest. */
const endpoints = z.object({
  authorization_endpoint: z.url(),
  token_endpoint: z.url(),
  jwks_uri: z.url(),
});

const [waitSeconds, freshMs, answerBytesMax, clockSkewSeconds] = [5, 3_600_000, 512 * 1024, 60];
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
  #configuration: { readonly value: Promise<Configuration>; readonly readAt: ElapsedMs } | undefined;

  constructor(settings: OidcSettings, clock: Clock) {
    this.#settings = settings;
    this.#clock = clock;
  }

  /** Where to send the browser, and what to remember of it. Throws StarlingError `unavailable`. */
  async begin(redirectUri: string): Promise<{ readonly url: string; readonly flow: OidcFlow }> {
    const configuration = await this.#read();
    const flow = { state: randomState(), nonce: randomNonce(), verifier: randomPKCECodeVerifier() };
    const url = buildAuthorizationUrl(configuration, {
      redirect_uri: redirectUri,
      scope: 'openid email profile',
      state: flow.state,
      nonce: flow.nonce,
      code_challenge: await calculatePKCECodeChallenge(flow.verifier),
      code_challenge_method: 'S256',
    });
    return { url: url.href, flow };
  }

  /** Reads the identity from the provider's answer. Refuses what does not fit together; throws StarlingError `unavailable`. */
  async finish(
    flow: OidcFlow,
    returned: Readonly<Record<string, unknown>>,
    redirectUri: string,
  ): Promise<Checked<Identity>> {
    const { state } = returned;
    // Before the provider is asked anything.
    if (typeof state !== 'string' || !isSame(state, flow.state)) {
      return refuse('provider_refused', 'The answer belongs to another try to sign in: try again');
    }
    const configuration = await this.#read();
    const url = new URL(redirectUri);
    for (const [name, value] of Object.entries(returned)) {
      // What is there twice stays there twice, for the library to refuse.
      for (const each of [value].flat()) url.searchParams.append(name, String(each));
    }
    try {
      const tokens = await authorizationCodeGrant(configuration, url, {
        expectedState: flow.state,
        expectedNonce: flow.nonce,
        pkceCodeVerifier: flow.verifier,
        idTokenExpected: true,
      });
      return this.#identityOf(tokens.claims());
    } catch (err) {
      return refusalOf(err);
    }
  }

  #identityOf(claims: IDToken | undefined): Checked<Identity> {
    // The library takes any `azp` where we are the only audience.
    if (claims === undefined || (claims.azp ?? this.#settings.clientId) !== this.#settings.clientId || !claims.sub) {
      return refuse('provider_refused');
    }
    const { iss, sub, email, name } = claims;
    const isVerified = claims['email_verified'] === true || claims['email_verified'] === 'true';
    return {
      ok: true,
      value: {
        issuer: iss,
        subject: sub,
        verifiedEmail: isVerified && typeof email === 'string' ? email : undefined,
        name: typeof name === 'string' && name.trim() !== '' ? name.trim().slice(0, 100) : undefined,
      },
    };
  }

  #read(): Promise<Configuration> {
    const former = this.#configuration;
    if (former !== undefined && msSince(former.readAt, this.#clock) < freshMs) return former.value;
    const value = this.#discover();
    this.#configuration = { value, readAt: this.#clock.elapsed() };
    // The next request tries again.
    value.catch(() => {
      if (this.#configuration?.value === value) this.#configuration = undefined;
    });
    return value;
  }

  async #discover(): Promise<Configuration> {
    const { issuer, clientId, clientSecret } = this.#settings;
    const prepare = [
      (configuration: Configuration) => {
        configuration.timeout = waitSeconds;
        configuration[customFetch] = boundedFetch;
      },
      // Settings let plain HTTP through on this machine only.
      ...(issuer.startsWith('http:') ? [allowInsecureRequests] : []),
    ];
    let found: Configuration;
    try {
      found = await discovery(new URL(issuer), clientId, undefined, undefined, {
        execute: prepare,
        timeout: waitSeconds,
        [customFetch]: boundedFetch,
      });
    } catch (err) {
      throw starlingErrorIn(err) ?? away(`${issuer} has no discovery document of this issuer`, err);
    }
    // The helper is no metadata.
    const { supportsPKCE: _, ...server } = found.serverMetadata();
    if (!endpoints.safeParse(server).success) throw away(`the discovery document of ${issuer} names no endpoints`);
    if (server.issuer !== issuer) {
      throw away(`${issuer} is of the issuer ${server.issuer}: set STARLING_OIDC_ISSUER to exactly that`);
    }
    const signs = server.id_token_signing_alg_values_supported ?? algorithms;
    const methods = server.token_endpoint_auth_methods_supported;
    const configuration = new Configuration(
      { ...server, id_token_signing_alg_values_supported: signs.filter((each) => algorithms.includes(each)) },
      clientId,
      {
        [clockTolerance]: clockSkewSeconds,
        // The library reads the clock of the machine.
        [clockSkew]: Math.round((this.#clock.now() - Date.now()) / 1_000),
      },
      // Basic is what holds where nothing is said.
      (methods?.includes('client_secret_basic') ?? true)
        ? clientSecretBasic(clientSecret)
        : ClientSecretPost(clientSecret),
    );
    for (const step of prepare) step(configuration);
    // Without it the library trusts the connection to the token endpoint, and checks no signature.
    enableNonRepudiationChecks(configuration);
    return configuration;
  }
}

/**
 * As `encodeURIComponent` writes it, with the id in the form, too. The library's own encodes more, such as "-" and "_": some
 * providers compare without decoding, and those are in most ids and secrets.
 */
function clientSecretBasic(clientSecret: string): ClientAuth {
  return (_server, { client_id: clientId }, form, headers) => {
    const pair = `${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`;
    headers.set('authorization', `Basic ${Buffer.from(pair).toString('base64')}`);
    form.set('client_id', clientId);
  };
}

/** Bounds what an answer may cost, and tells by a StarlingError that it is the provider that fails. */
const boundedFetch: CustomFetch = async (url, options) => {
  try {
    // Not followed: a redirect would carry the code and the secret elsewhere.
    const answer = await fetch(url, { ...options, redirect: 'error' } as RequestInit);
    if (answer.status >= 500) throw new Error(`it answered ${answer.status}`);
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of answer.body ?? []) {
      bytes += chunk.length;
      if (bytes > answerBytesMax) throw new Error(`more than ${answerBytesMax} bytes`);
      chunks.push(chunk);
    }
    const body = bytes === 0 ? null : Buffer.concat(chunks);
    return new Response(body, { status: answer.status, headers: answer.headers });
  } catch (err) {
    throw away(`${new URL(url).origin} cannot be asked`, err);
  }
};

/** What the library throws; throws it on where it is the provider that fails, or a defect of ours. */
function refusalOf(err: unknown): Checked<never> {
  const failure = starlingErrorIn(err);
  if (failure !== undefined) throw failure;
  if (err instanceof AuthorizationResponseError) {
    return refuse('provider_refused', 'The identity provider did not let you in');
  }
  if (err instanceof ResponseBodyError || err instanceof WWWAuthenticateChallengeError) {
    return refuse('provider_refused', 'The identity provider did not confirm the sign-in: try again');
  }
  if (!(err instanceof ClientError)) throw err;
  return refuse('provider_refused', 'The answer of the identity provider is not as it must be: try again');
}

/** The library wraps what its `fetch` throws. */
function starlingErrorIn(err: unknown): StarlingError | undefined {
  if (err instanceof StarlingError) return err;
  return err instanceof Error ? starlingErrorIn(err.cause) : undefined;
}

function away(what: string, cause?: unknown): StarlingError {
  return new StarlingError('unavailable', `The identity provider cannot be used: ${what}`, { cause });
}

function isSame(one: string, other: string): boolean {
  const [a, b] = [one, other].map((each) => createHash('sha256').update(each).digest());
  return a !== undefined && b !== undefined && timingSafeEqual(a, b);
}
