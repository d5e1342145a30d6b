/** Signing in and out, and what everybody decides for themselves, as operations of the admin API. */
import { type Checked, refuse } from '@starling/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import type { me, accessToken as tokenSchema } from '../../contract/people.ts';
import { peopleOperations as operations } from '../../contract/people.ts';
import type { Principal } from '../../contract/principal.ts';
import type { PeopleDeps } from '../../deps.ts';
import { type Implementation, implement, implementPrepared } from '../../frame/implement.ts';
import { changeName, changePasswordHash, findUser, hasUsers, membershipsOf } from '../../members/user.ts';
import { confirmTotp, offerTotp, removeTotp, renewRecoveryCodes } from '../../second-factor/second-factor.ts';
import {
  type AccessTokenItem,
  createAccessToken,
  listAccessTokens,
  revokeAccessToken,
} from '../../sessions/access-token.ts';
import { clearCookie, giveSession, rememberBrowser, visitorOf } from '../../sessions/browser.ts';
import { endSession, endSessions, listSessions, openSession } from '../../sessions/session.ts';
import { checkPassword } from '../../sign-in/password.ts';
import { checkCredentials, checkPasswordAgain, laneOf } from '../../sign-in/sign-in.ts';

export function peopleImplementations(deps: PeopleDeps, hasProvider: boolean): readonly Implementation[] {
  const { database } = deps;
  return [
    implement(operations.readSignIn, async () => ({
      ok: true,
      value: { isSetUp: await hasUsers(database), hasProvider },
    })),

    implementPrepared(
      operations.signIn,
      async ({ body, request }) => checkCredentials(deps, body, await visitorOf(deps, request)),
      async ({ request, reply }, { id }) => {
        await signInAs(deps, request, reply, id);
        return { ok: true, value: await meOf(deps, id), deed: { target: `user:${id}` } };
      },
    ),

    implement(operations.signOut, async ({ principal, request, reply }) => {
      const user = asUser(principal);
      if (!user.ok) return user;
      await endSession(deps, user.value.userId, user.value.sessionId);
      clearCookie(request, reply, 'session');
      return { ok: true, value: null, deed: { target: `session:${user.value.sessionId}` } };
    }),

    implement(operations.readMe, async ({ principal }) => {
      const { memberships, ...rest } = await meOf(deps, principal.userId);
      // Of a token only what it reaches, and as what: elsewhere, and above that, its user is no business of its.
      const reached = memberships.flatMap((each) => {
        const role = principal.roleIn(each.organisationId);
        return role === undefined ? [] : [{ ...each, role }];
      });
      return { ok: true, value: { ...rest, memberships: reached } };
    }),

    implement(operations.changeMe, async ({ principal, body }) => {
      const user = asUser(principal);
      if (!user.ok) return user;
      await changeName(database, user.value.userId, body.name);
      return { ok: true, value: await meOf(deps, user.value.userId), deed: { target: `user:${user.value.userId}` } };
    }),

    implementPrepared(
      operations.changePassword,
      async ({ principal, body }) => {
        const session = asUser(principal);
        if (!session.ok) return session;
        const user = await checkPasswordAgain(deps, session.value, body.current);
        if (!user.ok) return user;
        const password = checkPassword(body.password, user.value.email);
        if (!password.ok) return password;
        const hash = await deps.passwords.hash(password.value, laneOf(user.value));
        return { ok: true, value: { ...session.value, from: user.value.passwordHash, hash } } as const;
      },
      async (_call, { userId, sessionId, from, hash }) => {
        // Changed meanwhile, it is no longer the one that was asked for.
        if (!(await changePasswordHash(database, userId, { from, to: hash }))) return refuse('password_wrong');
        const ended = await endSessions(deps, userId, sessionId);
        return { ok: true, value: null, deed: { target: `user:${userId}`, details: { endedSessions: ended } } };
      },
    ),

    implement(operations.listSessions, async ({ principal }) => {
      const user = asUser(principal);
      if (!user.ok) return user;
      const items = await listSessions(deps, principal.userId);
      return {
        ok: true,
        value: {
          items: items.map(({ createdAt, seenAt, ...rest }) => ({
            ...rest,
            isThis: rest.id === principal.sessionId,
            createdAt: createdAt.toISOString(),
            seenAt: seenAt.toISOString(),
          })),
        },
      };
    }),

    implement(operations.endSession, async ({ principal, params, request, reply }) => {
      const user = asUser(principal);
      if (!user.ok) return user;
      if (!(await endSession(deps, user.value.userId, params.sessionId))) return refuse('resource_unknown');
      if (params.sessionId === user.value.sessionId) clearCookie(request, reply, 'session');
      return { ok: true, value: null, deed: { target: `session:${params.sessionId}` } };
    }),

    implement(operations.endSessions, async ({ principal, request, reply }) => {
      const user = asUser(principal);
      if (!user.ok) return user;
      const ended = await endSessions(deps, user.value.userId);
      clearCookie(request, reply, 'session');
      return {
        ok: true,
        value: null,
        deed: { target: `user:${user.value.userId}`, details: { endedSessions: ended } },
      };
    }),

    implementPrepared(
      operations.offerSecondFactor,
      ({ principal, body }) => again(deps, principal, body.password),
      async (_call, { user }) => {
        const offered = await offerTotp(deps, user);
        return offered.ok ? { ...offered, deed: { target: `user:${user.id}` } } : offered;
      },
    ),

    implement(operations.confirmSecondFactor, async ({ principal, body }) => {
      const session = asUser(principal);
      if (!session.ok) return session;
      const user = await findUser(database, session.value.userId);
      if (user === undefined) return refuse('request_unauthenticated');
      const codes = await confirmTotp(deps, user, body.code);
      if (!codes.ok) return codes;
      const ended = await endSessions(deps, user.id, session.value.sessionId);
      const deed = { target: `user:${user.id}`, details: { endedSessions: ended } };
      return { ok: true, value: { recoveryCodes: [...codes.value] }, deed };
    }),

    implementPrepared(
      operations.removeSecondFactor,
      ({ principal, body }) => again(deps, principal, body.password),
      async (_call, { user }) => {
        await removeTotp(deps, user.id);
        return { ok: true, value: null, deed: { target: `user:${user.id}` } };
      },
    ),

    implementPrepared(
      operations.renewRecoveryCodes,
      ({ principal, body }) => again(deps, principal, body.password),
      async (_call, { user }) => {
        if (user.totpSecretSealed === null) return refuse('state_conflict', 'There is no second factor');
        const recoveryCodes = [...(await renewRecoveryCodes(deps, user.id))];
        return { ok: true, value: { recoveryCodes }, deed: { target: `user:${user.id}` } };
      },
    ),

    implement(operations.listAccessTokens, async ({ principal }) => {
      const user = asUser(principal);
      if (!user.ok) return user;
      const items = await listAccessTokens(deps, principal.userId);
      return { ok: true, value: { items: items.map(toAccessToken) } };
    }),

    implement(operations.createAccessToken, async ({ principal, body }) => {
      // Otherwise a token that is stolen could make one that outlives it.
      const user = asUser(principal);
      if (!user.ok) return user;
      const { organisationId, expiresAt, label, role } = body;
      if (organisationId !== null && principal.roleIn(organisationId) === undefined) return refuse('resource_unknown');
      const wanted = { label, role, organisationId, expiresAt: expiresAt === null ? null : new Date(expiresAt) };
      const made = await createAccessToken(deps, user.value.userId, wanted);
      if (!made.ok) return made;
      const deed = { target: `access-token:${made.value.id}`, details: { label, role, organisationId, expiresAt } };
      return { ok: true, value: { accessToken: toAccessToken(made.value), token: made.value.token }, deed };
    }),

    implement(operations.revokeAccessToken, async ({ principal, params }) => {
      const user = asUser(principal);
      if (!user.ok) return user;
      if (!(await revokeAccessToken(deps, user.value.userId, params.tokenId))) return refuse('resource_unknown');
      return { ok: true, value: null, deed: { target: `access-token:${params.tokenId}` } };
    }),
  ];
}

