/** Capability tokens: what a JWT's claims say, once its signature is known to hold. */
import { type Checked, refuse } from './errors.ts';
import { limits } from './limits.ts';
import { type Member, parseUserInfo } from './members.ts';
import { parseUserId, quote } from './names.ts';
import { refuseWire } from './problems/wire.ts';

/** `subscribe` is of private channels, `presence` of presence channels. `history` is kept for later. */
export type Operation = 'subscribe' | 'publish' | 'presence' | 'history';

const operations: readonly string[] = ['subscribe', 'publish', 'presence', 'history'] satisfies readonly Operation[];

export interface Claims {
  /** From `sub` and `info`; null when the token is nobody's. */
  readonly user: Member | null;
  readonly capabilities: Capabilities;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  /** `jti`, by which this token alone can be revoked. */
  readonly tokenId: string | null;
}

interface Reach {
  readonly names: Set<string>;
  readonly prefixes: string[];
}

/** `cap`, made ready to be asked. */
export class Capabilities {
  /** As the token has it: JSON of an object of arrays. */
  readonly json: string;
  readonly #reach = new Map<string, Reach>();

  /** What `parseCapabilities` has checked. */
  constructor(cap: Readonly<Record<string, readonly string[]>>) {
    this.json = JSON.stringify(cap);
    for (const [pattern, allowed] of Object.entries(cap)) {
      for (const operation of allowed) {
        let reach = this.#reach.get(operation);
        if (reach === undefined) {
          reach = { names: new Set(), prefixes: [] };
          this.#reach.set(operation, reach);
        }
        if (pattern.endsWith('*')) reach.prefixes.push(pattern.slice(0, -1));
        else reach.names.add(pattern);
      }
    }
  }

  /** Whether there is any channel for it. */
  has(operation: Operation): boolean {
    return this.#reach.has(operation);
  }

  allows(operation: Operation, channel: string): boolean {
    const reach = this.#reach.get(operation);
    if (reach === undefined) return false;
    if (reach.names.has(channel)) return true;
    // A bare `*` is every channel, but to write to any user one must have been given that by name.
    return reach.prefixes.some((prefix) => (prefix === '' ? !channel.startsWith('#') : channel.startsWith(prefix)));
  }
}

/** The `cap` claim. Refuses with `token_invalid`. */
export function parseCapabilities(cap: unknown): Checked<Capabilities> {
  if (!isObject(cap)) {
    return refuseWire(
      'token_invalid',
      'The token needs a claim "cap", an object such as {"private-orders-*":["subscribe"]}',
    );
  }
  const entries = Object.entries(cap);
  if (entries.length > limits.tokenPatterns) {
    return refuseWire('token_invalid', `cap has ${entries.length} patterns, the limit is ${limits.tokenPatterns}`);
  }
  for (const [pattern, allowed] of entries) {
    if (pattern === '' || pattern.length > limits.channelNameLength) {
      return refuseWire('token_invalid', `cap: a pattern has 1 to ${limits.channelNameLength} characters`);
    }
    if (!Array.isArray(allowed) || !allowed.every((each) => operations.includes(each))) {
      return refuseWire('token_invalid', `cap: ${quote(pattern)} must be an array of ${operations.join(', ')}`);
    }
  }
  return { ok: true, value: new Capabilities(cap as Record<string, string[]>) };
}

/**
 * The payload of a token whose signature holds, at this moment. Refuses with `token_expired`, or `token_invalid` and a
 * text that names the claim.
 */
export function parseClaims(payload: unknown, nowMs: number): Checked<Claims> {
  if (!isObject(payload)) return refuseWire('token_invalid', 'The payload of the token is not a JSON object');
  const { exp, iat, nbf, sub, info, jti } = payload;
  if (!isTime(exp) || !isTime(iat) || (nbf !== undefined && !isTime(nbf))) {
    return refuseWire('token_invalid', 'The token needs "exp" and "iat", seconds since 1970 as numbers');
  }
  // The machine that minted it may be a little ahead of this one.
  const latest = nowMs / 1_000 + limits.tokenSkewSeconds;
  if (iat > latest || (nbf !== undefined && nbf > latest)) {
    const aheadSeconds = Math.ceil(Math.max(iat, nbf ?? iat) - nowMs / 1_000);
    return refuseWire('token_invalid', `The token begins ${aheadSeconds} s from now by the server's clock`);
  }
  if (exp - iat > limits.tokenLifetimeSeconds) {
    return refuseWire('token_invalid', `The token lives longer than ${limits.tokenLifetimeSeconds} s from its iat`);
  }
  if (exp * 1_000 <= nowMs) return refuseWire('token_expired');

  const user = parseTokenUser(sub, info);
  if (!user.ok) return user;
  const tokenId = jti === undefined || jti === null ? ({ ok: true, value: null } as const) : parseTokenId(jti);
  if (!tokenId.ok) return refuseWire('token_invalid', `jti: ${tokenId.refusal.message}`);
  const capabilities = parseCapabilities(payload['cap']);
  if (!capabilities.ok) return capabilities;
  return {
    ok: true,
    value: {
      user: user.value,
      capabilities: capabilities.value,
      issuedAtMs: iat * 1_000,
      expiresAtMs: exp * 1_000,
      tokenId: tokenId.value,
    },
  };
}

function parseTokenUser(sub: unknown, info: unknown): Checked<Member | null> {
  if (sub === undefined || sub === null) {
    return info === undefined || info === null
      ? { ok: true, value: null }
      : refuseWire('token_invalid', 'The token has "info" and no "sub" whose it could be');
  }
  const userId = typeof sub === 'string' ? parseUserId(sub) : refuseWire('user_id_invalid');
  if (!userId.ok) return refuseWire('token_invalid', `sub must be a string of 1 to ${limits.userIdLength} characters`);
  const userInfo = parseUserInfo(info);
  if (!userInfo.ok) return refuseWire('token_invalid', `info: ${userInfo.refusal.message}`);
  return { ok: true, value: { userId: userId.value, userInfo: userInfo.value } };
}

/** A `jti`. Refuses with `request_malformed`. */
export function parseTokenId(id: unknown): Checked<string> {
  if (typeof id === 'string' && id !== '' && id.length <= limits.tokenIdLength) return { ok: true, value: id };
  return refuse('request_malformed', `A token id is a string of 1 to ${limits.tokenIdLength} characters`);
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
