/** Members of an organisation, and invitations into it. */
import { z } from 'zod';
import { name, time } from './fields.ts';
import { operation, pageOf, pageQuery, shownOnce } from './operation.ts';
import { roles } from './principal.ts';

const role = z.enum(roles);
const emailText = z.string().max(254);
/** Longer than any that is given out. */
const secretText = z.string().min(1).max(200);

export const member = z
  .object({
    userId: z.string(),
    name: z.string(),
    email: z.string(),
    hasProvenEmail: z
      .boolean()
      .describe('Whether an identity provider or the operator vouches for the address; else only who invited them.'),
    role,
    hasSecondFactor: z.boolean(),
    createdAt: time.describe('Since when they are a member.'),
  })
  .meta({ id: 'Member' });

export const invitation = z
  .object({ id: z.string(), email: z.string(), role, createdAt: time, expiresAt: time })
  .meta({ id: 'Invitation' });

export const memberOperations = {
  listMembers: operation(
    {
      id: 'listMembers',
      method: 'GET',
      path: '/organisations/:organisationId/members',
      summary: 'List the members of an organisation',
      needs: 'viewer',
    },
    { query: pageQuery({}), reply: pageOf(member) },
  ),
  changeMember: operation(
    {
      id: 'changeMember',
      method: 'PATCH',
      path: '/organisations/:organisationId/members/:userId',
      summary: 'Change the role of a member',
      description: 'Nobody gives or takes a role above their own; the last owner stays one.',
      needs: 'admin',
      refuses: ['last_owner'],
      endsAccess: true,
    },
    { body: z.strictObject({ role }), reply: member },
  ),
  removeMember: operation({
    id: 'removeMember',
    method: 'DELETE',
    path: '/organisations/:organisationId/members/:userId',
    summary: 'Remove a member, or leave',
    description: 'Everybody may leave, except the last owner; admins may remove others of no higher role.',
    needs: 'viewer',
    refuses: ['last_owner'],
    endsAccess: true,
  }),
  listInvitations: operation(
    {
      id: 'listInvitations',
      method: 'GET',
      path: '/organisations/:organisationId/invitations',
      summary: 'List the invitations that can be accepted',
      needs: 'admin',
    },
    { reply: z.object({ items: z.array(invitation) }) },
  ),
  createInvitation: operation(
    {
      id: 'createInvitation',
      method: 'POST',
      path: '/organisations/:organisationId/invitations',
      summary: 'Invite somebody by e-mail address',
      description:
        'No mail is sent: pass on the token of the answer, which is not shown again. It is good for seven days, and for ' +
        'one person. An older invitation of the same address ends.',
      needs: 'admin',
      refuses: ['state_conflict'],
      creates: true,
      shownOnce: 'token',
    },
    {
      body: z.strictObject({ email: emailText, role }),
      reply: z.object({ invitation, ...shownOnce('token', 'To be given to `acceptInvitation`.') }),
    },
  ),
  revokeInvitation: operation({
    id: 'revokeInvitation',
    method: 'DELETE',
    path: '/organisations/:organisationId/invitations/:invitationId',
    summary: 'Take an invitation back',
    needs: 'admin',
  }),
  readInvitation: operation(
    {
      id: 'readInvitation',
      method: 'POST',
      path: '/invitations/read',
      summary: 'Read what a token invites to',
      needs: 'anyone',
      refuses: ['link_spent'],
    },
    {
      body: z.strictObject({ token: secretText }),
      reply: z.object({
        email: z.string(),
        role,
        organisationName: z.string(),
        hasUser: z
          .boolean()
          .describe(
            'True: somebody has proven this address, and only they accept, signed in. False: sign in as a user with ' +
              'this address, or give a name and a password.',
          ),
      }),
    },
  ),
  acceptInvitation: operation(
    {
      id: 'acceptInvitation',
      method: 'POST',
      path: '/invitations/accept',
      summary: 'Accept an invitation',
      description:
        'Signed in, as the user that was invited; else as a new user with this name and password, who then is signed in.',
      needs: 'anyone',
      refuses: ['link_spent', 'email_taken', 'invitation_of_other', 'session_needed'],
    },
    {
      body: z.strictObject({ token: secretText, name: name.optional(), password: z.string().max(1_000).optional() }),
      reply: z.object({ organisationId: z.string(), role }),
    },
  ),
} as const;
