/** Decides whether a request to the HTTP API was signed by a key of the app that its path names. */
import { hash } from 'node:crypto';
import type { App, AppStore, WallMs } from '@starling/ports';
import { type Checked, limits, quote, refuse, requestSignatureText } from '@starling/protocol';
import { isSameText, sign } from './authorize.ts';

/** A request as it came over the network. Its signature covers bytes: nothing here may be decoded or normalised before. */
export interface SignedRequest {
  readonly method: string;
  /** The request target in origin form: path and query, undecoded, with the prefix if the client sent one. */
  readonly url: string;
  /** Whether the headers announce a body that is not empty. False where only its arrival will tell. */
  readonly hasBody: boolean;
  /** The app id in the path, decoded. */
  readonly appId: string | undefined;
  /** Where the API is mounted, such as `/realtime`; empty at the root. */
  readonly pathPrefix: string;
}

export interface AuthenticatedRequest {
  readonly app: App;
  /** Decoded, names in lower case, the first value of a repeated name; what the signature covers and nothing else. */
  readonly query: ReadonlyMap<string, string>;
}

type Pairs = ReadonlyArray<readonly [name: string, value: string]>;

const emptyMd5 = hash('md5', '');
const requiredNames = ['auth_key', 'auth_timestamp', 'auth_version', 'auth_signature'] as const;

/**
 * Refuses with `request_unauthenticated`, `auth_key_unknown`, `auth_signature`, `app_id_unknown` or `app_disabled`.
 * Cheap checks come before the digest of the URL. Everything is in the query, so it is decided before a byte of the body is
 * read: a stranger cannot make the server hold or hash megabytes. `checkBody` must follow when the body is there.
 */
export async function authenticateRequest(
  appStore: Pick<AppStore, 'byKey' | 'byId'>,
  request: SignedRequest,
  nowMs: WallMs,
): Promise<Checked<AuthenticatedRequest>> {
  const mark = request.url.indexOf('?');
  const path = mark < 0 ? request.url : request.url.slice(0, mark);
  const rawQuery = mark < 0 ? '' : request.url.slice(mark + 1);

  const pairs = percentDecoded(rawQuery);
  const stated = toMap(pairs);
  const fresh = checkStated(stated, request.hasBody, nowMs);
  if (!fresh.ok) return fresh;
  const { key: keyText, signature } = fresh.value;

  const app = await appStore.byKey(keyText);
  const key = app?.keys.find((candidate) => candidate.key === keyText);
  if (app === undefined || key === undefined) {
    return refuse('auth_key_unknown', `No app has the key ${quote(keyText)} given as auth_key`);
  }
  if (!key.isEnabled) return refuse('auth_key_unknown', `The key ${quote(keyText)} given as auth_key is disabled`);

  const paths = pathCandidates(path, request.pathPrefix);
  const isSigned = (candidate: Pairs): boolean =>
    paths.some((each) =>
      isSameText(sign(key.secret, requestSignatureText(request.method, each, candidate)), signature),
    );
  const meant = findReading(rawQuery, pairs, isSigned);
  if (meant === null) {
    const text = requestSignatureText(request.method, path, pairs);
    return refuse(
      'auth_signature',
      `Invalid signature: auth_signature should be the HMAC SHA256 hex digest of ${JSON.stringify(text)} with the secret of key ${quote(keyText)}`,
    );
  }

  // Only now: who holds no secret of ours is not told which app ids exist or which apps are disabled.
  if (app.id !== request.appId) {
    const appId = quote(request.appId ?? '');
    if (request.appId === undefined || (await appStore.byId(request.appId)) === undefined) {
      return refuse('app_id_unknown', `No app has the id ${appId}`);
    }
    return refuse('request_unauthenticated', `The key ${quote(keyText)} is not a key of the app with the id ${appId}`);
  }
  if (!app.isEnabled) return refuse('app_disabled');
  return { ok: true, value: { app, query: meant === pairs ? stated : toMap(meant) } };
}

/** Whether the body is the one whose digest was signed. Refuses with `request_unauthenticated`. */
export function checkBody({ query }: AuthenticatedRequest, body: Uint8Array): Checked<undefined> {
  const stated = query.get('body_md5');
  if (stated === undefined) {
    return body.byteLength === 0 ? bodyIsRight : refuse('request_unauthenticated', lacks(['body_md5']));
  }
  const actual = body.byteLength === 0 ? emptyMd5 : hash('md5', body);
  if (stated === actual) return bodyIsRight;
  return refuse(
    'request_unauthenticated',
    `body_md5 is ${quote(stated)}, but the body that arrived has ${body.byteLength} bytes and the MD5 ${actual}`,
  );
}

