/** Pure decisions about who may: signatures compared, members taken from what was signed. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { App, VerifiedToken } from '@starling/ports';
import {
  type Channel,
  type Checked,
  channelSignatureText,
  type Member,
  type Operation,
  parseMember,
  parseUser,
  quote,
  refuse,
  type SigninCommand,
  type SubscribeCommand,
  signinSignatureText,
  splitAuth,
  type User,
  userIdOfChannel,
} from '@starling/protocol';

/** HMAC-SHA256 as lower-case hex: the form of every signature of the protocol. */
export function sign(secret: string, text: string): string {
  return createHmac('sha256', secret).update(text).digest('hex');
}

/** In time that depends on nothing but the lengths: an early exit would tell a guesser how much was right. */
export function isSameText(a: string, b: string): boolean {
  const left = Buffer.from(a);
  const right = Buffer.from(b);
  return left.byteLength === right.byteLength && timingSafeEqual(left, right);
}

/** Checks `KEY:HEX` against the app's enabled keys. `what` stands in the error's text. */
function checkAuth(app: App, auth: string, text: string, what: string): Checked<void> {
  const parts = splitAuth(auth);
  if (parts === null) {
    return refuse('auth_malformed', `Auth value for ${what} is invalid: should be of format "key:signature"`);
  }
  const key = app.keys.find((candidate) => candidate.isEnabled && isSameText(candidate.key, parts.key));
  if (key === undefined) return refuse('auth_key_unknown', `Invalid key in auth for ${what}: ${quote(parts.key)}`);
  if (!isSameText(sign(key.secret, text), parts.signature)) {
    return refuse(
      'auth_signature',
      `Invalid signature for ${what}: expected the HMAC SHA256 hex digest of ${JSON.stringify(text)} with the secret of key ${quote(parts.key)}`,
    );
  }
  return { ok: true, value: undefined };
}

/** What of a session decides whether it may subscribe. */
export interface Subscriber {
  readonly socketId: string;
  readonly user: Member | null;
  readonly token: VerifiedToken | null;
}

/** The membership that the subscribe brings with it; null on channels without presence. */
export function authorizeSubscription(
  app: App,
  subscriber: Subscriber,
  channel: Channel,
  command: SubscribeCommand,
): Checked<Member | null> {
  if (channel.kind === 'public') return { ok: true, value: null };
  if (channel.kind === 'user') {
    if (subscriber.user?.userId !== userIdOfChannel(channel)) return refuse('user_channel_forbidden');
    return { ok: true, value: null };
  }
  const what = `subscription to ${channel.name}`;
  if (command.auth === undefined) {
    if (subscriber.token === null) return refuse('auth_missing', `Auth info required for ${what}`);
    return authorizeByToken(subscriber.token, channel);
  }
  if (command.isChannelDataBroken) {
    return refuse('channel_data_invalid', 'channel_data must be a string: the exact one that was signed');
  }
  const text = channelSignatureText(subscriber.socketId, channel.name, command.channelData);
  const auth = checkAuth(app, command.auth, text, what);
  if (!auth.ok) return auth;
  if (channel.kind === 'private') return { ok: true, value: null };
  if (command.channelData !== undefined) return parseMember(command.channelData);
  return subscriber.user === null ? refuse('user_required') : { ok: true, value: subscriber.user };
}

/** The membership that a token brings to a private or presence channel; null for a private one. */
export function authorizeByToken(token: VerifiedToken, channel: Channel): Checked<Member | null> {
  if (channel.isEncrypted) {
    return refuse(
      'auth_missing',
      `Auth info required for ${channel.name}: no token has the secret of an encrypted channel`,
    );
  }
  const operation = channel.kind === 'presence' ? 'presence' : 'subscribe';
  if (!token.capabilities.allows(operation, channel.name)) return missing(operation, channel.name);
  if (channel.kind !== 'presence') return { ok: true, value: null };
  return token.user === null
    ? refuse('user_required', 'A presence channel needs a token with a "sub"')
    : { ok: true, value: token.user };
}

export function authorizePublish(token: VerifiedToken | null, channels: readonly Channel[]): Checked<null> {
  if (token === null)
    return refuse('capability_missing', 'Publishing over the connection needs a token that allows it');
  for (const { name } of channels) if (!token.capabilities.allows('publish', name)) return missing('publish', name);
  return { ok: true, value: null };
}

function missing(operation: Operation, channel: string) {
  return refuse(
    'capability_missing',
    `The token's cap needs "${operation}" for ${quote(channel)}, or for a pattern such as "${channel.slice(0, 32)}*"`,
  );
}

/** Every refusal is `signin_refused`: the wire has one answer for all of them. */
export function authorizeSignin(app: App, socketId: string, command: SigninCommand): Checked<User> {
  const text = signinSignatureText(socketId, command.userData);
  const auth = checkAuth(app, command.auth, text, 'the sign-in');
  if (!auth.ok) return refuse('signin_refused', auth.refusal.message);
  return parseUser(command.userData);
}
