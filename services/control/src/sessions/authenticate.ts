/** Finds the principal of a request: a browser with a session, or a program with an access token. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type Principal, type Role, roles } from '../contract/principal.ts';
import { membershipsOf } from '../members/index.ts';
import { type UsedToken, useAccessToken } from './access-token.ts';
import { giveSession, givesCookie, readCookie, takeCookies } from './browser.ts';
import { isSessionOpen, resumeSession, type SessionDeps, type SessionTicket } from './session.ts';

export type Authenticate = (request: FastifyRequest) => Promise<Principal | undefined>;

/** On the server whose requests are asked about: the cookies of sessions are replaced with its answers. */
export async function authentication(deps: SessionDeps, server: FastifyInstance): Promise<Authenticate> {
  await takeCookies(server);
  const replacements = new WeakMap<FastifyRequest, SessionTicket>();
  server.addHook('onSend', async (request, reply) => {
    const replacement = replacements.get(request);
    // Signing in and out give a cookie of their own, which is the newer.
    if (replacement !== undefined && !givesCookie(request, reply, 'session')) {
      await giveSession(deps, request, reply, replacement);
    }
  });
  return async (request) => {
    const { authorization } = request.headers;
    // What is shown counts: a wrong token is not made good by a cookie that happens to be there.
    if (authorization !== undefined) return byToken(deps, authorization);
    const session = await bySession(deps, request);
    if (session?.replacement !== undefined) replacements.set(request, session.replacement);
    return session?.principal;
  };
}

async function byToken(deps: SessionDeps, authorization: string): Promise<Principal | undefined> {
  const [, text] = /^Bearer +(\S+)$/i.exec(authorization) ?? [];
  const token = text === undefined ? undefined : await useAccessToken(deps, text);
  if (token === undefined) return undefined;
  const held = await rolesOf(deps, token.userId);
  return {
    kind: 'token',
    userId: token.userId,
    sessionId: undefined,
    tokenId: token.id,
    roleIn: (organisationId) => roleByToken(held, token, organisationId),
  };
}

function roleByToken(
  held: ReadonlyMap<string, Role>,
  token: Pick<UsedToken, 'role' | 'organisationId'>,
  organisationId: string,
): Role | undefined {
  const role = held.get(organisationId);
  if (role === undefined) return undefined;
  if (token.organisationId !== null && token.organisationId !== organisationId) return undefined;
  return lower(role, token.role);
}

/**
 * The principal with its present roles, for an answer that goes on: undefined when its session or token has ended since. Unlike a
 * request this is no use of it: no cookie is looked at or replaced.
 */
export async function renewPrincipal(deps: SessionDeps, principal: Principal): Promise<Principal | undefined> {
  const { sql } = deps.database;
  const { userId, sessionId, tokenId } = principal;
  if (tokenId !== undefined) {
    const [token] = await sql<Pick<UsedToken, 'role' | 'organisationId'>[]>`
      select role, organisation_id as "organisationId" from access_tokens
      where id = ${tokenId} and user_id = ${userId}
        and (expires_at is null or expires_at > ${new Date(deps.clock.now())})`;
    if (token === undefined) return undefined;
    const held = await rolesOf(deps, userId);
    return { ...principal, roleIn: (organisationId) => roleByToken(held, token, organisationId) };
  }
  if (sessionId === undefined || !(await isSessionOpen(deps, userId, sessionId))) return undefined;
  const held = await rolesOf(deps, userId);
  return { ...principal, roleIn: (organisationId) => held.get(organisationId) };
}

async function bySession(
  deps: SessionDeps,
  request: FastifyRequest,
): Promise<{ readonly principal: Principal; readonly replacement: SessionTicket | undefined } | undefined> {
  const text = readCookie(request, 'session');
  const claims = text === undefined ? undefined : await deps.tickets.read('session', text, deps.clock.now());
  const { jti, generation } = claims ?? {};
  if (jti === undefined || typeof generation !== 'number') return undefined;
  const session = await resumeSession(deps, jti, generation);
  if (session === undefined) return undefined;
  const held = await rolesOf(deps, session.userId);
  const principal: Principal = {
    kind: 'user',
    userId: session.userId,
    sessionId: session.id,
    roleIn: (organisationId) => held.get(organisationId),
  };
  return { principal, replacement: session.replacement };
}

async function rolesOf({ database }: SessionDeps, userId: string): Promise<ReadonlyMap<string, Role>> {
  const memberships = await membershipsOf(database, userId);
  return new Map(memberships.map(({ organisationId, role }) => [organisationId, role]));
}

function lower(one: Role, other: Role): Role {
  return roles.indexOf(one) > roles.indexOf(other) ? one : other;
}
