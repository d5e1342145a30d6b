/** One event as a backend or a client with a token asks for it, checked: the same rules whichever way it came. */
import type { App } from '@starling/ports';
import {
  type Channel,
  type Checked,
  isSocketId,
  limits,
  parseChannelName,
  parseEventName,
  quote,
  refuse,
  refuseByLimit,
} from '@starling/protocol';
import type { PublishCommand } from './publish.ts';

export type Fields = Readonly<Record<string, unknown>>;

/** Before it is known where it goes. */
export interface EventRequest {
  readonly event: string;
  readonly data: string;
  readonly except: string | undefined;
  readonly idempotencyKey: string | undefined;
}

/** `name`, `data`, `socket_id`, `message_id`. Refuses with `event_name_invalid`, `data_too_large` or `request_malformed`. */
export function parseEventRequest(app: App, fields: Fields): Checked<EventRequest> {
  const event = parseEventName(fields['name']);
  if (!event.ok) return refuse(event.refusal.code, `name: ${event.refusal.message}`);
  const data = fields['data'];
  if (typeof data !== 'string') {
    return refuse(
      'request_malformed',
      `Expected "data" to be a string, got ${nameType(data)}: encode it as JSON first`,
    );
  }
  const dataBytes = Buffer.byteLength(data);
  if (dataBytes > app.limits.eventDataBytes) {
    const { eventDataBytes: limit } = app.limits;
    const state = { limit, remaining: limit, reset: null };
    return refuseByLimit('data_too_large', `The data of this event has ${dataBytes} bytes`, 'bytes', state);
  }
  const socketId = fields['socket_id'] ?? undefined;
  if (socketId !== undefined && !isSocketId(socketId)) {
    const given = typeof socketId === 'string' ? quote(socketId) : nameType(socketId);
    return refuse('request_malformed', `Expected "socket_id" to be digits, a dot and digits, got ${given}`);
  }
  const idempotencyKey = fields['message_id'] ?? undefined;
  if (idempotencyKey !== undefined && !isMessageId(idempotencyKey)) {
    const given = typeof idempotencyKey === 'string' ? `one of ${idempotencyKey.length}` : nameType(idempotencyKey);
    return refuse(
      'request_malformed',
      `Expected "message_id" to be a string of 1 to ${limits.messageIdLength} characters, got ${given}`,
    );
  }
  return { ok: true, value: { event: event.value, data, except: socketId, idempotencyKey } };
}

/** `channels`, else `channel`: distinct, in the order given. Refuses with `channel_name_invalid` or `request_malformed`. */
export function parseChannels(fields: Fields): Checked<readonly Channel[]> {
  const names = fields['channels'] ?? (fields['channel'] === undefined ? undefined : [fields['channel']]);
  if (!Array.isArray(names) || names.length === 0 || names.length > limits.channelsPerTrigger) {
    const given = Array.isArray(names) ? `an array of ${names.length}` : nameType(names);
    return refuse(
      'request_malformed',
      `Expected "channels" to be an array of 1 to ${limits.channelsPerTrigger} channel names, got ${given}`,
    );
  }
  const channels = new Map<string, Channel>();
  for (const name of names) {
    const channel = parseChannelName(name);
    if (!channel.ok) return channel;
    channels.set(channel.value.name, channel.value);
  }
  return { ok: true, value: [...channels.values()] };
}

export function toPublishCommand(
  { event, data, except, idempotencyKey }: EventRequest,
  channel: Channel,
): PublishCommand {
  if (except === undefined && idempotencyKey === undefined) return { event, channel, data };
  return {
    event,
    channel,
    data,
    ...(except !== undefined && { except }),
    ...(idempotencyKey !== undefined && { idempotencyKey }),
  };
}

function isMessageId(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= limits.messageIdLength;
}

/** For "got …" in a refusal. */
export function nameType(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
