/** Answers that are no success, in their one shape. */
import { type ProblemCode, problems } from '@starling/protocol';
import { toHttpReply } from '@starling/runtime';
import type { FastifyReply } from 'fastify';
import type { ErrorReply } from '../contract/operation.ts';
import type { Failed, Fault } from './implement.ts';

export function fail(code: ProblemCode, more: Partial<Fault> = {}): Failed {
  return { ok: false, refusal: { code, message: problems[code].text, ...more } };
}

/** A refusal if it is another version that is to be changed. */
export function outdated(version: number, ifVersion: number | undefined): Failed | undefined {
  if (ifVersion === undefined || ifVersion === version) return undefined;
  return fail('version_outdated', { message: `This is version ${version}, your change is to ${ifVersion}`, version });
}

/** What to do about it, where the refusal itself says nothing better. */
const hints: Partial<Record<ProblemCode, string>> = {
  email_taken: 'Sign in as that user.',
  fields_invalid: 'Mend the fields that are named and send it again.',
  idempotency_key_reused:
    'Send a new Idempotency-Key with every new request, and the same one only to repeat a request.',
  invitation_of_other: 'Sign in with the address that was invited, or ask for another invitation.',
  encoding_unsupported: 'Send the body as it is, without a Content-Encoding.',
  headers_too_large: 'Send fewer or shorter headers: cookies of other programs on this host count, too.',
  host_ambiguous: 'Send exactly one Host header.',
  json_too_deep: 'Send JSON that is nested at most 32 deep.',
  last_operator: 'Make somebody else an operator first.',
  last_owner: 'Make somebody else an owner first.',
  link_spent: 'Ask for a new one.',
  operator_needed: 'Sign in with a browser as an operator, or ask one of them.',
  origin_refused: 'Send changes from the page that this server serves, or with an access token.',
  password_weak: 'Take a longer one: a short sentence is good.',
  password_wrong: 'Give the password that you sign in with.',
  provider_refused: 'Try again, or ask who runs this installation.',
  rate_limited: 'Wait as many seconds as Retry-After says.',
  request_malformed: 'Send JSON in UTF-8 with the content type application/json.',
  request_timeout: 'Send the whole request at once.',
  request_too_large: 'Send less at once.',
  request_unauthenticated: 'Sign in, or send an access token: Authorization: Bearer sta_…',
  resource_unknown: 'Look at the id, and at the organisation that you are signed in for.',
  role_too_low: 'Ask an owner of the organisation for a higher role, or to do it for you.',
  route_unknown: 'See /api/v1/docs for what there is.',
  second_factor_missing: 'Send it again with `code`, from your authenticator app or of your recovery codes.',
  second_factor_wrong: 'Wait for the next code, or take a recovery code.',
  session_needed: 'Sign in with a browser.',
  sign_in_outdated: 'Sign in again, then send it again.',
  sign_in_wrong: 'Look at both, and at the Caps Lock key.',
  unavailable: 'Try again in a moment.',
  version_outdated: 'Read it again, look at what was changed, and send your change with the new version.',
};
const lastHint = 'Try it again; when it stays, the log of the server says more.';

/** A refusal, or something thrown. Gives back the code of what was said. */
export function sendFault(reply: FastifyReply, problem: unknown, retryAfterMs?: number): ProblemCode {
  const { status, body, retryAfterSeconds } = toHttpReply(
    problem,
    retryAfterMs === undefined ? undefined : retryAfterMs / 1_000,
  );
  if (retryAfterSeconds !== undefined) reply.header('retry-after', retryAfterSeconds);
  const { hint, fields, version } = problem instanceof Error ? {} : (problem as Fault);
  const answer: ErrorReply = {
    error: {
      code: body.code,
      message: body.error,
      hint: hint ?? hints[body.code] ?? lastHint,
      ...(fields === undefined ? {} : { fields }),
      ...(version === undefined ? {} : { version }),
    },
  };
  sendJson(reply.code(status), answer);
  return body.code;
}

export function sendJson(reply: FastifyReply, value: unknown): void {
  reply.header('content-type', 'application/json; charset=utf-8').send(JSON.stringify(value));
}