/** A new session, whatever there was before, in the cookies of the answer. */
export async function signInAs(
  deps: PeopleDeps,
  request: FastifyRequest,
  reply: FastifyReply,
  userId: string,
): Promise<void> {
  const session = await openSession(deps, userId, await visitorOf(deps, request));
  await giveSession(deps, request, reply, session);
  await rememberBrowser(deps, request, reply, userId);
}

/** Whoever is there in person: a program with a token decides nothing about the user, nor sees where they are signed in. */
function asUser(principal: Principal): Checked<{ readonly userId: string; readonly sessionId: string }> {
  const { kind, userId, sessionId } = principal;
  if (kind !== 'user' || sessionId === undefined) return refuse('session_needed');
  return { ok: true, value: { userId, sessionId } };
}

async function again(deps: PeopleDeps, principal: Principal, password: string | undefined) {
  const session = asUser(principal);
  if (!session.ok) return session;
  const user = await checkPasswordAgain(deps, session.value, password);
  return user.ok ? ({ ok: true, value: { user: user.value } } as const) : user;
}

async function meOf({ database }: PeopleDeps, userId: string): Promise<z.input<typeof me>> {
  const user = await findUser(database, userId);
  if (user === undefined) throw new Error('Somebody is signed in as a user who is not there');
  return {
    id: user.id,
    email: user.email,
    hasProvenEmail: user.hasProvenEmail,
    name: user.name,
    hasPassword: user.passwordHash !== null,
    hasSecondFactor: user.totpSecretSealed !== null,
    memberships: [...(await membershipsOf(database, userId))],
  };
}

function toAccessToken(item: AccessTokenItem): z.input<typeof tokenSchema> {
  const { id, label, role, organisationId, createdAt, expiresAt, lastUsedAt } = item;
  return {
    id,
    label,
    role,
    organisationId,
    createdAt: createdAt.toISOString(),
    expiresAt: expiresAt?.toISOString() ?? null,
    lastUsedAt: lastUsedAt?.toISOString() ?? null,
  };
}
