/**
 * The tables of everything that can go wrong, as the peer is told it, and what a "no" is. Nobody else writes a close code,
 * an HTTP status or an error's code: a refusal names a row, and one mapper per network edge turns the row into its form.
 */
import { adminProblems } from './problems/admin.ts';
import { httpProblems } from './problems/http.ts';
import { wireProblems } from './problems/wire.ts';

const merged = <A, B, C>(a: A, b: B, c: C): A & B & C => ({ ...a, ...b, ...c });

/** All of them. Pure, so that a bundle for browsers, which names `wireProblems` alone, goes without. */
export const problems = /* @__PURE__ */ merged(wireProblems, httpProblems, adminProblems);

export type ProblemCode = keyof typeof problems;

/** An expected "no": which rule refused, and a text that says what was given and what is accepted. */
export interface Refusal {
  readonly code: ProblemCode;
  readonly message: string;
  /** Where a limit refused. */
  readonly limit?: LimitState;
}

/** How a limit stood when it refused. All numbers are whole. */
export interface LimitState {
  readonly limit: number;
  /** What might still be asked for now; of a size as much as ever. */
  readonly remaining: number;
  /** Seconds until the same may succeed; null where waiting brings nothing back. */
  readonly reset: number | null;
}

export interface Refused {
  readonly ok: false;
  readonly refusal: Refusal;
}

export type Checked<T> = { readonly ok: true; readonly value: T } | Refused;

export function refuse(code: ProblemCode, message: string = problems[code].text): Refused {
  return { ok: false, refusal: { code, message } };
}

/** Says it in the text too. `what`: what was asked; `unit`: of what the limit is a number, such as `bytes`. */
export function refuseByLimit(
  code: ProblemCode,
  what: string,
  unit: string,
  limit: LimitState,
): { readonly ok: false; readonly refusal: Refusal & { readonly limit: LimitState } } {
  const left = limit.remaining < limit.limit ? `, ${limit.remaining} left` : '';
  const wait = limit.reset === null ? 'waiting does not help' : `try again in ${limit.reset} s`;
  const message = `${what}: the limit is ${limit.limit} ${unit}${left}, ${wait}`;
  return { ok: false, refusal: { code, message, limit } };
}

/** What a wait of so many milliseconds is as a `reset`: never 0, or a client might come back at once. */
export function resetSeconds(waitMs: number): number {
  return Math.max(1, Math.ceil(waitMs / 1_000));
}

/** A surprise: the world failed, or we did. The code's public text is what a peer may see; `message` is for us. */
export class StarlingError extends Error {
  readonly code: ProblemCode;
  /** Only for `rate_limited` and `unavailable`: when a retry may succeed. */
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ProblemCode, message: string, options?: { cause?: unknown; retryAfterSeconds?: number }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'StarlingError';
    this.code = code;
    this.retryAfterSeconds = options?.retryAfterSeconds;
  }
}
