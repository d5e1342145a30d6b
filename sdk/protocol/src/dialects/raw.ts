/**
 * The dialect for clients without a library: one JSON object a message, its first member the word. SPEC.md, "Raw dialect",
 * has all words of both sides.
 */
import type { ClientCommand } from '../commands.ts';
import { type Checked, problems, type Refusal } from '../errors.ts';
import { faultOf, isObject, parseJson } from '../json.ts';
import { limits } from '../limits.ts';
import type { Member } from '../members.ts';
import { parseEventName } from '../names.ts';
import { refuseWire } from '../problems/wire.ts';
import type { ServerEvent } from '../server-events.ts';
import type { Dialect } from './dialect.ts';

export const rawDialect: Dialect = { name: 'raw', decode, encode };

const words = ['subscribe', 'unsubscribe', 'publish', 'signin', 'token', 'ping'] as const;

const noWord = `A message is a JSON object with one of ${words.map((word) => `"${word}"`).join(', ')}`;

function decode(text: string): Checked<ClientCommand> {
  const message = parseJson(text);
  if (!isObject(message)) return refuseWire('frame_malformed', faultOf(text, noWord, 'A message'));
  const word = words.find((each) => Object.hasOwn(message, each));
  if (word === undefined) return refuseWire('frame_malformed', noWord);
  const value = message[word];
  if (word === 'ping') return { ok: true, value: { type: 'ping' } };
  if (typeof value !== 'string') return refuseWire('frame_malformed', `"${word}" needs a string`);
  switch (word) {
    case 'subscribe': {
      const { auth, channel_data: channelData } = message;
      const isText = typeof channelData === 'string';
      return {
        ok: true,
        value: {
          type: 'subscribe',
          channel: value,
          auth: typeof auth === 'string' && auth !== '' ? auth : undefined,
          channelData: isText ? channelData : undefined,
          isChannelDataBroken: !isText && channelData !== undefined && channelData !== null,
        },
      };
    }
    case 'unsubscribe':
      return { ok: true, value: { type: 'unsubscribe', channel: value } };
    case 'publish':
      return decodePublish(value, message);
    case 'signin': {
      const { user_data: userData } = message;
      if (typeof userData !== 'string') return refuseWire('signin_refused', '"signin" needs a string "user_data"');
      return { ok: true, value: { type: 'signin', auth: value, userData } };
    }
    case 'token':
      return { ok: true, value: { type: 'auth', token: value } };
    default:
      word satisfies never;
      return refuseWire('frame_malformed', noWord);
  }
}

function decodePublish(channel: string, message: Record<string, unknown>): Checked<ClientCommand> {
  const { event, data, id = '' } = message;
  if (typeof event !== 'string' || data === undefined) {
    return refuseWire('frame_malformed', '"publish" needs a string "event", and "data"');
  }
  const text = typeof data === 'string' ? data : JSON.stringify(data);
  if (event.startsWith('client-')) {
    const name = parseEventName(event);
    return name.ok ? { ok: true, value: { type: 'client-event', event, channel, data: text } } : name;
  }
  if (typeof id !== 'string' || id.length > limits.publishIdLength) {
    return refuseWire(
      'frame_malformed',
      `"id" of a publish is a string of at most ${limits.publishIdLength} characters`,
    );
  }
  return { ok: true, value: { type: 'publish', id, fields: { name: event, channels: [channel], data: text } } };
}

function encode(event: ServerEvent): readonly string[] {
  const told = toJson(event);
  return told === null ? [] : [told];
}

const json = JSON.stringify as (text: string) => string;

function toJson(event: ServerEvent): string | null {
  switch (event.type) {
    case 'established':
      return `{"connected":"${event.socketId}","activity_timeout":${event.activityTimeoutSeconds}}`;
    case 'refused':
      return refusal('error', event.refusal.code, event.refusal);
    case 'ping':
      // The transport's own probe does: no such client answers by hand.
      return null;
    case 'pong':
      return '{"pong":true}';
    case 'subscribed': {
      const { channel, members } = event;
      const present = members === undefined ? '' : `,"members":[${members.map(memberJson).join(',')}]`;
      return `{"subscribed":${json(channel)}${present}}`;
    }
    case 'subscription-refused':
      return refusal('subscribe_refused', event.channel, event.refusal);
    case 'event': {
      const { channel, data, userId } = event;
      const sender = userId === undefined ? '' : `,"user_id":${json(userId)}`;
      return `{"event":${json(event.event)},"channel":${json(channel)},"data":${json(data)}${sender}}`;
    }
    case 'member-added':
      return `{"joined":${json(event.channel)},"member":${memberJson(event.member)}}`;
    case 'member-removed':
      return `{"left":${json(event.channel)},"user_id":${json(event.userId)}}`;
    case 'subscription-count':
      return `{"count":${event.count},"channel":${json(event.channel)}}`;
    case 'cache-miss':
      return `{"cache_miss":${json(event.channel)}}`;
    case 'signed-in':
      return `{"signed_in":${json(event.userData)}}`;
    case 'token-accepted': {
      const user = event.userId === null ? 'null' : json(event.userId);
      return `{"token_accepted":{"user_id":${user},"expires_in":${event.expiresInSeconds},"capabilities":${event.capabilities}}}`;
    }
    case 'token-refused':
      return refusal('token_refused', event.refusal.code, event.refusal);
    case 'published':
      return `{"published":${json(event.id)}}`;
    case 'publish-refused':
      return refusal('publish_refused', event.id, event.refusal, event.retryAfterSeconds);
    case 'watchlist':
      return JSON.stringify({ online: event.online, offline: event.offline });
    default:
      event satisfies never;
      return null;
  }
}

function memberJson({ userId, userInfo }: Member): string {
  return `{"user_id":${json(userId)},"user_info":${userInfo}}`;
}

function refusal(
  word: string,
  of: string,
  { code, message, limit }: Refusal,
  retryAfterSeconds?: number | null,
): string {
  const { number } = problems[code];
  return JSON.stringify({
    [word]: of,
    ...(of !== code && { code }),
    ...(number !== null && { number }),
    message,
    ...(retryAfterSeconds != null && { retry_after: retryAfterSeconds }),
    ...(limit !== undefined && { limit }),
  });
}
