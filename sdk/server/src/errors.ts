/** What can go wrong between a backend and Starling. */
import type { LimitState, ProblemCode } from '@starling/protocol';

export type { LimitState };

/**
 * A server's own code, see the table of error codes; or, found here:
 * `invalid_argument`: what was given cannot be sent, the message says why. Nothing was sent.
 * `network`: no answer came. `timeout`: none came in time. An event may have been delivered all the same.
 * `answer_unknown`: what answered is no Starling, or one of another age.
 * `webhook_invalid`: the request was not signed with a secret of this app, or is no webhook.
 */
export type ErrorCode = ProblemCode | 'invalid_argument' | 'network' | 'timeout' | 'answer_unknown' | 'webhook_invalid';

export class StarlingError extends Error {
  readonly code: ErrorCode;
  /** The HTTP status of the answer; undefined when none came. */
  readonly status: number | undefined;
  /** When the same request may succeed, as far as the server said. */
  readonly retryAfterSeconds: number | undefined;
  /** Where a limit refused: what it is, what is left of it, and in how many seconds it may be tried again, if ever. */
  readonly limit: LimitState | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    details: {
      cause?: unknown;
      status?: number | undefined;
      retryAfterSeconds?: number | undefined;
      limit?: LimitState | undefined;
    } = {},
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'StarlingError';
    this.code = code;
    this.status = details.status;
    this.retryAfterSeconds = details.retryAfterSeconds;
    this.limit = details.limit;
  }
}

export function invalid(message: string): StarlingError {
  return new StarlingError('invalid_argument', message);
}
