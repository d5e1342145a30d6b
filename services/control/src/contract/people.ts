/** Signing in, and what everybody decides for themselves. */
import { z } from 'zod';
import { name, time } from './fields.ts';
import { operation, shownOnce } from './operation.ts';
import { roles } from './principal.ts';

const role = z.enum(roles);
/** What is too long is no password of anybody; whether one will do is said in words. */
const password = z.string().max(1_000);
const code = z.string().max(100);

export const me = z
  .object({
    id: z.string(),
    email: z.string(),
    hasProvenEmail: z
      .boolean()
      .describe(
        'Whether an identity provider or the operator vouches for the address. Otherwise others may have it, too.',
      ),
    name: z.string(),
    hasPassword: z.boolean().describe('Whether not only an identity provider can sign you in.'),
    hasSecondFactor: z.boolean(),
    memberships: z
      .array(z.object({ organisationId: z.string(), organisationName: z.string(), role }))
      .describe('With an access token: where it reaches, and as what.'),
  })
  .meta({ id: 'Me' });

export const session = z
  .object({
    id: z.string(),
    isThis: z.boolean().describe('Whether it is the one that asks.'),
    createdAt: time,
    seenAt: time,
    address: z.string(),
    userAgent: z.string(),
  })
  .meta({ id: 'Session' });

export const accessToken = z
  .object({
    id: z.string(),
    label: z.string(),
    role: role.describe('No more than this, and no more than you are.'),
    organisationId: z.string().nullable().describe('The only one it is for; null for all of yours.'),
    createdAt: time,
    expiresAt: time.nullable(),
    lastUsedAt: time.nullable(),
  })
  .meta({ id: 'AccessToken' });

const recoveryCodes = z.object({
  recoveryCodes: z.array(z.string()).describe('Each stands for one code of the app. They are not shown again.'),
});

export const peopleOperations = {
  readSignIn: operation(
    {
      id: 'readSignIn',
      method: 'GET',
      path: '/sign-in',
      summary: 'Read how to sign in here',
      needs: 'anyone',
    },
    {
      reply: z.object({
        isSetUp: z.boolean().describe('False until there is a user: the start of the server has printed a link.'),
        hasProvider: z.boolean().describe('Whether /sign-in/oidc leads to an identity provider.'),
      }),
    },
  ),
  signIn: operation(
    {
      id: 'signIn',
      method: 'POST',
      path: '/sign-in',
      summary: 'Sign in with a browser',
      description:
        'Answers with a session cookie. `second_factor_missing` says that the password is right and a `code` is needed too. ' +
        'Where many accounts have the address, `organisationId` says of which members it is one.',
      needs: 'anyone',
      refuses: ['sign_in_wrong', 'second_factor_missing', 'second_factor_wrong'],
    },
    {
      body: z.strictObject({
        email: z.string().max(1_000),
        password,
        code: code.optional(),
        organisationId: z.string().max(64).optional(),
      }),
      reply: me,
    },
  ),
  signOut: operation({
    id: 'signOut',
    method: 'POST',
    path: '/sign-out',
    summary: 'End this session',
    needs: 'signed-in',
    endsAccess: true,
  }),
  readMe: operation(
    { id: 'readMe', method: 'GET', path: '/me', summary: 'Read who you are', needs: 'signed-in' },
    { reply: me },
  ),
  changeMe: operation(
    { id: 'changeMe', method: 'PATCH', path: '/me', summary: 'Change your name', needs: 'signed-in' },
    { body: z.strictObject({ name }), reply: me },
  ),
  changePassword: operation(
    {
      id: 'changePassword',
      method: 'PUT',
      path: '/me/password',
      summary: 'Change your password',
      description:
        'Ends your other sessions. Who has no password yet gives only the new one, within ten minutes of signing in.',
      needs: 'signed-in',
      endsAccess: true,
    },
    { body: z.strictObject({ current: password.optional(), password }) },
  ),
  listSessions: operation(
    {
      id: 'listSessions',
      method: 'GET',
      path: '/me/sessions',
      summary: 'List your sessions',
      needs: 'signed-in',
      refuses: ['session_needed'],
    },
    { reply: z.object({ items: z.array(session) }) },
  ),
  endSession: operation({
    id: 'endSession',
    method: 'DELETE',
    path: '/me/sessions/:sessionId',
    summary: 'End one of your sessions',
    needs: 'signed-in',
    endsAccess: true,
  }),
  endSessions: operation({
    id: 'endSessions',
    method: 'DELETE',
    path: '/me/sessions',
    summary: 'Sign out everywhere, here too',
    needs: 'signed-in',
    endsAccess: true,
  }),
  offerSecondFactor: operation(
    {
      id: 'offerSecondFactor',
      method: 'POST',
      path: '/me/second-factor',
      summary: 'Begin to set up a second factor',
      description: 'It counts once `confirmSecondFactor` is sent a code of it.',
      needs: 'signed-in',
      refuses: ['state_conflict'],
    },
    {
      body: z.strictObject({ password: password.optional() }),
      reply: z.object({
        secret: z.string().describe('To be typed into an authenticator app.'),
        url: z.string().describe('The same, as what a QR code holds.'),
      }),
    },
  ),
  confirmSecondFactor: operation(
    {
      id: 'confirmSecondFactor',
      method: 'PUT',
      path: '/me/second-factor',
      summary: 'Switch the second factor on',
      description: 'Ends your other sessions.',
      needs: 'signed-in',
      refuses: ['state_conflict'],
      endsAccess: true,
    },
    { body: z.strictObject({ code }), reply: recoveryCodes },
  ),
  removeSecondFactor: operation(
    {
      id: 'removeSecondFactor',
      method: 'POST',
      path: '/me/second-factor/remove',
      summary: 'Switch the second factor off',
      needs: 'signed-in',
    },
    { body: z.strictObject({ password: password.optional() }) },
  ),
  renewRecoveryCodes: operation(
    {
      id: 'renewRecoveryCodes',
      method: 'POST',
      path: '/me/second-factor/recovery-codes',
      summary: 'Make new recovery codes; the old ones end',
      needs: 'signed-in',
      refuses: ['state_conflict'],
    },
    { body: z.strictObject({ password: password.optional() }), reply: recoveryCodes },
  ),
  listAccessTokens: operation(
    {
      id: 'listAccessTokens',
      method: 'GET',
      path: '/me/access-tokens',
      summary: 'List your access tokens',
      needs: 'signed-in',
      refuses: ['session_needed'],
    },
    { reply: z.object({ items: z.array(accessToken) }) },
  ),
  createAccessToken: operation(
    {
      id: 'createAccessToken',
      method: 'POST',
      path: '/me/access-tokens',
      summary: 'Make an access token',
      description: 'The token is not shown again.',
      needs: 'signed-in',
      refuses: ['state_conflict', 'resource_unknown'],
      creates: true,
      shownOnce: 'token',
    },
    {
      body: z.strictObject({
        label: name,
        role,
        organisationId: z.string().max(64).nullable().default(null),
        expiresAt: time.nullable().default(null),
      }),
      reply: z.object({ accessToken, ...shownOnce('token', 'To be sent as `Authorization: Bearer sta_…`.') }),
    },
  ),
  revokeAccessToken: operation({
    id: 'revokeAccessToken',
    method: 'DELETE',
    path: '/me/access-tokens/:tokenId',
    summary: 'End one of your access tokens',
    needs: 'signed-in',
    endsAccess: true,
  }),
} as const;
