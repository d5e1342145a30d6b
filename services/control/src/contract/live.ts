/** What is going on at this moment, over all nodes. */
import { z } from 'zod';
import { time } from './fields.ts';
import { operation, pageOf, pageQuery } from './operation.ts';
import { usage } from './records.ts';

export const figures = z
  .object({
    nodes: z.number().int().describe('That have connections of the app, or had any use of it lately.'),
    connections: z.number().int(),
    subscriptions: z.number().int(),
    lastMinute: usage.describe('The last whole minute.'),
    currentMinute: usage.describe('The minute that is going on, until a few seconds ago.'),
  })
  .meta({ id: 'Figures' });

export const channel = z
  .object({
    name: z.string(),
    connectionCount: z.number().int(),
    userCount: z.number().int().describe('Distinct users; 0 for channels without presence.'),
  })
  .meta({ id: 'Channel' });

export const channelMember = z
  .object({ userId: z.string(), userInfo: z.unknown().describe('What the first connection of the user gave.') })
  .meta({ id: 'ChannelMember' });

export const node = z
  .object({
    id: z.string(),
    host: z.string(),
    parts: z.array(z.string()).describe('What it serves, such as `edge` and `api`.'),
    version: z.string().describe('Of Starling.'),
    startedAt: time,
    uptimeSeconds: z.number().int(),
    connections: z.number().int(),
    memoryBytes: z.number().int(),
  })
  .meta({ id: 'Node' });

const which = {
  channel: z.string().max(200).optional().describe('Only what happens on this channel.'),
  socketId: z.string().max(41).optional().describe('Only what happens on this connection.'),
  what: z.string().max(200).optional().describe('Only these, such as `subscribed,subscription refused`.'),
};

export const liveOperations = {
  getFigures: operation(
    {
      id: 'getFigures',
      method: 'GET',
      path: '/apps/:appId/figures',
      summary: 'Read how much an app is used now',
      description: 'Of all nodes together, as they reported in the last seconds.',
      needs: 'viewer',
    },
    { reply: figures },
  ),
  listChannels: operation(
    {
      id: 'listChannels',
      method: 'GET',
      path: '/apps/:appId/channels',
      summary: "List an app's occupied channels by name",
      needs: 'developer',
    },
    {
      query: pageQuery({ prefix: z.string().max(200).optional().describe('Only names that begin so.') }),
      reply: pageOf(channel),
    },
  ),
  listChannelMembers: operation(
    {
      id: 'listChannelMembers',
      method: 'GET',
      path: '/apps/:appId/channels/:channel/members',
      summary: 'List who is in a presence channel',
      needs: 'developer',
    },
    { reply: z.object({ items: z.array(channelMember) }) },
  ),
  listNodes: operation(
    {
      id: 'listNodes',
      method: 'GET',
      path: '/nodes',
      summary: 'List the nodes that serve this installation',
      needs: 'operator',
    },
    { reply: z.object({ items: z.array(node) }) },
  ),
} as const;

/** Answered with an event stream that goes on, and so not among the operations that answer once. */
export const streams = {
  watchApp: operation(
    {
      id: 'watchApp',
      method: 'GET',
      path: '/apps/:appId/debug',
      summary: 'Watch what happens in an app',
      description:
        'Server-sent events, each the JSON of one thing that happened: connections opened and closed, subscriptions, refusals with ' +
        'the rule that refused, events and client events. `event: dropped` says how many a slow reader was not sent, `event: end` ' +
        'that it is over and why: after an hour, or when you may no longer. That somebody watches is in the audit log.',
      needs: 'developer',
    },
    { query: z.strictObject(which) },
  ),
} as const;
