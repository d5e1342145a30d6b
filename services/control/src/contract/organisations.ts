/** Organisations own apps. */
import { z } from 'zod';
import { name, time, version } from './fields.ts';
import { operation, pageOf, pageQuery } from './operation.ts';
import { roles } from './principal.ts';

export const role = z.enum(roles);

export const organisation = z
  .object({ id: z.string(), name: z.string(), version, createdAt: time, role: role.describe('Yours in it.') })
  .meta({ id: 'Organisation' });

export const organisationOperations = {
  listOrganisations: operation(
    {
      id: 'listOrganisations',
      method: 'GET',
      path: '/organisations',
      summary: 'List the organisations you are a member of',
      needs: 'signed-in',
    },
    { query: pageQuery({}), reply: pageOf(organisation) },
  ),
  getOrganisation: operation(
    {
      id: 'getOrganisation',
      method: 'GET',
      path: '/organisations/:organisationId',
      summary: 'Read an organisation',
      needs: 'viewer',
    },
    { reply: organisation },
  ),
  createOrganisation: operation(
    {
      id: 'createOrganisation',
      method: 'POST',
      path: '/organisations',
      summary: 'Make an organisation, and be its owner',
      description: 'For users who own one already: to be invited to one gives nobody room of their own.',
      needs: 'signed-in',
      refuses: ['state_conflict'],
      creates: true,
    },
    { body: z.strictObject({ name }), reply: organisation },
  ),
  changeOrganisation: operation(
    {
      id: 'changeOrganisation',
      method: 'PATCH',
      path: '/organisations/:organisationId',
      summary: 'Rename an organisation',
      needs: 'admin',
      isVersioned: true,
    },
    { body: z.strictObject({ name, version: version.optional() }), reply: organisation },
  ),
  deleteOrganisation: operation({
    id: 'deleteOrganisation',
    method: 'DELETE',
    path: '/organisations/:organisationId',
    summary: 'Delete an organisation that has no apps',
    needs: 'owner',
    refuses: ['state_conflict'],
    endsAccess: true,
    isVersioned: true,
  }),
} as const;
