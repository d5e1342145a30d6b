/** Who sent a request: a browser with a session, or a program with an access token. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { useAccessToken } from './access-token.ts';
import { giveSession, givesCookie, readCookie, takeCookies } from './browser.ts';
import type { PeopleDeps } from './deps.ts';
import { type Principal, type Role, roles } from './principal.ts';
import { resumeSession, type SessionTicket } from './session.ts';
import { membershipsOf } from './user.ts';

export type Authenticate = (request: FastifyRequest) => Promise<Principal | undefined>;

/** On the server whose requests are asked about: the cookies of sessions are replaced with its answers. */
export async function authentication(deps: PeopleDeps, server: FastifyInstance): Promise<Authenticate> {
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

async function byToken(deps: PeopleDeps, authorization: string): Promise<Principal | undefined> {
  const [, text] = /^Bearer +(\S+)$/i.exec(authorization) ?? [];
  const token = text === undefined ? undefined : await useAccessToken(deps, text);
  if (token === undefined) return undefined;
  const held = await rolesOf(deps, token.userId);
  return {
    kind: 'token',
    userId: token.userId,
    sessionId: undefined,
    tokenId: token.id,
    roleIn: (organisationId) => {
      const role = held.get(organisationId);
      if (role === undefined) return undefined;
      if (token.organisationId !== null && token.organisationId !== organisationId) return undefined;
      return lower(role, token.role);
    },
  };
}

async function bySession(
  deps: PeopleDeps,
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

async function rolesOf({ database }: PeopleDeps, userId: string): Promise<ReadonlyMap<string, Role>> {
  const memberships = await membershipsOf(database, userId);
  return new Map(memberships.map(({ organisationId, role }) => [organisationId, role]));
}

function lower(one: Role, other: Role): Role {
  return roles.indexOf(one) > roles.indexOf(other) ? one : other;
}
