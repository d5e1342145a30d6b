/** The way to the identity provider and back: two addresses that browsers are sent to. */
import type { Observer } from '@starling/ports';
import { problems, type Refusal, StarlingError } from '@starling/protocol';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { sendMessage } from '../frame/html.ts';
import { clearCookie, readCookie, type SessionDeps, setCookie, signInAs } from '../sessions/index.ts';
import { admitAddress, type ThrottleDeps } from '../throttle/index.ts';
import { type OidcFlow, OidcProvider, type OidcSettings, type PublicUrl } from './provider.ts';
import { type OidcRules, userOf } from './user.ts';

type OidcPagesDeps = SessionDeps & ThrottleDeps & { readonly observer: Observer };

const flowLastsMs = 10 * 60_000;

interface OidcPagesOptions {
  readonly provider: OidcSettings;
  readonly rules: OidcRules;
  readonly publicUrl: PublicUrl;
  /** Like `/realtime`, or empty. */
  readonly pathPrefix: string;
}

/** `GET /sign-in/oidc?returnTo=/…` and `GET /sign-in/oidc/callback`. */
export async function oidcPages(
  server: FastifyInstance,
  deps: OidcPagesDeps,
  { provider: settings, rules, publicUrl, pathPrefix }: OidcPagesOptions,
): Promise<void> {
  const provider = new OidcProvider(settings, deps.clock);
  // Never of the request: its sender chooses the Host, and a provider may accept any host of a pattern.
  const redirectUri = () => `${publicUrl()}/sign-in/oidc/callback`;
  const options = { exposeHeadRoute: false };

  server.get('/sign-in/oidc', options, async (request, reply) => {
    try {
      await admitAddress(deps, 'oidc', request.ip);
      const { url, flow } = await provider.begin(redirectUri());
      const returnTo = localPath((request.query as Record<string, unknown>)['returnTo']) ?? `${pathPrefix}/`;
      const text = await deps.tickets.seal('oidc', { ...flow, returnTo }, deps.clock.now() + flowLastsMs);
      setCookie(request, reply, 'oidc', text, flowLastsMs);
      return await reply.code(302).headers({ location: url, 'cache-control': 'no-store' }).send();
    } catch (err) {
      return sendFailure(deps, reply, err);
    }
  });

  server.get('/sign-in/oidc/callback', options, async (request, reply) => {
    try {
      await admitAddress(deps, 'oidc', request.ip);
      const text = readCookie(request, 'oidc');
      const kept = text === undefined ? undefined : await deps.tickets.unseal('oidc', text, deps.clock.now());
      clearCookie(request, reply, 'oidc');
      if (kept === undefined) return sendRefusal(reply, { code: 'provider_refused', message: tooLate });
      const flow = kept as unknown as OidcFlow & { readonly returnTo: string };
      const identity = await provider.finish(flow, request.query as Record<string, unknown>, redirectUri());
      if (!identity.ok) return sendRefusal(reply, identity.refusal);
      const userId = await userOf(deps, rules, identity.value);
      if (!userId.ok) return sendRefusal(reply, userId.refusal);
      await signInAs(deps, request, reply, userId.value);
      return await reply.code(303).headers({ location: flow.returnTo, 'cache-control': 'no-store' }).send();
    } catch (err) {
      return sendFailure(deps, reply, err);
    }
  });
}

const tooLate =
  'The sign-in took too long, or began in another browser or at another address of this server: try again';

/** A path of this server; nothing that a browser would read as another's. */
export function localPath(given: unknown): string | undefined {
  if (typeof given !== 'string' || !given.startsWith('/') || /[\\\p{Cc}]/u.test(given)) return undefined;
  const here = 'http://here.invalid';
  if (!URL.canParse(given, here)) return undefined;
  const { origin, pathname, search, hash } = new URL(given, here);
  return origin === here && !pathname.startsWith('//') ? pathname + search + hash : undefined;
}

function sendRefusal(reply: FastifyReply, { code, message }: Refusal): FastifyReply {
  return sendMessage(reply, problems[code].status, {
    title: 'You are not signed in',
    text: message,
    link: { href: '../oidc', text: 'Try again' },
  });
}

function sendFailure({ observer }: OidcPagesDeps, reply: FastifyReply, err: unknown): FastifyReply {
  const code = err instanceof StarlingError ? err.code : 'internal';
  if (code !== 'rate_limited') observer.problem('signing in elsewhere failed', { err });
  if (err instanceof StarlingError && err.retryAfterSeconds !== undefined) {
    reply.header('retry-after', err.retryAfterSeconds);
  }
  return sendMessage(reply, problems[code].status, { title: 'That did not work', text: problems[code].text });
}
