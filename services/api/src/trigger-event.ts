/** `POST events`, `POST batch_events` and the deprecated `POST channels/CHANNEL/events`: check all, publish, answer. */
import { isUtf8 } from 'node:buffer';
import { type Attributes, inspectChannels, type PublishCommand, parseAttributes, publish } from '@starling/core';
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
} from '@starling/protocol';
import { toJsonObject } from './reply.ts';
import type { ApiDeps, Call } from './signed-route.ts';

type Fields = Readonly<Record<string, unknown>>;

/** One event as asked for, before it is known where it goes. */
interface EventRequest {
  readonly event: string;
  readonly data: string;
  readonly except: string | undefined;
  readonly id: string | undefined;
  /** What to tell of each channel afterwards. */
  readonly attributes: Attributes;
}

const emptyObject = { ok: true, value: '{}' } as const;

export async function triggerEvent(deps: ApiDeps, { app, body }: Call): Promise<Checked<string>> {
  const fields = parseBody(body);
  if (!fields.ok) return fields;
  const request = parseEvent(app, fields.value);
  if (!request.ok) return request;
  const channels = parseChannels(fields.value);
  if (!channels.ok) return channels;

  const published = await publish(
    deps,
    app,
    channels.value.map((channel) => toCommand(request.value, channel)),
  );
  if (!published.ok) return published;
  const { attributes } = request.value;
  if (attributes.size === 0) return emptyObject;
  const found = await inspectChannels(deps, app, channels.value, attributes);
  const entries = channels.value.map(({ name }, index) => [name, found[index]] as const);
  return { ok: true, value: `{"channels":${toJsonObject(entries)}}` };
}

export async function triggerBatch(deps: ApiDeps, { app, body }: Call): Promise<Checked<string>> {
  const fields = parseBody(body);
  if (!fields.ok) return fields;
  const { batch } = fields.value;
  if (!Array.isArray(batch) || batch.length > limits.eventsPerBatch) {
    const given = Array.isArray(batch) ? `an array of ${batch.length}` : nameType(batch);
    return refuse(
      'request_malformed',
      `Expected "batch" to be an array of up to ${limits.eventsPerBatch} events, got ${given}`,
    );
  }
  const commands: PublishCommand[] = [];
  const asked: Attributes[] = [];
  for (const [index, item] of batch.entries()) {
    const where = `batch[${index}]: `;
    if (!isObject(item)) return refuse('request_malformed', `${where}expected an object, got ${nameType(item)}`);
    const request = parseEvent(app, item);
    if (!request.ok) return refuse(request.refusal.code, where + request.refusal.message);
    const channel = parseChannelName(item['channel']);
    if (!channel.ok) return refuse(channel.refusal.code, where + channel.refusal.message);
    commands.push(toCommand(request.value, channel.value));
    asked.push(request.value.attributes);
  }

  const published = await publish(deps, app, commands);
  if (!published.ok) return published;
  if (asked.every(({ size }) => size === 0)) return emptyObject;
  const answers = await Promise.all(
    commands.map(async ({ channel }, index) => {
      const attributes = asked[index];
      if (attributes === undefined || attributes.size === 0) return {};
      const [found] = await inspectChannels(deps, app, [channel], attributes);
      return found;
    }),
  );
  return { ok: true, value: JSON.stringify({ batch: answers }) };
}

/** The body is the data, the rest is in the URL. */
export async function triggerOnChannel(deps: ApiDeps, { app, path, query, body }: Call): Promise<Checked<string>> {
  if (!isUtf8(body)) return refuse('request_malformed', notUtf8);
  const fields = { name: query.get('name'), data: body.toString(), socket_id: query.get('socket_id') };
  const request = parseEvent(app, fields);
  if (!request.ok) return request;
  const channel = parseChannelName(path['channel']);
  if (!channel.ok) return channel;
  const published = await publish(deps, app, [toCommand(request.value, channel.value)]);
  return published.ok ? emptyObject : published;
}

const notUtf8 = 'The body is not valid UTF-8';

function parseBody(body: Buffer): Checked<Fields> {
  // Otherwise broken bytes would be replaced, and the data not delivered verbatim.
  if (!isUtf8(body)) return refuse('request_malformed', notUtf8);
  let value: unknown;
  try {
    value = JSON.parse(body.toString());
  } catch (err) {
    return refuse(
      'request_malformed',
      `The body is not valid JSON: ${err instanceof Error ? err.message : 'unreadable'}`,
    );
  }
  if (isObject(value)) return { ok: true, value };
  return refuse('request_malformed', `Expected the body to be a JSON object, got ${nameType(value)}`);
}

function parseEvent(app: App, fields: Fields): Checked<EventRequest> {
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
    return refuse(
      'data_too_large',
      `The data content of this event has ${dataBytes} bytes, the allowed maximum is ${app.limits.eventDataBytes}`,
    );
  }
  const socketId = fields['socket_id'] ?? undefined;
  if (socketId !== undefined && !isSocketId(socketId)) {
    const given = typeof socketId === 'string' ? quote(socketId) : nameType(socketId);
    return refuse('request_malformed', `Expected "socket_id" to be digits, a dot and digits, got ${given}`);
  }
  const info = fields['info'] ?? undefined;
  if (info !== undefined && typeof info !== 'string') {
    return refuse('request_malformed', `Expected "info" to be a comma-separated string, got ${nameType(info)}`);
  }
  const id = fields['message_id'] ?? undefined;
  if (id !== undefined && !isMessageId(id)) {
    const given = typeof id === 'string' ? `one of ${id.length}` : nameType(id);
    return refuse(
      'request_malformed',
      `Expected "message_id" to be a string of 1 to ${limits.messageIdLength} characters, got ${given}`,
    );
  }
  const attributes = parseAttributes(info, ['user_count', 'subscription_count']);
  if (!attributes.ok) return attributes;
  return { ok: true, value: { event: event.value, data, except: socketId, id, attributes: attributes.value } };
}

/** Distinct, in the order given. `channels` wins where both are given. */
function parseChannels(fields: Fields): Checked<readonly Channel[]> {
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

function toCommand({ event, data, except, id }: EventRequest, channel: Channel): PublishCommand {
  return { event, channel, data, ...(except !== undefined && { except }), ...(id !== undefined && { id }) };
}

function isMessageId(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= limits.messageIdLength;
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** For "got …". */
function nameType(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
