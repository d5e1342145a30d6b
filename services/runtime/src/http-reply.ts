/** The one way from a refusal or an error to an HTTP answer. */
import { type LimitState, type ProblemCode, problems, type Refusal, StarlingError } from '@starling/protocol';
import type { FastifyReply } from 'fastify';

export interface HttpReply {
  readonly status: number;
  readonly body: { readonly error: string; readonly code: ProblemCode; readonly limit?: LimitState };
  readonly retryAfterSeconds: number | undefined;
  /** `Retry-After` and `RateLimit-*`, as far as they are known. */
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * The one way from a refusal or an error to an HTTP answer. A refusal's text is meant for the peer; of an error only
 * the code's public text is.
 */
export function toHttpReply(problem: Refusal | unknown, retryAfterSeconds?: number): HttpReply {
  const { code, message, limit, retrySeconds } = understood(problem);
  const { status, text } = problems[code];
  const mayRetry =
    (status === problems.unavailable.status || status === problems.rate_limited.status) && limit?.reset !== null;
  const seconds = retryAfterSeconds ?? retrySeconds ?? limit?.reset ?? 1;
  const retryAfter = mayRetry ? Math.max(1, Math.ceil(seconds)) : undefined;
  return {
    status,
    body: { error: message ?? text, code, ...(limit !== undefined && { limit }) },
    retryAfterSeconds: retryAfter,
    headers: {
      ...(retryAfter !== undefined && { 'retry-after': String(retryAfter) }),
      ...(limit !== undefined && limitHeaders(limit)),
    },
  };
}

function limitHeaders({ limit, remaining, reset }: LimitState): Record<string, string> {
  return {
    'ratelimit-limit': String(limit),
    'ratelimit-remaining': String(remaining),
    ...(reset !== null && { 'ratelimit-reset': String(reset) }),
  };
}

interface Understood {
  readonly code: ProblemCode;
  readonly message?: string;
  readonly limit?: LimitState;
  readonly retrySeconds?: number | undefined;
}

function understood(problem: unknown): Understood {
  if (problem instanceof StarlingError) return { code: problem.code, retrySeconds: problem.retryAfterSeconds };
  if (isRefusal(problem)) return problem;
  const status = problem instanceof Error && 'statusCode' in problem ? problem.statusCode : undefined;
  // Fastify's own: a body too large, JSON that does not parse, a path that does not decode.
  if (status === problems.request_too_large.status) return { code: 'request_too_large' };
  if (problem instanceof Error && typeof status === 'number' && status >= 400 && status < 500) {
    return { code: 'request_malformed', message: safeTexts[frameworkCode(problem)] ?? problems.request_malformed.text };
  }
  return { code: 'internal' };
}

/** What Fastify refuses before any route does, in texts that repeat nothing of what was sent. */
const safeTexts: Readonly<Record<string, string>> = {
  FST_ERR_BAD_URL: 'The path of the request is not validly percent-encoded',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'The body is empty, where JSON is expected',
  FST_ERR_CTP_INVALID_JSON_BODY: 'The body is not valid JSON',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'The body has not the length that Content-Length gives',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'The Content-Type of the body is not one that is taken here',
};

function frameworkCode(err: Error): string {
  return 'code' in err && typeof err.code === 'string' ? err.code : '';
}

function isRefusal(problem: unknown): problem is Refusal {
  return (
    typeof problem === 'object' &&
    problem !== null &&
    !(problem instanceof Error) &&
    'code' in problem &&
    typeof problem.code === 'string' &&
    Object.hasOwn(problems, problem.code)
  );
}

export function sendReply(reply: FastifyReply, { status, body, headers }: HttpReply): FastifyReply {
  return reply.code(status).headers(headers).send(body);
}
