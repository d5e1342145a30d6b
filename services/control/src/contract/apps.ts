/** Apps: their settings, their limits, and how far a change of them has come. */
import { isOriginPattern, originProblem } from '@starling/protocol';
import { z } from 'zod';
import { name, time, version } from './fields.ts';
import { operation, pageOf, pageQuery } from './operation.ts';

const settingFields = {
  hasClientEvents: z.boolean().describe('Clients may send client events.'),
  hasSubscriptionCounts: z.boolean().describe('Subscribers are told how many a channel has.'),
  hasWatchlists: z.boolean().describe('Users are told when those on their watchlists come and go.'),
  admitsAuthorizedOnly: z
    .boolean()
    .describe('Connections that neither sign in nor join a private channel are closed after 30 seconds.'),
  requiresTls: z.boolean().describe('Connections without TLS are refused.'),
  hidesData: z.boolean().describe('Whoever watches the app is not shown the data of its events.'),
  allowedOrigins: z
    .array(z.string().max(300).refine(isOriginPattern, originProblem))
    .max(100)
    .describe(
      'Whose pages may connect; empty: all. `https://example.com` is that origin alone, `https://*.example.com` each of its ' +
        'subdomains, `example.com` the host by http or https and any port. Apps and extensions: `capacitor://localhost`, ' +
        '`chrome-extension://ID`, `file://`; never `null`, which any page can be.',
    ),
};

const count = (least: number, most: number) => z.number().int().min(least).max(most);

/** Each between what works and what the product can do. */
export const limitFields = {
  connections: count(0, 10_000_000).describe('At once, on all nodes together.'),
  connectionsPerAddress: count(1, 10_000_000).describe('At once, from one address, on each node.'),
  channelsPerConnection: count(1, 100_000),
  eventDataBytes: count(1, 262_144).describe('UTF-8 bytes of the data of an event.'),
  clientEventsPerSecond: count(0, 10_000).describe('Of one connection.'),
  publishesPerSecond: count(0, 10_000_000),
  presenceMembers: count(1, 10_000).describe('Of one presence channel.'),
};

export const appSettings = z.object(settingFields).meta({ id: 'AppSettings' });
export const appLimits = z
  .object(limitFields)
  .describe('Those that count: none is above what the installation allows every app.')
  .meta({ id: 'AppLimits' });

export const app = z
  .object({
    id: z.string().describe('Decimal digits.'),
    organisationId: z.string(),
    name: z.string(),
    isEnabled: z.boolean().describe('A disabled app has no connections, and its requests are refused.'),
    version,
    createdAt: time,
    settings: appSettings,
    limits: appLimits,
  })
  .meta({ id: 'App' });

/** What may be said of an app; what is left out stays as it is, or is as usual. */
const changeable = {
  settings: z.strictObject(settingFields).partial(),
  limits: z.strictObject(limitFields).partial(),
};

export const rollout = z
  .object({
    version: version.describe('The newest.'),
    nodes: z.object({
      connected: z.number().int().describe('Those that serve this installation now.'),
      applied: z.number().int().describe('Those of them that have said that they go by the newest version.'),
    }),
    isComplete: z.boolean(),
  })
  .meta({ id: 'Rollout' });

export const appOperations = {
  listApps: operation(
    {
      id: 'listApps',
      method: 'GET',
      path: '/organisations/:organisationId/apps',
      summary: 'List the apps of an organisation',
      needs: 'viewer',
    },
    { query: pageQuery({}), reply: pageOf(app) },
  ),
  createApp: operation(
    {
      id: 'createApp',
      method: 'POST',
      path: '/organisations/:organisationId/apps',
      summary: 'Make an app',
      description: 'It has no key yet: make one next.',
      needs: 'developer',
      refuses: ['state_conflict'],
      creates: true,
    },
    {
      body: z.strictObject({
        name,
        settings: changeable.settings.optional(),
        limits: changeable.limits.optional(),
      }),
      reply: app,
    },
  ),
  getApp: operation(
    { id: 'getApp', method: 'GET', path: '/apps/:appId', summary: 'Read an app', needs: 'viewer' },
    { reply: app },
  ),
  changeApp: operation(
    {
      id: 'changeApp',
      method: 'PATCH',
      path: '/apps/:appId',
      summary: 'Change an app, its settings or its limits; disable it, enable it',
      description: 'In force on every node within two seconds. What is left out stays as it is.',
      needs: 'developer',
      isVersioned: true,
    },
    {
      body: z.strictObject({
        name: name.optional(),
        isEnabled: z.boolean().optional(),
        settings: changeable.settings.optional(),
        limits: changeable.limits.optional(),
        version: version.optional(),
      }),
      reply: app,
    },
  ),
  deleteApp: operation({
    id: 'deleteApp',
    method: 'DELETE',
    path: '/apps/:appId',
    summary: 'Delete an app, its keys and all that is its; its connections are closed',
    needs: 'admin',
    endsAccess: true,
    isVersioned: true,
  }),
  getRollout: operation(
    {
      id: 'getRollout',
      method: 'GET',
      path: '/apps/:appId/rollout',
      summary: 'See on how many nodes the newest version of an app is in force',
      needs: 'viewer',
    },
    { reply: rollout },
  ),
} as const;
