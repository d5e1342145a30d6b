/** Keys of apps. A secret is shown once, in the answer that makes the key. */
import { z } from 'zod';
import { label, time } from './fields.ts';
import { operation, pageOf, pageQuery, shownOnce } from './operation.ts';

const keyFields = {
  key: z.string(),
  label: z.string(),
  isEnabled: z.boolean().describe('A disabled key authenticates nothing, and connections made with it are closed.'),
  createdAt: time,
  expiresAt: time.nullable().describe('When it is disabled; null: never by itself.'),
  lastUsedAt: time.nullable(),
};

export const appKey = z.object(keyFields).meta({ id: 'AppKey' });

export const newAppKey = z
  .object({ ...keyFields, ...shownOnce('secret', 'Shown now and never again.') })
  .meta({ id: 'NewAppKey' });

const monthSeconds = 30 * 24 * 3_600;

export const keyOperations = {
  listKeys: operation(
    { id: 'listKeys', method: 'GET', path: '/apps/:appId/keys', summary: 'List the keys of an app', needs: 'viewer' },
    { query: pageQuery({}), reply: pageOf(appKey) },
  ),
  createKey: operation(
    {
      id: 'createKey',
      method: 'POST',
      path: '/apps/:appId/keys',
      summary: 'Make a key',
      needs: 'developer',
      refuses: ['state_conflict'],
      creates: true,
      shownOnce: 'secret',
    },
    { body: z.strictObject({ label: label.default('') }), reply: newAppKey },
  ),
  rotateKey: operation(
    {
      id: 'rotateKey',
      method: 'POST',
      path: '/apps/:appId/keys/:key/rotate',
      summary: 'Make a key in place of another, which still counts for a while',
      needs: 'developer',
      refuses: ['state_conflict'],
      creates: true,
      shownOnce: 'secret',
    },
    {
      body: z.strictObject({
        overlapSeconds: z.number().int().min(0).max(monthSeconds).describe('How long the old key still counts.'),
      }),
      reply: z.object({ ...newAppKey.shape, replaces: appKey }).meta({ id: 'RotatedAppKey' }),
    },
  ),
  changeKey: operation(
    {
      id: 'changeKey',
      method: 'PATCH',
      path: '/apps/:appId/keys/:key',
      summary: 'Label a key; disable it, enable it',
      description: 'A key that is enabled again no longer expires by itself.',
      needs: 'developer',
    },
    { body: z.strictObject({ label: label.optional(), isEnabled: z.boolean().optional() }), reply: appKey },
  ),
  deleteKey: operation({
    id: 'deleteKey',
    method: 'DELETE',
    path: '/apps/:appId/keys/:key',
    summary: 'Delete a key',
    needs: 'developer',
  }),
} as const;
