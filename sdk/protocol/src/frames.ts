/** Text frames: what a client may say, decoded once; what the server says, encoded once. */
import { type Checked, type LimitState, type ProblemCode, problems, type Refusal, refuse } from './errors.ts';
import { limits } from './limits.ts';
import { parseEventName, parseUserId, quote } from './names.ts';
import { isNestedDeeper } from './nesting.ts';

// ── From the client ──────────────────────────────────────────────────────────────────────────────────────────────

export interface SubscribeCommand {
  readonly type: 'subscribe';
  /** Not yet checked: the refusal must name it. */
  readonly channel: string;
  readonly auth: string | undefined;
  /** The exact string that was signed. */
  readonly channelData: string | undefined;
  /** Given, but not as a string: whoever needs it must refuse. */
  readonly isChannelDataBroken: boolean;
}
export interface UnsubscribeCommand {
  readonly type: 'unsubscribe';
  readonly channel: string;
}
export interface SigninCommand {
  readonly type: 'signin';
  readonly auth: string;
  /** The exact string that was signed. */
  readonly userData: string;
}
export interface ClientEventCommand {
  readonly type: 'client-event';
  readonly event: string;
  readonly channel: string;
  /** As it goes out: a string stays itself, anything else has become JSON. */
  readonly data: string;
}
/** A capability token, in place of the one in force. */
export interface AuthCommand {
  readonly type: 'auth';
  /** Undefined when none was given: the refusal must not close the connection. */
  readonly token: string | undefined;
}
export interface SocketPublishCommand {
  readonly type: 'publish';
  /** The client's name for it, given back with the answer. */
  readonly id: string;
  /** `channels`, `name`, `data`, `socket_id`: not yet checked. */
  readonly fields: Readonly<Record<string, unknown>>;
}
export type ClientCommand =
  | { readonly type: 'ping' }
  | { readonly type: 'pong' }
  | SubscribeCommand
  | UnsubscribeCommand
  | SigninCommand
  | ClientEventCommand
  | AuthCommand
  | SocketPublishCommand;

/**
 * One inbound text frame. Refuses with `frame_malformed`, `event_unsupported`, `event_name_invalid` or
 * `client_event_malformed`; never throws, whatever the text.
 */
export function decodeCommand(text: string): Checked<ClientCommand> {
  const frame = parseJson(text);
  if (!isObject(frame)) return refuse('frame_malformed', faultOf(text));
  const event = frame['event'];
  if (typeof event !== 'string') return refuse('frame_malformed');
  switch (event) {
    case 'pusher:ping':
      return { ok: true, value: { type: 'ping' } };
    case 'pusher:pong':
      return { ok: true, value: { type: 'pong' } };
    case 'pusher:subscribe': {
      const data = dataObject(frame['data']);
      if (data === null || typeof data['channel'] !== 'string') {
        return refuseData(frame, 'frame_malformed', 'pusher:subscribe needs data with a string "channel"');
      }
      // Clients send "" or null for public channels; a wrong type is as good as none.
      const auth = typeof data['auth'] === 'string' && data['auth'] !== '' ? data['auth'] : undefined;
      const channelData = data['channel_data'];
      const isText = typeof channelData === 'string';
      return {
        ok: true,
        value: {
          type: 'subscribe',
          channel: data['channel'],
          auth,
          channelData: isText ? channelData : undefined,
          isChannelDataBroken: !isText && channelData !== undefined && channelData !== null,
        },
      };
    }
    case 'pusher:unsubscribe': {
      const data = dataObject(frame['data']);
      if (data === null || typeof data['channel'] !== 'string') {
        return refuseData(frame, 'frame_malformed', 'pusher:unsubscribe needs data with a string "channel"');
      }
      return { ok: true, value: { type: 'unsubscribe', channel: data['channel'] } };
    }
    case 'pusher:signin': {
      const data = dataObject(frame['data']);
      if (data === null || typeof data['auth'] !== 'string' || typeof data['user_data'] !== 'string') {
        return refuseData(frame, 'signin_refused', 'pusher:signin needs data with strings "auth" and "user_data"');
      }
      return { ok: true, value: { type: 'signin', auth: data['auth'], userData: data['user_data'] } };
    }
    case 'starling:publish': {
      const data = dataObject(frame['data']);
      const id = data?.['id'];
      if (data === null || typeof id !== 'string' || id === '' || id.length > limits.publishIdLength) {
        return refuseData(
          frame,
          'frame_malformed',
          `starling:publish needs data with an "id" of 1 to ${limits.publishIdLength} characters`,
        );
      }
      return { ok: true, value: { type: 'publish', id, fields: data } };
    }
    case 'starling:auth': {
      const token = dataObject(frame['data'])?.['token'];
      return { ok: true, value: { type: 'auth', token: typeof token === 'string' ? token : undefined } };
    }
    default:
      return decodeClientEvent(event, frame);
  }
}

