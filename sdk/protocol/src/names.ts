/** What channels, events, users and sockets may be called, and what a channel's name says about it. */
import type { Checked } from './errors.ts';
import { limits } from './limits.ts';
import { refuseWire } from './problems/wire.ts';

/**
 * What a channel's name promises. `kind` decides authorisation and presence; `isCache` and `isEncrypted` are
 * independent of it, so that no caller has to list nine kinds.
 */
export interface Channel {
  readonly name: string;
  readonly kind: 'public' | 'private' | 'presence' | 'user';
  readonly isCache: boolean;
  /** End to end: the server passes ciphertext through and can check nothing. */
  readonly isEncrypted: boolean;
}

const userChannelPrefix = '#server-to-user-';
const nameCharacters = /^[A-Za-z0-9_\-=@,.;]+$/;
/** As UTF-8 two such ids would become one. */
const loneSurrogate = /\p{Surrogate}/u;
const reservedEvent = /^(?:pusher|pusher_internal|starling):/;
const socketIdPattern = /^\d{1,20}\.\d{1,20}$/;

// Longest first: `private-cache-` is also `private-`.
const prefixes: ReadonlyArray<readonly [string, Omit<Channel, 'name'>]> = [
  ['private-encrypted-cache-', { kind: 'private', isCache: true, isEncrypted: true }],
  ['private-encrypted-', { kind: 'private', isCache: false, isEncrypted: true }],
  ['private-cache-', { kind: 'private', isCache: true, isEncrypted: false }],
  ['private-', { kind: 'private', isCache: false, isEncrypted: false }],
  ['presence-cache-', { kind: 'presence', isCache: true, isEncrypted: false }],
  ['presence-', { kind: 'presence', isCache: false, isEncrypted: false }],
  ['cache-', { kind: 'public', isCache: true, isEncrypted: false }],
];
const publicChannel = { kind: 'public', isCache: false, isEncrypted: false } as const;

/** Untrusted text to a channel. Refuses with `channel_name_invalid`. */
export function parseChannelName(name: unknown): Checked<Channel> {
  if (typeof name !== 'string' || name === '') {
    return refuseWire('channel_name_invalid', 'The channel name must be a non-empty string');
  }
  if (name.startsWith(userChannelPrefix)) {
    const userId = parseUserId(name.slice(userChannelPrefix.length));
    if (!userId.ok || !nameCharacters.test(userId.value)) {
      return refuseWire(
        'channel_name_invalid',
        `A user channel is "${userChannelPrefix}" and a user id of 1 to ${limits.userIdLength} characters from A-Z a-z 0-9 _ - = @ , . ;`,
      );
    }
    return { ok: true, value: { name, kind: 'user', isCache: false, isEncrypted: false } };
  }
  if (name.length > limits.channelNameLength) {
    return refuseWire(
      'channel_name_invalid',
      `The channel name has ${name.length} characters, the limit is ${limits.channelNameLength}`,
    );
  }
  if (!nameCharacters.test(name)) {
    return refuseWire(
      'channel_name_invalid',
      `The channel name ${quote(name)} may have only the characters A-Z a-z 0-9 _ - = @ , . ;`,
    );
  }
  for (const [prefix, traits] of prefixes) {
    if (name.startsWith(prefix)) return { ok: true, value: { name, ...traits } };
  }
  return { ok: true, value: { name, ...publicChannel } };
}

/** The channel that reaches every connection signed in as this user. */
export function userChannelName(userId: string): string {
  return userChannelPrefix + userId;
}

/** The user id of a channel of kind `user`. */
export function userIdOfChannel(channel: Channel): string {
  return channel.name.slice(userChannelPrefix.length);
}

/** An event name from a backend or a client. Refuses with `event_name_invalid`. */
export function parseEventName(name: unknown): Checked<string> {
  if (typeof name !== 'string' || name === '') {
    return refuseWire('event_name_invalid', 'Expected the event name to be a non-empty string');
  }
  if (name.length > limits.eventNameLength) {
    return refuseWire(
      'event_name_invalid',
      `The event name has ${name.length} characters, the limit is ${limits.eventNameLength}`,
    );
  }
  if (reservedEvent.test(name)) {
    return refuseWire(
      'event_name_invalid',
      'Event names that begin with "pusher:", "pusher_internal:" or "starling:" are reserved',
    );
  }
  return { ok: true, value: name };
}

/** A user id as a string; a safe integer is taken as its decimal digits. Refuses with `user_id_invalid`. */
export function parseUserId(id: unknown): Checked<string> {
  // A larger number has lost digits when it was parsed: two users would be one.
  if (typeof id === 'number' && !Number.isSafeInteger(id)) {
    return refuseWire(
      'user_id_invalid',
      'A user id that is a number must be whole and below 2^53, or digits are lost: send it as a string, in quotes',
    );
  }
  const text = typeof id === 'number' ? String(id) : id;
  if (typeof text !== 'string' || text === '' || text.length > limits.userIdLength || loneSurrogate.test(text)) {
    return refuseWire(
      'user_id_invalid',
      `A user id must be a well-formed string of 1 to ${limits.userIdLength} characters, or a whole number`,
    );
  }
  return { ok: true, value: text };
}

export function isSocketId(text: unknown): text is string {
  return typeof text === 'string' && socketIdPattern.test(text);
}

/** Untrusted text, made safe and short enough to stand in an error message. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text);
}
