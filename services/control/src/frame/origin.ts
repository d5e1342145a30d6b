/** Whether a page of another site sent a change, with the cookies of its visitor. */
import type { FastifyRequest } from 'fastify';

/**
 * Browsers say which page sent a request; programs say nothing and carry no cookies that are not theirs. Together with
 * bodies of JSON only, which a form cannot send, and SameSite cookies.
 */
export function isForeign(request: FastifyRequest): boolean {
  const site = request.headers['sec-fetch-site'];
  if (site !== undefined) return site !== 'same-origin' && site !== 'none';
  const { origin } = request.headers;
  if (origin === undefined) return false;
  return !URL.canParse(origin) || new URL(origin).host !== request.host;
}
