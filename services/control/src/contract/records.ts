/** Records: the audit log, and the use of apps. */
import { z } from 'zod';
import { time } from './fields.ts';
import { operation, pageOf, pageQuery } from './operation.ts';

export const auditEntry = z
  .object({
    id: z.number().int(),
    at: time,
    actor: z
      .object({
        kind: z.enum(['user', 'token', 'stranger', 'system']),
        userId: z.string().optional(),
        address: z.string().optional(),
      })
      .describe('Who did it; `system`: Starling itself, at the time set for it.'),
    action: z.string().describe('The id of the operation.'),
    target: z.string().describe('Such as `app:1234`.'),
    details: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'AuditEntry' });

export const usage = z
  .object({
    at: time.describe('When the minute, hour or day began, in UTC.'),
    connectionsPeak: z.number().int().describe('The most at once.'),
    messagesIn: z.number().int(),
    bytesIn: z.number().int(),
    messagesOut: z.number().int(),
    bytesOut: z.number().int(),
    refused: z.number().int(),
  })
  .meta({ id: 'Usage' });

const from = time.optional().describe('Not before this moment.');
const to = time.optional().describe('Before this moment.');

const auditFilters = {
  actor: z.string().max(100).optional().describe('Of the user with this id only.'),
  action: z.string().max(100).optional().describe('Of this operation only.'),
  target: z.string().max(200).optional().describe('Of this target only.'),
  from,
  to,
};

export const recordOperations = {
  listAuditEntries: operation(
    {
      id: 'listAuditEntries',
      method: 'GET',
      path: '/organisations/:organisationId/audit-entries',
      summary: 'List who changed what, the newest first',
      needs: 'admin',
    },
    {
      query: pageQuery(auditFilters),
      reply: pageOf(auditEntry),
    },
  ),
  listInstallationAuditEntries: operation(
    {
      id: 'listInstallationAuditEntries',
      method: 'GET',
      path: '/installation/audit-entries',
      summary: 'List who changed what that belongs to no organisation, the newest first',
      description: 'Operators, the limits of the installation, sign-ins.',
      needs: 'operator',
    },
    {
      query: pageQuery(auditFilters),
      reply: pageOf(auditEntry),
    },
  ),
  getUsage: operation(
    {
      id: 'getUsage',
      method: 'GET',
      path: '/apps/:appId/usage',
      summary: 'Read how much an app was used, by minute, hour or day',
      description: 'At most 1,500 of them. Those in which nothing happened are left out.',
      needs: 'viewer',
    },
    {
      query: z.strictObject({
        by: z.enum(['minute', 'hour', 'day']).default('hour'),
        from: from.describe('Not before this moment; 60 minutes, 48 hours or 30 days before `to` when not given.'),
        to: to.describe('Before this moment; now when not given.'),
      }),
      reply: z.object({ items: z.array(usage) }),
    },
  ),
} as const;