const bodyIsRight = { ok: true, value: undefined } as const;

function lacks(missing: readonly string[]): string {
  return `The query lacks ${missing.join(', ')}. Every request needs ${requiredNames.join(', ')}, and body_md5 when it has a body`;
}

/** Everything that can be said without a secret: what must be there is there, and the time is near ours. */
function checkStated(
  stated: ReadonlyMap<string, string>,
  hasBody: boolean,
  nowMs: WallMs,
): Checked<{ readonly key: string; readonly signature: string }> {
  const missing: string[] = requiredNames.filter((name) => !stated.get(name));
  if (hasBody && !stated.has('body_md5')) missing.push('body_md5');
  const key = stated.get('auth_key');
  const signature = stated.get('auth_signature');
  if (missing.length > 0 || key === undefined || signature === undefined) {
    return refuse('request_unauthenticated', lacks(missing));
  }
  const version = stated.get('auth_version') ?? '';
  if (version !== '1.0') {
    return refuse('request_unauthenticated', `auth_version is ${quote(version)}, the only one supported is "1.0"`);
  }
  const timestamp = stated.get('auth_timestamp') ?? '';
  if (!/^\d{1,12}$/.test(timestamp)) {
    return refuse(
      'request_unauthenticated',
      `auth_timestamp is ${quote(timestamp)}, expected whole seconds since 1970 such as ${Math.floor(nowMs / 1000)}`,
    );
  }
  if (Math.abs(Math.floor(nowMs / 1000) - Number(timestamp)) > limits.timestampSkewSeconds) {
    const given = new Date(Number(timestamp) * 1000).toISOString();
    const ours = new Date(nowMs).toISOString();
    return refuse(
      'request_unauthenticated',
      `Timestamp expired: given timestamp (${given}) not within ${limits.timestampSkewSeconds}s of server time (${ours})`,
    );
  }
  return { ok: true, value: { key, signature } };
}

/**
 * The parameters as the client meant them, or null when the signature fits no reading. SDKs disagree about what they
 * sign: node and Go write values raw into the URL and sign them raw, PHP percent-encodes and signs decoded, Python and
 * Ruby form-encode and sign decoded, and PHP leaves a path prefix out of what it signs. The usual request has nothing
 * to decode: then there is one reading and one digest.
 */
function findReading(rawQuery: string, decoded: Pairs, isSigned: (pairs: Pairs) => boolean): Pairs | null {
  if (isSigned(decoded)) return decoded;
  if (rawQuery.includes('+')) {
    const formDecoded = percentDecoded(rawQuery.replaceAll('+', ' '));
    if (isSigned(formDecoded)) return formDecoded;
  }
  // Signed as encoded: still meant as decoded.
  if (rawQuery.includes('%') && isSigned(split(rawQuery))) return decoded;
  return null;
}

/** As received first: it is what nearly everyone signs. */
function pathCandidates(path: string, prefix: string): readonly string[] {
  const candidates = [path];
  if (prefix !== '') {
    const bare = path.startsWith(`${prefix}/`) ? path.slice(prefix.length) : path;
    candidates.push(bare, prefix + bare);
  }
  if (path.includes('%')) candidates.push(...candidates.map(decode));
  return candidates.length === 1 ? candidates : [...new Set(candidates)];
}

function split(rawQuery: string): Array<[name: string, value: string]> {
  if (rawQuery === '') return [];
  return rawQuery.split('&').map((pair) => {
    const equals = pair.indexOf('=');
    return equals < 0 ? [pair, ''] : [pair.slice(0, equals), pair.slice(equals + 1)];
  });
}

function percentDecoded(rawQuery: string): Pairs {
  const pairs = split(rawQuery);
  return rawQuery.includes('%') ? pairs.map(([name, value]) => [decode(name), decode(value)]) : pairs;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // Not percent-encoded after all: a raw value with a percent sign in it.
    return text;
  }
}

function toMap(pairs: Pairs): ReadonlyMap<string, string> {
  const map = new Map<string, string>();
  for (const [name, value] of pairs) {
    const lower = name.toLowerCase();
    if (!map.has(lower)) map.set(lower, value);
  }
  return map;
}