function decodeClientEvent(event: string, frame: Record<string, unknown>): Checked<ClientEventCommand> {
  if (!event.startsWith('client-')) {
    return refuse('event_unsupported', `Unsupported event received on socket: ${quote(event)}`);
  }
  const name = parseEventName(event);
  if (!name.ok) return name;
  const channel = frame['channel'];
  const data = frame['data'];
  if (typeof channel !== 'string' || data === undefined) return refuse('client_event_malformed');
  const text = typeof data === 'string' ? data : JSON.stringify(data);
  return { ok: true, value: { type: 'client-event', event, channel, data: text } };
}

// ── What subscribers and users say of themselves ─────────────────────────────────────────────────────────────────

export interface Member {
  readonly userId: string;
  /** JSON text of an object, or `null`: it is only ever passed on, so it stays text. */
  readonly userInfo: string;
}

/** `channel_data` of a presence subscribe. Refuses with `channel_data_invalid`. */
export function parseMember(channelData: string): Checked<Member> {
  const data = parseJson(channelData);
  if (!isObject(data)) {
    return refuse(
      'channel_data_invalid',
      faultOf(channelData, 'channel_data must be a JSON object with a user_id', 'channel_data'),
    );
  }
  const userId = parseUserId(data['user_id']);
  if (!userId.ok) return refuse('channel_data_invalid', `channel_data: ${userId.refusal.message}`);
  return withUserInfo(userId.value, data['user_info']);
}

export interface User extends Member {
  /** Distinct user ids, in the order given; not yet cut to the limit. */
  readonly watchlist: readonly string[];
}

/** `user_data` of a sign-in. Refuses with `signin_refused`. */
export function parseUser(userData: string): Checked<User> {
  const data = parseJson(userData);
  if (!isObject(data)) {
    return refuse(
      'signin_refused',
      faultOf(userData, 'user_data must be a JSON object with a string "id"', 'user_data'),
    );
  }
  const id = typeof data['id'] === 'string' ? parseUserId(data['id']) : refuse('user_id_invalid');
  if (!id.ok) {
    return refuse('signin_refused', `user_data: "id" must be a string of 1 to ${limits.userIdLength} characters`);
  }
  const member = withUserInfo(id.value, data['user_info']);
  if (!member.ok) return refuse('signin_refused', `user_data: ${member.refusal.message}`);
  const watchlist = data['watchlist'] ?? [];
  if (!Array.isArray(watchlist) || !watchlist.every((entry) => typeof entry === 'string' && parseUserId(entry).ok)) {
    return refuse('signin_refused', 'user_data: "watchlist" must be an array of user ids as strings');
  }
  return { ok: true, value: { ...member.value, watchlist: [...new Set(watchlist as string[])] } };
}

function withUserInfo(userId: string, info: unknown): Checked<Member> {
  const userInfo = parseUserInfo(info);
  if (userInfo.ok) return { ok: true, value: { userId, userInfo: userInfo.value } };
  return refuse('channel_data_invalid', `user_info ${userInfo.refusal.message}`);
}

