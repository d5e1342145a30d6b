/** The `GET` endpoints: what is occupied, and by whom. */
import { channelStats, inspectChannel, listChannels, listUsers, parseAttributes } from '@starling/core';
import { type Checked, parseChannelName } from '@starling/protocol';
import { toJsonObject } from './reply.ts';
import type { ApiDeps, Call } from './signed-route.ts';

export async function getChannels(deps: ApiDeps, { app, query }: Call): Promise<Checked<string>> {
  const attributes = parseAttributes(query.get('info'), ['user_count', 'subscription_count']);
  if (!attributes.ok) return attributes;
  const channels = await listChannels(deps, app, query.get('filter_by_prefix') ?? '', attributes.value);
  return channels.ok ? { ok: true, value: `{"channels":${toJsonObject(channels.value)}}` } : channels;
}

export async function getChannel(deps: ApiDeps, { app, path, query }: Call): Promise<Checked<string>> {
  const channel = parseChannelName(path['channel']);
  if (!channel.ok) return channel;
  const attributes = parseAttributes(query.get('info'), ['user_count', 'subscription_count', 'cache']);
  if (!attributes.ok) return attributes;
  const state = await inspectChannel(deps, app, channel.value, attributes.value);
  return state.ok ? { ok: true, value: JSON.stringify(state.value) } : state;
}

export async function getUsers(deps: ApiDeps, { app, path }: Call): Promise<Checked<string>> {
  const channel = parseChannelName(path['channel']);
  if (!channel.ok) return channel;
  const userIds = await listUsers(deps, app, channel.value);
  return userIds.ok ? { ok: true, value: JSON.stringify({ users: userIds.value.map((id) => ({ id })) }) } : userIds;
}

export async function getStats(deps: ApiDeps, { app, path }: Call): Promise<Checked<string>> {
  const channel = parseChannelName(path['channel']);
  if (!channel.ok) return channel;
  return { ok: true, value: JSON.stringify(await channelStats(deps, app, channel.value)) };
}
