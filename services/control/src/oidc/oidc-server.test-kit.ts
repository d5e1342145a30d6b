/** A small identity provider: what it is asked for it does, exactly, unless a test makes it lie. */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Clock } from '@starling/ports';
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';

interface OidcAccount {
  sub: string;
  email?: string;
  email_verified?: boolean | string;
  name?: string;
}

/** What it says otherwise than it should. */
export interface Lies {
  claims?: JWTPayload;
  without?: readonly string[];
  /** `stranger`: a key that is not among those it shows. */
  signedBy?: 'stranger' | 'client-secret' | 'nobody';
  discovery?: Record<string, unknown>;
  tokenStatus?: number;
  callback?: Record<string, string>;
}

export interface OidcServer {
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** Who is signed in there. */
  account: OidcAccount;
  lies: Lies;
  /** Ways of showing the client secret that were used. */
  readonly shown: string[];
  close(): Promise<void>;
}

interface Grant {
  readonly challenge: string;
  readonly nonce: string;
  readonly redirectUri: string;
  readonly account: OidcAccount;
}

export async function startOidcServer(
  clock: Clock,
  redirectUris: readonly string[],
  authMethods?: readonly string[],
): Promise<OidcServer> {
  const [own, stranger] = [await generateKeyPair('ES256'), await generateKeyPair('ES256')];
  const jwk = { ...(await exportJWK(own.publicKey)), kid: 'own', alg: 'ES256', use: 'sig' };
  const grants = new Map<string, Grant>();
  const http = createServer((req, res) => {
    answer(req, res).catch((err: unknown) => res.writeHead(500).end(String(err)));
  });
  await new Promise<void>((listening) => http.listen(0, '127.0.0.1', listening));
  const issuer = `http://127.0.0.1:${(http.address() as AddressInfo).port}/realm`;
  const server: OidcServer = {
    issuer,
    clientId: 'starling client',
    clientSecret: 'secret:with/odd&signs+',
    account: { sub: 'subject-1', email: 'ada@example.com', email_verified: true, name: 'Ada L.' },
    lies: {},
    shown: [],
    close: () => {
      http.closeAllConnections();
      return new Promise((closed) => http.close(() => closed()));
    },
  };
  return server;

  async function answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const url = new URL(req.url ?? '', issuer);
    const json = (status: number, body: object) =>
      res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    switch (`${req.method} ${url.pathname}`) {
      case 'GET /realm/.well-known/openid-configuration':
        return void json(200, {
          issuer,
          authorization_endpoint: `${issuer}/authorize?prompt=login`,
          token_endpoint: `${issuer}/token`,
          jwks_uri: `${issuer}/jwks`,
          ...(authMethods === undefined ? {} : { token_endpoint_auth_methods_supported: authMethods }),
          ...server.lies.discovery,
        });
      case 'GET /realm/jwks':
        return void json(200, { keys: [jwk] });
      case 'GET /realm/authorize':
        return void authorize(url.searchParams, res);
      case 'POST /realm/token': {
        if (server.lies.tokenStatus !== undefined) return void json(server.lies.tokenStatus, { error: 'server_error' });
        const idToken = await exchange(req, new URLSearchParams(await textOf(req)));
        return void (idToken === undefined
          ? json(400, { error: 'invalid_grant' })
          : json(200, { access_token: randomUUID(), token_type: 'Bearer', id_token: idToken }));
      }
      default:
        return void json(404, {});
    }
  }

  function authorize(asked: URLSearchParams, res: ServerResponse): void {
    const redirectUri = asked.get('redirect_uri') ?? '';
    const isRight =
      redirectUris.includes(redirectUri) &&
      asked.get('client_id') === server.clientId &&
      asked.get('response_type') === 'code' &&
      asked.get('scope')?.split(' ').includes('openid') === true &&
      asked.get('code_challenge_method') === 'S256' &&
      // What was in the endpoint's own query is kept.
      asked.get('prompt') === 'login';
    if (!isRight) return void res.writeHead(400).end(`Not as registered: ${asked}`);
    const code = randomBytes(16).toString('hex');
    grants.set(code, {
      challenge: asked.get('code_challenge') ?? '',
      nonce: asked.get('nonce') ?? '',
      redirectUri,
      account: { ...server.account },
    });
    const back = new URL(redirectUri);
    const given = { code, state: asked.get('state') ?? '', iss: issuer, ...server.lies.callback };
    for (const [name, value] of Object.entries(given)) back.searchParams.set(name, value);
    res.writeHead(302, { location: back.href }).end();
  }

  async function exchange(req: IncomingMessage, form: URLSearchParams): Promise<string | undefined> {
    const code = form.get('code') ?? '';
    const grant = grants.get(code);
    grants.delete(code);
    const [, pair] = /^Basic (.+)$/.exec(req.headers.authorization ?? '') ?? [];
    const [id, secret] =
      pair === undefined
        ? [form.get('client_id'), form.get('client_secret')]
        : Buffer.from(pair, 'base64').toString().split(':').map(decodeURIComponent);
    server.shown.push(pair === undefined ? 'client_secret_post' : 'client_secret_basic');
    const digest = createHash('sha256')
      .update(form.get('code_verifier') ?? '')
      .digest('base64url');
    const isRight =
      grant !== undefined &&
      id === server.clientId &&
      secret === server.clientSecret &&
      form.get('grant_type') === 'authorization_code' &&
      form.get('redirect_uri') === grant.redirectUri &&
      digest === grant.challenge;
    return isRight ? idTokenOf(grant) : undefined;
  }

  async function idTokenOf({ nonce, account }: Grant): Promise<string> {
    const { claims: changed = {}, without = [], signedBy } = server.lies;
    const now = Math.floor(clock.now() / 1_000);
    const claims: JWTPayload = {
      iss: issuer,
      aud: server.clientId,
      iat: now,
      exp: now + 300,
      nonce,
      ...account,
      ...changed,
    };
    for (const name of without) delete claims[name];
    if (signedBy === 'nobody') {
      const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
      return `${part({ alg: 'none' })}.${part(claims)}.`;
    }
    if (signedBy === 'client-secret') {
      return new SignJWT(claims)
        .setProtectedHeader({ alg: 'HS256' })
        .sign(createHash('sha256').update(server.clientSecret).digest());
    }
    const { privateKey } = signedBy === 'stranger' ? stranger : own;
    return new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: 'own' }).sign(privateKey);
  }
}

async function textOf(req: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of req) text += chunk;
  return text;
}
