/** How long to wait before the next try, and what a close means for it. */
import { instructionOf } from '@starling/protocol';

export interface RetryLimits {
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
}

/**
 * Doubles from the least to the most, `attempt` counting from 0, and spreads over the upper half: a server that comes
 * back meets its clients one by one, and no client comes at once.
 */
export function retryDelayMs(attempt: number, limits: RetryLimits, random: number): number {
  const ceilingMs = Math.min(limits.retryMaxMs, limits.retryMinMs * 2 ** Math.min(attempt, 30));
  return Math.round(ceilingMs * (0.5 + random / 2));
}

export type Step =
  | { readonly next: 'give-up' }
  | { readonly next: 'retry'; readonly delayMs: number; readonly withTls?: true };

export interface Ended {
  readonly code: number;
  /** Tries since the last connection that lasted. */
  readonly attempt: number;
  readonly isTls: boolean;
  /** Whether it lived long enough that its end is no sign of a loop. */
  readonly hasLasted: boolean;
}

/** The one decision about coming back: give up, come back at once, or after a pause. */
export function stepAfter({ code, attempt, isTls, hasLasted }: Ended, limits: RetryLimits, random: number): Step {
  if (code === 4000 && !isTls) return { next: 'retry', delayMs: 0, withTls: true };
  const instruction = instructionOf(code);
  if (instruction === 'give-up') return { next: 'give-up' };
  // "At once" to every client of a server that closes all of them would be a loop without a pause.
  if (instruction === 'reconnect-now' && (hasLasted || attempt === 0)) return { next: 'retry', delayMs: 0 };
  return { next: 'retry', delayMs: retryDelayMs(attempt, limits, random) };
}