/** What a member is shown with, as JSON text. Refuses with `channel_data_invalid`, its text without a subject. */
export function parseUserInfo(info: unknown): Checked<string> {
  if (info === undefined || info === null) return { ok: true, value: 'null' };
  if (!isObject(info)) return refuse('channel_data_invalid', 'must be an object');
  const userInfo = stringifyJson(info);
  if (userInfo === null || utf8Length(userInfo) > limits.userInfoBytes) {
    return refuse('channel_data_invalid', `is limited to ${limits.userInfoBytes} bytes of JSON`);
  }
  return { ok: true, value: userInfo };
}

// ── To the client ────────────────────────────────────────────────────────────────────────────────────────────────
// Built by hand around JSON.stringify of the parts: one pass, and the doubly encoded data stays visible.

const json = JSON.stringify as (text: string) => string;

export function encodeConnectionEstablished(socketId: string, activityTimeoutSeconds: number): string {
  const data = `{"socket_id":"${socketId}","activity_timeout":${activityTimeoutSeconds}}`;
  return `{"event":"pusher:connection_established","data":${json(data)}}`;
}

/** `data` is an object here, and only here: some clients drop the error when it is a string. */
export function encodeError(code: number | null, message: string): string {
  return `{"event":"pusher:error","data":{"code":${code},"message":${json(message)}}}`;
}

export const pingFrame = '{"event":"pusher:ping","data":{}}';
export const pongFrame = '{"event":"pusher:pong","data":{}}';

/** An app's event; `data` verbatim. `userId` only for client events on presence channels. */
export function encodeEvent(event: string, channel: string, data: string, userId?: string): string {
  const head = `{"event":${json(event)},"channel":${json(channel)},"data":${json(data)}`;
  return userId === undefined ? `${head}}` : `${head},"user_id":${json(userId)}}`;
}

const internal = (event: string, channel: string, data: string): string =>
  `{"event":"pusher_internal:${event}","channel":${json(channel)},"data":${json(data)}}`;

/** `members`: those present, the subscriber among them; undefined for channels without presence. */
export function encodeSubscriptionSucceeded(channel: string, members?: readonly Member[]): string {
  if (members === undefined) return internal('subscription_succeeded', channel, '{}');
  const ids = members.map((member) => json(member.userId));
  const hash = members.map((member, index) => `${ids[index]}:${member.userInfo}`);
  const presence = `{"presence":{"ids":[${ids}],"hash":{${hash}},"count":${members.length}}}`;
  return internal('subscription_succeeded', channel, presence);
}

/** Two frames that say the same: the first for pusher-js, Java and Swift, the second for .NET. */
export function encodeSubscriptionError(
  channel: string,
  error: { readonly type: string; readonly error: string; readonly status: number; readonly limit?: LimitState },
): readonly [string, string] {
  const data = `{"type":${json(error.type)},"error":${json(error.error)},"status":${error.status}${limitMember(error.limit)}}`;
  return [
    `{"event":"pusher:subscription_error","channel":${json(channel)},"data":${data}}`,
    internal('subscription_error', channel, data),
  ];
}

export function encodeMemberAdded(channel: string, member: Member): string {
  return internal('member_added', channel, `{"user_id":${json(member.userId)},"user_info":${member.userInfo}}`);
}

export function encodeMemberRemoved(channel: string, userId: string): string {
  return internal('member_removed', channel, `{"user_id":${json(userId)}}`);
}

export function encodeSubscriptionCount(channel: string, count: number): string {
  return internal('subscription_count', channel, `{"subscription_count":${count}}`);
}

export function encodeCacheMiss(channel: string): string {
  return `{"event":"pusher:cache_miss","channel":${json(channel)},"data":"{}"}`;
}

export function encodeSigninSuccess(userData: string): string {
  return `{"event":"pusher:signin_success","data":${json(`{"user_data":${json(userData)}}`)}}`;
}

