/** What joining, leaving, signing in and tokens need of a session: no more, so that they can be read without it. */

import type {
  App,
  Broker,
  Clock,
  Membership,
  Observer,
  PresenceStore,
  TokenVerifier,
  VerifiedToken,
} from '@starling/ports';
import type { Member, ProblemCode, Refusal, ServerEvent } from '@starling/protocol';
import type { Charge } from './capacity.ts';
import type { Hub, Receiver, Subscription } from './hub.ts';
import type { SubscriptionCounts } from './subscription-counts.ts';

export interface SessionContextDeps {
  readonly broker: Broker;
  readonly presenceStore: PresenceStore;
  readonly hub: Hub;
  readonly counts: SubscriptionCounts;
  readonly observer: Observer;
  readonly clock: Clock;
  readonly tokenVerifier: TokenVerifier;
}

/** Whom a session is signed in as, and what it holds for it. */
export interface SignedIn extends Member {
  readonly membership: Membership;
  /** Its own user topic, by which a terminate reaches it, then one for each user it watches. */
  readonly subscriptions: readonly Subscription[];
  /** The users it watches, in that order. */
  readonly watched: readonly string[];
  /** Bytes of the session's charge that these take. */
  readonly cost: number;
}

export interface SessionContext extends Receiver {
  readonly deps: SessionContextDeps;
  readonly app: App;
  /** To be asked again after every await: a session may end at any of them. */
  readonly isClosed: boolean;
  /** What it holds of the node's memory. */
  readonly charge: Charge;
  user: SignedIn | null;
  /** The one in force. */
  readonly token: VerifiedToken | null;
  tell(event: ServerEvent): void;
  refuse(code: ProblemCode, message?: string): void;
  /** Puts it in force, says so, and leaves the channels that it does not allow. */
  useToken(token: VerifiedToken): void;
  /** The connection stays open, with the token that it has. */
  refuseToken(refusal: Refusal): void;
  refuseSubscription(channel: string, refusal: Refusal): void;
  /** Something ordinary happened. Call it only where `observer.notes`. */
  note(what: string, details: Record<string, unknown>): void;
  /** Signed in, with a token, or in a private or presence channel. */
  authorized(): void;
}
