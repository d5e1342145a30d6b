/** The one place where an outcome becomes an HTTP answer. */
import { type ProblemCode, problems, type Refusal, StarlingError } from '@starling/protocol';
import type { FastifyReply } from 'fastify';

const json = 'application/json; charset=utf-8';

export function sendJson(reply: FastifyReply, text: string): FastifyReply {
  return reply.header('content-type', json).send(text);
}

/**
 * `retryAfterSeconds` is for the codes that a pause mends. A second is the least the header can say, and what a
 * publish budget needs to fill up again from nothing.
 */
export function sendRefusal(reply: FastifyReply, refusal: Refusal, retryAfterSeconds = 1): FastifyReply {
  const { status } = problems[refusal.code];
  if (status === 429 || status === 503) reply.header('retry-after', retryAfterSeconds);
  return sendJson(reply.code(status), JSON.stringify({ error: refusal.message, code: refusal.code }));
}

/** What the peer is told of something thrown: the public text of its row, and of a defect of ours only that it is one. */
export function toRefusal(err: unknown): Refusal {
  const code = err instanceof StarlingError ? err.code : codeOfRequest(err);
  return { code, message: problems[code].text };
}

/** Fastify blames the peer with a 4xx `statusCode` for what it met while it read the request. */
function codeOfRequest(err: unknown): ProblemCode {
  const status = err instanceof Error && 'statusCode' in err ? Number(err.statusCode) : Number.NaN;
  if (status === problems.request_too_large.status) return 'request_too_large';
  return status >= 400 && status < 500 ? 'request_malformed' : 'internal';
}

/** An object of JSON text; unlike one built of properties it takes a channel called `__proto__`. */
export function toJsonObject(entries: Iterable<readonly [name: string, value: unknown]>): string {
  const members: string[] = [];
  for (const [name, value] of entries) members.push(`${JSON.stringify(name)}:${JSON.stringify(value)}`);
  return `{${members.join(',')}}`;
}