/** `capabilities`: JSON of an object. */
export function encodeAuthSuccess(userId: string | null, expiresInSeconds: number, capabilities: string): string {
  const user = userId === null ? 'null' : json(userId);
  const data = `{"user_id":${user},"expires_in":${expiresInSeconds},"capabilities":${capabilities}}`;
  return `{"event":"starling:auth_success","data":${json(data)}}`;
}

export function encodeAuthError({ code, message }: Refusal): string {
  return `{"event":"starling:auth_error","data":${json(`{"code":"${code}","message":${json(message)}}`)}}`;
}

export function encodePublishAck(id: string): string {
  return `{"event":"starling:publish_ack","data":${json(`{"id":${json(id)}}`)}}`;
}

/** `retryAfterSeconds`: only where the same publish may succeed later; a limit knows it by itself. */
export function encodePublishError(
  id: string,
  { code, message, limit }: Refusal,
  retryAfterSeconds: number | null = limit?.reset ?? null,
): string {
  const retry = retryAfterSeconds === null ? '' : `,"retry_after":${retryAfterSeconds}`;
  const data = `{"id":${json(id)},"code":"${code}","message":${json(message)}${retry}${limitMember(limit)}}`;
  return `{"event":"starling:publish_error","data":${json(data)}}`;
}

function limitMember(state: LimitState | undefined): string {
  return state === undefined ? '' : `,"limit":${JSON.stringify(state)}`;
}

/** An empty list is left out; null when both are empty. */
export function encodeWatchlistEvents(online: readonly string[], offline: readonly string[]): string | null {
  const events = [
    ...(online.length > 0 ? [{ name: 'online', user_ids: online }] : []),
    ...(offline.length > 0 ? [{ name: 'offline', user_ids: offline }] : []),
  ];
  if (events.length === 0) return null;
  return `{"event":"pusher_internal:watchlist_events","data":${json(JSON.stringify({ events }))}}`;
}

// ── JSON, guarded ────────────────────────────────────────────────────────────────────────────────────────────────

/** Undefined for text that is not JSON, and for what is nested too deeply: no JSON text parses to undefined. */
function parseJson(text: string, depth: number = limits.jsonDepth): unknown {
  if (isNestedDeeper(text, depth)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    // The only fault JSON.parse has is "this is not JSON", which is what undefined says.
    return undefined;
  }
}

/** Of `data` given as a string: it stands one deep in its frame, as the object itself would. */
const dataDepth = limits.jsonDepth - 1;

/** Why the text of JSON was not taken: nested too deeply, or else what is said of it otherwise. */
function faultOf(
  text: string,
  otherwise: string = problems.frame_malformed.text,
  what = 'A frame',
  depth: number = limits.jsonDepth,
): string {
  if (!isNestedDeeper(text, depth)) return otherwise;
  return `${what} nests arrays and objects at most ${limits.jsonDepth} deep`;
}

/** Null when the value is nested deeper than the stack: JSON.parse takes what JSON.stringify cannot give back. */
function stringifyJson(value: unknown): string | null {
  try {
    return JSON.stringify(value);
  } catch {
    return null;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `data` of a `pusher:` command: an object, or a string of JSON that holds one. */
function dataObject(data: unknown): Record<string, unknown> | null {
  const value = typeof data === 'string' ? parseJson(data, dataDepth) : data;
  return isObject(value) ? value : null;
}

function refuseData(frame: Record<string, unknown>, code: ProblemCode, otherwise: string): Checked<never> {
  const { data } = frame;
  const isTooDeep = typeof data === 'string' && isNestedDeeper(data, dataDepth);
  return isTooDeep
    ? refuse('frame_malformed', faultOf(data, otherwise, 'A frame', dataDepth))
    : refuse(code, otherwise);
}

/** Bytes of the text in UTF-8. A lone surrogate counts as the replacement character it would become. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit < 0x80) continue;
    if (unit < 0x800) bytes += 1;
    else if (unit >= 0xd800 && unit < 0xdc00 && (text.charCodeAt(index + 1) & 0xfc00) === 0xdc00) {
      bytes += 2;
      index++;
    } else bytes += 2;
  }
  return bytes;
}
