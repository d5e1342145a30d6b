/** Of the whole installation: its operators, and its maxima for every app. */
import { z } from 'zod';
import { limitFields } from './apps.ts';
import { time } from './fields.ts';
import { operation } from './operation.ts';

export const operator = z
  .object({
    userId: z.string(),
    name: z.string(),
    email: z.string(),
    createdAt: time.describe('Since when they are one.'),
  })
  .meta({ id: 'Operator' });

const limited = {
  ...limitFields,
  appsPerOrganisation: z.number().int().min(1).max(100_000).describe('That an organisation may have made.'),
};

type LimitName = keyof typeof limited;
type Maxima = { readonly [Name in LimitName]: z.ZodNullable<(typeof limited)[Name]> };

const maxima = Object.fromEntries(
  Object.entries(limited).map(([name, schema]) => [name, schema.nullable()]),
) as unknown as Maxima;

export const installationLimits = z
  .object({
    ...maxima,
    version: z.number().int().min(0).describe('0 while nothing has been set: those of the product hold.'),
  })
  .describe('The maximum of each; null: each app decides, up to what the product can do.')
  .meta({ id: 'InstallationLimits' });

export const installationOperations = {
  listOperators: operation(
    {
      id: 'listOperators',
      method: 'GET',
      path: '/operators',
      summary: 'List who runs this installation',
      needs: 'operator',
    },
    { reply: z.object({ items: z.array(operator) }) },
  ),
  giveOperator: operation(
    {
      id: 'giveOperator',
      method: 'PUT',
      path: '/operators/:userId',
      summary: 'Make a user an operator of this installation',
      description: 'A user of any of its organisations. What they are in those stays as it is.',
      needs: 'operator',
    },
    { reply: operator },
  ),
  takeOperator: operation({
    id: 'takeOperator',
    method: 'DELETE',
    path: '/operators/:userId',
    summary: 'Make a user an operator no longer',
    description: 'Also oneself; the last one stays.',
    needs: 'operator',
    refuses: ['last_operator'],
  }),
  getInstallationLimits: operation(
    {
      id: 'getInstallationLimits',
      method: 'GET',
      path: '/installation/limits',
      summary: 'Read what every app is allowed at most',
      needs: 'signed-in',
    },
    { reply: installationLimits },
  ),
  changeInstallationLimits: operation(
    {
      id: 'changeInstallationLimits',
      method: 'PATCH',
      path: '/installation/limits',
      summary: 'Change what every app is allowed at most',
      description:
        'In force on every node within two seconds, for the apps there are as well: of a limit that an app has set higher the ' +
        'maximum counts, and its own again when the maximum is raised. Null takes a maximum away; what is left out stays.',
      needs: 'operator',
      isVersioned: true,
    },
    {
      body: z.strictObject({
        ...(z.strictObject(maxima).partial().shape as { [Name in LimitName]: z.ZodOptional<Maxima[Name]> }),
        version: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
      }),
      reply: installationLimits,
    },
  ),
} as const;
