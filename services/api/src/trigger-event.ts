/** `POST events`, `POST batch_events` and the deprecated `POST channels/CHANNEL/events`: check all, publish, answer. */
import { isUtf8 } from 'node:buffer';
import {
  type Attributes,
  type EventRequest,
  type Fields,
  inspectChannels,
  nameType,
  type PublishCommand,
  parseAttributes,
  parseChannels,
  parseEventRequest,
  publish,
  toPublishCommand,
} from '@starling/core';
import type { App } from '@starling/ports';
import { type Checked, limits, parseChannelName, refuse } from '@starling/protocol';
import { isObject, notUtf8, parseBody } from './body.ts';
import { toJsonObject } from './reply.ts';
import type { ApiDeps, Call } from './signed-route.ts';

/** One event as asked for. */
interface Asked extends EventRequest {
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
    channels.value.map((channel) => toPublishCommand(request.value, channel)),
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
    if (!request.ok) return { ok: false, refusal: { ...request.refusal, message: where + request.refusal.message } };
    const channel = parseChannelName(item['channel']);
    if (!channel.ok) return refuse(channel.refusal.code, where + channel.refusal.message);
    commands.push(toPublishCommand(request.value, channel.value));
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
  const published = await publish(deps, app, [toPublishCommand(request.value, channel.value)]);
  return published.ok ? emptyObject : published;
}

function parseEvent(app: App, fields: Fields): Checked<Asked> {
  const event = parseEventRequest(app, fields);
  if (!event.ok) return event;
  const info = fields['info'] ?? undefined;
  if (info !== undefined && typeof info !== 'string') {
    return refuse('request_malformed', `Expected "info" to be a comma-separated string, got ${nameType(info)}`);
  }
  const attributes = parseAttributes(info, ['user_count', 'subscription_count']);
  return attributes.ok ? { ok: true, value: { ...event.value, attributes: attributes.value } } : attributes;
}
