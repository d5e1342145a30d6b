/** Read models: what the HTTP API says about channels. Field names are the ones asked for with `info`. */

import {
  type App,
  type Broker,
  type BrokerMessage,
  channelTopic,
  type Occupancy,
  type PresenceStore,
} from '@starling/ports';
import { type Channel, type Checked, quote, refuse } from '@starling/protocol';
import { readPayload } from './delivery.ts';

export interface InspectDeps {
  readonly presenceStore: Pick<PresenceStore, 'members' | 'occupancies' | 'channels'>;
  readonly broker: Pick<Broker, 'retained'>;
}

export type Attribute = 'user_count' | 'subscription_count' | 'cache';
export type Attributes = ReadonlySet<Attribute>;

export interface ChannelAttributes {
  /** Distinct users; presence channels only. */
  user_count?: number;
  /** Connections; only where the app counts them. */
  subscription_count?: number;
  /** The last event's data and the seconds until it is dropped; null when there is none. Cache channels only. */
  cache?: { readonly data: string; readonly ttl: number } | null;
}

export interface ChannelState extends ChannelAttributes {
  readonly occupied: boolean;
}

/** Reads a comma-separated `info`; undefined asks for nothing. Refuses with `request_malformed`. */
export function parseAttributes(info: string | undefined, known: readonly Attribute[]): Checked<Attributes> {
  const attributes = new Set<Attribute>();
  for (const part of info?.split(',') ?? []) {
    const name = part.trim();
    if (name === '') continue;
    const attribute = known.find((candidate) => candidate === name);
    if (attribute === undefined) {
      return refuse('request_malformed', `Unknown attribute ${quote(name)} in info, expected ${known.join(', ')}`);
    }
    attributes.add(attribute);
  }
  return { ok: true, value: attributes };
}

/** For each channel what applies of what was asked, silently leaving out the rest: lists mix kinds of channels. */
export async function inspectChannels(
  deps: InspectDeps,
  app: App,
  channels: readonly Channel[],
  attributes: Attributes,
): Promise<readonly ChannelAttributes[]> {
  const occupancies = await deps.presenceStore.occupancies(channels.map(({ name }) => channelTopic(app.id, name)));
  return channels.map((channel, index) => counts(app, channel, occupancies[index] ?? empty, attributes));
}

/** One channel; what was asked must apply to it. Refuses with `request_malformed`. */
export async function inspectChannel(
  deps: InspectDeps,
  app: App,
  channel: Channel,
  attributes: Attributes,
): Promise<Checked<ChannelState>> {
  if (attributes.has('user_count') && channel.kind !== 'presence') {
    return refuse('request_malformed', 'Cannot retrieve the user count unless the channel is a presence channel');
  }
  if (attributes.has('subscription_count')) {
    if (!app.hasSubscriptionCounts) return refuse('request_malformed', countsAreOff);
    if (channel.kind === 'user') return refuse('request_malformed', 'A user channel has no subscription count');
  }
  if (attributes.has('cache') && !channel.isCache) {
    return refuse('request_malformed', 'Cannot retrieve the cache unless the channel is a cache channel');
  }
  const topic = channelTopic(app.id, channel.name);
  const [occupancy = empty] = await deps.presenceStore.occupancies([topic]);
  const state: ChannelState = {
    occupied: occupancy.connectionCount > 0,
    ...counts(app, channel, occupancy, attributes),
  };
  if (attributes.has('cache')) {
    const retained = await deps.broker.retained(topic);
    const data = retained === undefined ? null : dataOf(retained.message);
    state.cache = retained === undefined || data === null ? null : { data, ttl: retained.ttlSeconds };
  }
  return { ok: true, value: state };
}

/** The occupied channels whose names begin with `prefix`. Refuses with `request_malformed`. */
export async function listChannels(
  deps: InspectDeps,
  app: App,
  prefix: string,
  attributes: Attributes,
): Promise<Checked<ReadonlyMap<string, ChannelAttributes>>> {
  if (attributes.has('user_count') && !prefix.startsWith('presence-')) {
    return refuse(
      'request_malformed',
      `user_count needs a filter_by_prefix that begins with "presence-", it is ${quote(prefix)}`,
    );
  }
  if (attributes.has('subscription_count') && !app.hasSubscriptionCounts) {
    return refuse('request_malformed', countsAreOff);
  }
  const channels = new Map<string, ChannelAttributes>();
  for (const [name, occupancy] of await deps.presenceStore.channels(app.id, prefix)) {
    // One per signed-in user, and of no interest to who asks for channels.
    if (name.startsWith('#')) continue;
    const listed: ChannelAttributes = {};
    if (attributes.has('user_count')) listed.user_count = occupancy.userCount;
    if (attributes.has('subscription_count')) listed.subscription_count = occupancy.connectionCount;
    channels.set(name, listed);
  }
  return { ok: true, value: channels };
}

/** Distinct user ids of a presence channel. Refuses others with `request_malformed`. */
export async function listUsers(deps: InspectDeps, app: App, channel: Channel): Promise<Checked<readonly string[]>> {
  if (channel.kind !== 'presence') {
    return refuse('request_malformed', 'Users can only be retrieved for presence channels');
  }
  const { members } = await deps.presenceStore.members(channelTopic(app.id, channel.name));
  return { ok: true, value: members.map(({ userId }) => userId) };
}

export interface ChannelStats {
  readonly occupied: boolean;
  readonly connection_count: number;
  /** Presence channels only. */
  readonly user_count?: number;
}

/** The older form of `inspectChannel`: everything at once, whatever the app's settings. */
export async function channelStats(deps: InspectDeps, app: App, channel: Channel): Promise<ChannelStats> {
  const [{ connectionCount, userCount } = empty] = await deps.presenceStore.occupancies([
    channelTopic(app.id, channel.name),
  ]);
  const stats = { occupied: connectionCount > 0, connection_count: connectionCount };
  return channel.kind === 'presence' ? { ...stats, user_count: userCount } : stats;
}

const empty: Occupancy = { connectionCount: 0, userCount: 0 };
const countsAreOff = 'Cannot retrieve the subscription count because subscription counting is not enabled for this app';

function counts(app: App, channel: Channel, occupancy: Occupancy, attributes: Attributes): ChannelAttributes {
  const found: ChannelAttributes = {};
  if (attributes.has('user_count') && channel.kind === 'presence') found.user_count = occupancy.userCount;
  if (attributes.has('subscription_count') && app.hasSubscriptionCounts && channel.kind !== 'user') {
    found.subscription_count = occupancy.connectionCount;
  }
  return found;
}

/** Bytes of the longest retained frame that is read: one of the largest data that an app may allow, each character escaped. */
const maxFrameBytes = 4 * 1_048_576;

/** Null for what is none of ours. */
function dataOf({ payload }: BrokerMessage): string | null {
  if (payload.byteLength > maxFrameBytes) return null;
  const event = readPayload(payload);
  return event?.type === 'event' ? event.data : null;
}
