/** Where an app's webhooks go. */
import { z } from 'zod';
import { time, version } from './fields.ts';
import { operation, pageOf, pageQuery } from './operation.ts';

export const webhookEvents = [
  'channel_occupied',
  'channel_vacated',
  'member_added',
  'member_removed',
  'client_event',
  'cache_miss',
  'subscription_count',
] as const;

const fields = {
  url: z
    .url({ protocol: /^https?$/ })
    .max(2_000)
    .refine((text) => !URL.canParse(text) || new URL(text).username === '', 'must not hold a user or a password')
    .describe('Not of this machine, nor in a private network.'),
  events: z
    .array(z.enum(webhookEvents))
    .min(1)
    .refine((events) => new Set(events).size === events.length, 'must not name an event twice'),
  isEnabled: z.boolean(),
};

export const webhookEndpoint = z
  .object({ id: z.string(), ...fields, url: z.string(), version, createdAt: time })
  .meta({ id: 'WebhookEndpoint' });

export const webhookOperations = {
  listWebhookEndpoints: operation(
    {
      id: 'listWebhookEndpoints',
      method: 'GET',
      path: '/apps/:appId/webhook-endpoints',
      summary: 'List the webhook endpoints of an app',
      needs: 'viewer',
    },
    { query: pageQuery({}), reply: pageOf(webhookEndpoint) },
  ),
  createWebhookEndpoint: operation(
    {
      id: 'createWebhookEndpoint',
      method: 'POST',
      path: '/apps/:appId/webhook-endpoints',
      summary: 'Make a webhook endpoint',
      needs: 'developer',
      refuses: ['state_conflict'],
      creates: true,
    },
    { body: z.strictObject({ ...fields, isEnabled: fields.isEnabled.default(true) }), reply: webhookEndpoint },
  ),
  changeWebhookEndpoint: operation(
    {
      id: 'changeWebhookEndpoint',
      method: 'PATCH',
      path: '/apps/:appId/webhook-endpoints/:endpointId',
      summary: 'Change a webhook endpoint; disable it, enable it',
      needs: 'developer',
      isVersioned: true,
    },
    {
      body: z.strictObject({ ...z.strictObject(fields).partial().shape, version: version.optional() }),
      reply: webhookEndpoint,
    },
  ),
  deleteWebhookEndpoint: operation({
    id: 'deleteWebhookEndpoint',
    method: 'DELETE',
    path: '/apps/:appId/webhook-endpoints/:endpointId',
    summary: 'Delete a webhook endpoint',
    needs: 'developer',
    isVersioned: true,
  }),
} as const;
