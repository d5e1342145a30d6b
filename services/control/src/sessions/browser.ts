/** What a request tells of where it comes from, and the cookies we give to browsers. */
import { randomBytes } from 'node:crypto';
import fastifyCookie from '@fastify/cookie';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { openSession, type SessionDeps, type SessionTicket, type Visitor } from './session.ts';
import type { TicketUse } from './ticket.ts';

type Deps = Pick<SessionDeps, 'tickets' | 'clock'>;

const browserLastsMs = 180 * 24 * 3_600_000;

/** Cookies, on this server and what is mounted on it. */
export async function takeCookies(server: FastifyInstance): Promise<void> {
  if (!server.hasPlugin('@fastify/cookie')) await server.register(fastifyCookie);
}

/** Over TLS the name itself keeps other hosts of the domain, and plain pages, from setting it. */
function cookieName(request: FastifyRequest, use: TicketUse): string {
  return `${request.protocol === 'https' ? '__Host-' : ''}starling_${use}`;
}

export function readCookie(request: FastifyRequest, use: TicketUse): string | undefined {
  return request.cookies[cookieName(request, use)];
}

export function setCookie(
  request: FastifyRequest,
  reply: FastifyReply,
  use: TicketUse,
  text: string,
  maxAgeMs: number,
): void {
  reply.setCookie(cookieName(request, use), text, {
    path: '/',
    httpOnly: true,
    sameSite: 'lax',
    secure: request.protocol === 'https',
    maxAge: Math.max(0, Math.floor(maxAgeMs / 1_000)),
  });
}

/** Whether the answer has this cookie by now. */
export function givesCookie(request: FastifyRequest, reply: FastifyReply, use: TicketUse): boolean {
  return [reply.getHeader('set-cookie')].flat().some((each) => `${each}`.startsWith(`${cookieName(request, use)}=`));
}

export function clearCookie(request: FastifyRequest, reply: FastifyReply, use: TicketUse): void {
  setCookie(request, reply, use, '', 0);
}

export async function giveSession(
  { tickets, clock }: Deps,
  request: FastifyRequest,
  reply: FastifyReply,
  { id, generation, endsAtMs }: SessionTicket,
): Promise<void> {
  const text = await tickets.sign('session', { jti: id, generation }, endsAtMs);
  setCookie(request, reply, 'session', text, endsAtMs - clock.now());
}

/** After a sign-in: from this browser the user is not slowed down by the tries of others. */
async function rememberBrowser(
  { tickets, clock }: Deps,
  request: FastifyRequest,
  reply: FastifyReply,
  userId: string,
): Promise<void> {
  const claims = { jti: randomBytes(16).toString('base64url'), sub: userId };
  setCookie(
    request,
    reply,
    'browser',
    await tickets.sign('browser', claims, clock.now() + browserLastsMs),
    browserLastsMs,
  );
}

export async function visitorOf({ tickets, clock }: Deps, request: FastifyRequest): Promise<Visitor> {
  const text = readCookie(request, 'browser');
  const claims = text === undefined ? undefined : await tickets.read('browser', text, clock.now());
  const browser =
    claims?.jti === undefined || claims.sub === undefined ? undefined : { id: claims.jti, userId: claims.sub };
  return { address: request.ip, userAgent: request.headers['user-agent'] ?? '', browser };
}

/** A new session, whatever there was before, in the cookies of the answer. */
export async function signInAs(
  deps: SessionDeps,
  request: FastifyRequest,
  reply: FastifyReply,
  userId: string,
): Promise<void> {
  const session = await openSession(deps, userId, await visitorOf(deps, request));
  await giveSession(deps, request, reply, session);
  await rememberBrowser(deps, request, reply, userId);
}
