/** Capability tokens of an app: which count, and which no longer do. */
import { z } from 'zod';
import { time, version } from './fields.ts';
import { operation, pageOf, pageQuery } from './operation.ts';

const httpsUrl = z
  .url({ protocol: /^https$/ })
  .max(2_000)
  .refine((text) => !URL.canParse(text) || new URL(text).username === '', 'must not hold a user or a password');

const settingFields = {
  isEnabled: z.boolean().describe('False: no token is accepted, and connections opened with one are closed.'),
  jwksUrl: httpsUrl
    .nullable()
    .describe(
      'Where an identity provider publishes its keys; null: only app keys sign. Not in a private network. Needs `issuer` and `audience`.',
    ),
  issuer: z.string().min(1).max(2_000).nullable().describe('What `iss` of its tokens must be.'),
  audience: z.string().min(1).max(2_000).nullable().describe('What `aud` of its tokens must hold.'),
};

export const tokenSettings = z
  .object({ ...settingFields, version: version.describe("The app's.") })
  .meta({ id: 'TokenSettings' });

export const revocation = z
  .object({
    by: z.enum(['user', 'token']).describe('`user`: all tokens of this `sub` issued until then; `token`: this `jti`.'),
    id: z.string(),
    at: time,
  })
  .meta({ id: 'Revocation' });

export const tokenOperations = {
  getTokenSettings: operation(
    {
      id: 'getTokenSettings',
      method: 'GET',
      path: '/apps/:appId/token-settings',
      summary: 'Read which capability tokens an app accepts',
      needs: 'viewer',
    },
    { reply: tokenSettings },
  ),
  changeTokenSettings: operation(
    {
      id: 'changeTokenSettings',
      method: 'PATCH',
      path: '/apps/:appId/token-settings',
      summary: 'Change which capability tokens an app accepts',
      needs: 'developer',
      isVersioned: true,
    },
    {
      body: z.strictObject({ ...z.strictObject(settingFields).partial().shape, version: version.optional() }),
      reply: tokenSettings,
    },
  ),
  listRevocations: operation(
    {
      id: 'listRevocations',
      method: 'GET',
      path: '/apps/:appId/revocations',
      summary: 'List the tokens of an app that are refused before their time, the newest first',
      needs: 'viewer',
    },
    { query: pageQuery({}), reply: pageOf(revocation) },
  ),
  createRevocation: operation(
    {
      id: 'createRevocation',
      method: 'POST',
      path: '/apps/:appId/revocations',
      summary: 'Refuse a token, or all tokens that a user holds by now',
      needs: 'developer',
      refuses: ['state_conflict'],
      creates: true,
    },
    {
      body: z.strictObject({
        by: revocation.shape.by,
        id: z
          .string()
          .min(1)
          .max(200)
          .refine((text) => !/[\0\p{Surrogate}]/u.test(text), 'must be well-formed text'),
      }),
      reply: revocation,
    },
  ),
} as const;
