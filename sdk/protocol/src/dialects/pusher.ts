/** The dialect of Pusher's clients: text frames of JSON, as PP7 has them. */
import type { ClientCommand, ClientEventCommand } from '../commands.ts';
import { type Checked, type LimitState, type ProblemCode, problems, type Refusal } from '../errors.ts';
import { faultOf, isObject, parseJson } from '../json.ts';
import { limits } from '../limits.ts';
import type { Member } from '../members.ts';
import { parseEventName, quote } from '../names.ts';
import { isNestedDeeper } from '../nesting.ts';
import { refuseWire, type WireProblemCode } from '../problems/wire.ts';
import type { AppEvent, ServerEvent, SubscriptionCountEvent } from '../server-events.ts';
import type { Dialect } from './dialect.ts';

export const pusherDialect: Dialect = { name: 'pusher', decode: decodeCommand, encode };

// ── From the client ──────────────────────────────────────────────────────────────────────────────────────────────

/**
 * One inbound text frame. Refuses with `frame_malformed`, `event_unsupported`, `event_name_invalid` or
 * `client_event_malformed`; never throws, whatever the text.
 */
export function decodeCommand(text: string): Checked<ClientCommand> {
  const frame = parseJson(text);
  if (!isObject(frame)) return refuseWire('frame_malformed', faultOf(text));
  const event = frame['event'];
  if (typeof event !== 'string') return refuseWire('frame_malformed');
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
    return refuseWire('event_unsupported', `Unsupported event received on socket: ${quote(event)}`);
  }
  const name = parseEventName(event);
  if (!name.ok) return name;
  const channel = frame['channel'];
  const data = frame['data'];
  if (typeof channel !== 'string' || data === undefined) return refuseWire('client_event_malformed');
  const text = typeof data === 'string' ? data : JSON.stringify(data);
  return { ok: true, value: { type: 'client-event', event, channel, data: text } };
}

// ── To the client ────────────────────────────────────────────────────────────────────────────────────────────────
function encode(event: ServerEvent): readonly string[] {
  switch (event.type) {
    case 'established':
      return [encodeConnectionEstablished(event.socketId, event.activityTimeoutSeconds)];
    case 'refused':
      return [encodeError(problems[event.refusal.code].number, event.refusal.message)];
    case 'ping':
      return [pingFrame];
    case 'pong':
      return [pongFrame];
    case 'subscribed':
      return [encodeSubscriptionSucceeded(event.channel, event.members)];
    case 'subscription-refused':
      return encodeSubscriptionRefused(event.channel, event.refusal);
    case 'event':
      return [encodeEvent(event.event, event.channel, event.data, event.userId)];
    case 'member-added':
      return [encodeMemberAdded(event.channel, event.member)];
    case 'member-removed':
      return [encodeMemberRemoved(event.channel, event.userId)];
    case 'subscription-count':
      return [encodeSubscriptionCount(event.channel, event.count)];
    case 'cache-miss':
      return [encodeCacheMiss(event.channel)];
    case 'signed-in':
      return [encodeSigninSuccess(event.userData)];
    case 'token-accepted':
      return [encodeAuthSuccess(event.userId, event.expiresInSeconds, event.capabilities)];
    case 'token-refused':
      return [encodeAuthError(event.refusal)];
    case 'published':
      return [encodePublishAck(event.id)];
    case 'publish-refused':
      return [encodePublishError(event.id, event.refusal, event.retryAfterSeconds)];
    case 'watchlist': {
      const frame = encodeWatchlistEvents(event.online, event.offline);
      return frame === null ? [] : [frame];
    }
    default:
      event satisfies never;
      return [];
  }
}

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

function encodeSubscriptionRefused(channel: string, { code, message, limit }: Refusal): readonly string[] {
  const error = { type: subscriptionErrorType(code), error: message, status: problems[code].status };
  return encodeSubscriptionError(channel, limit === undefined ? error : { ...error, limit });
}

function subscriptionErrorType(code: ProblemCode): string {
  if (code === 'channel_limit' || code === 'member_limit') return 'LimitReached';
  return problems[code].status >= 500 ? 'ServerError' : problems[code].status === 400 ? 'ValidationError' : 'AuthError';
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

// ── Back ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The event of a frame that `encode` made for a publish; null for any other text. For clients of another dialect. */
export function readPublished(frame: string): AppEvent | SubscriptionCountEvent | null {
  const value = parseJson(frame);
  if (!isObject(value)) return null;
  const { event, channel, data, user_id: userId } = value;
  if (typeof event !== 'string' || typeof channel !== 'string' || typeof data !== 'string') return null;
  if (event === 'pusher_internal:subscription_count') {
    const count = dataObject(data)?.['subscription_count'];
    return typeof count === 'number' ? { type: 'subscription-count', channel, count } : null;
  }
  return { type: 'event', channel, event, data, userId: typeof userId === 'string' ? userId : undefined };
}

// ── Parts ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Of `data` given as a string: it stands one deep in its frame, as the object itself would. */
const dataDepth = limits.jsonDepth - 1;

/** `data` of a `pusher:` command: an object, or a string of JSON that holds one. */
function dataObject(data: unknown): Record<string, unknown> | null {
  const value = typeof data === 'string' ? parseJson(data, dataDepth) : data;
  return isObject(value) ? value : null;
}

function refuseData(frame: Record<string, unknown>, code: WireProblemCode, otherwise: string): Checked<never> {
  const { data } = frame;
  const isTooDeep = typeof data === 'string' && isNestedDeeper(data, dataDepth);
  return isTooDeep
    ? refuseWire('frame_malformed', faultOf(data, otherwise, 'A frame', dataDepth))
    : refuseWire(code, otherwise);
}
