/** Capability tokens: JWTs that Starling's edges accept in place of an authorisation for each channel. */
import { invalid } from './errors.ts';
import { type Secret, toBase64Url } from './secret.ts';

export type Operation = 'subscribe' | 'publish' | 'presence' | 'history';

/** By channel name, or by its beginning with a `*` behind: `{ 'private-orders-*': ['subscribe'] }`. */
export type Capabilities = Readonly<Record<string, readonly Operation[]>>;

export interface TokenRequest {
  readonly capabilities: Capabilities;
  /** Who bears it: its presence identity, and signed in as this user. */
  readonly userId?: string;
  /** What presence channels show of the user. */
  readonly userInfo?: Readonly<Record<string, unknown>>;
  /** 3,600 unless given, 86,400 at most. */
  readonly expiresInSeconds?: number;
  /** By which this one token can be revoked; a random one unless given. */
  readonly tokenId?: string;
}

const longestSeconds = 86_400;
const encoder = new TextEncoder();

export async function createToken(
  { capabilities, userId, userInfo, expiresInSeconds = 3_600, tokenId = crypto.randomUUID() }: TokenRequest,
  key: string,
  secret: Secret,
  nowMs: number,
): Promise<string> {
  if (!Number.isInteger(expiresInSeconds) || expiresInSeconds < 1 || expiresInSeconds > longestSeconds) {
    throw invalid(`A token lives for 1 to ${longestSeconds} whole seconds, got ${expiresInSeconds}`);
  }
  const iat = Math.floor(nowMs / 1_000);
  const claims = { sub: userId, info: userInfo, cap: capabilities, iat, exp: iat + expiresInSeconds, jti: tokenId };
  const signed = `${encode({ alg: 'HS256', typ: 'JWT', kid: key })}.${encode(claims)}`;
  return `${signed}.${toBase64Url(await secret.digest(signed))}`;
}

function encode(part: object): string {
  return toBase64Url(encoder.encode(JSON.stringify(part)));
}
