/** What the people's operations work with. */
import type { Database, Keyring } from '@starling/database';
import type { Clock, Observer, RateLimiter } from '@starling/ports';
import type { Tickets } from './sessions/ticket.ts';
import type { Passwords } from './sign-in/password.ts';

export interface PeopleDeps {
  readonly database: Database;
  readonly keyring: Keyring;
  readonly clock: Clock;
  readonly rateLimiter: RateLimiter;
  readonly observer: Observer;
  readonly passwords: Passwords;
  readonly tickets: Tickets;
}

/** Where a request comes from. */
export interface Visitor {
  readonly address: string;
  readonly userAgent: string;
  /** A browser that has signed in before: which one, and as whom. */
  readonly browser: { readonly id: string; readonly userId: string } | undefined;
}

/** For a column of time. */
export function now(deps: Pick<PeopleDeps, 'clock'>): Date {
  return new Date(deps.clock.now());
}
