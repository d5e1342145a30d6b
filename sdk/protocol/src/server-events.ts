/** All that a server tells a client, whatever the dialect. Values, not text. */
import type { Refusal } from './errors.ts';
import type { Member } from './members.ts';

/** The connection is open and has an id. */
export interface EstablishedEvent {
  readonly type: 'established';
  readonly socketId: string;
  /** After so long without a message the client should send one. */
  readonly activityTimeoutSeconds: number;
}
/** The connection, or one message of it, is refused. Whether the connection ends says the problem's row. */
export interface RefusedEvent {
  readonly type: 'refused';
  readonly refusal: Refusal;
}
export interface SubscribedEvent {
  readonly type: 'subscribed';
  readonly channel: string;
  /** Those present, the subscriber among them; undefined for channels without presence. */
  readonly members: readonly Member[] | undefined;
}
export interface SubscriptionRefusedEvent {
  readonly type: 'subscription-refused';
  readonly channel: string;
  readonly refusal: Refusal;
}
/** An event of the app. */
export interface AppEvent {
  readonly type: 'event';
  readonly channel: string;
  readonly event: string;
  /** Verbatim, as it was published. */
  readonly data: string;
  /** Of the sender of a client event on a presence channel; undefined for all others. */
  readonly userId: string | undefined;
}
export interface MemberAddedEvent {
  readonly type: 'member-added';
  readonly channel: string;
  readonly member: Member;
}
export interface MemberRemovedEvent {
  readonly type: 'member-removed';
  readonly channel: string;
  readonly userId: string;
}
export interface SubscriptionCountEvent {
  readonly type: 'subscription-count';
  readonly channel: string;
  readonly count: number;
}
/** The cache channel that was subscribed keeps no event. */
export interface CacheMissEvent {
  readonly type: 'cache-miss';
  readonly channel: string;
}
export interface SignedInEvent {
  readonly type: 'signed-in';
  /** The exact string that was signed. */
  readonly userData: string;
}
/** The capability token is in force. */
export interface TokenAcceptedEvent {
  readonly type: 'token-accepted';
  readonly userId: string | null;
  readonly expiresInSeconds: number;
  /** JSON text of an object. */
  readonly capabilities: string;
}
/** The capability token is refused; the one before stays in force. */
export interface TokenRefusedEvent {
  readonly type: 'token-refused';
  readonly refusal: Refusal;
}
export interface PublishedEvent {
  readonly type: 'published';
  /** The client's own name for the publish. */
  readonly id: string;
}
export interface PublishRefusedEvent {
  readonly type: 'publish-refused';
  readonly id: string;
  readonly refusal: Refusal;
  /** Null where the same publish can never succeed. */
  readonly retryAfterSeconds: number | null;
}
/** Users of the watchlist that are online, or offline, now. At least one list holds one. */
export interface WatchlistEvent {
  readonly type: 'watchlist';
  readonly online: readonly string[];
  readonly offline: readonly string[];
}

export type ServerEvent =
  | EstablishedEvent
  | RefusedEvent
  | { readonly type: 'ping' }
  | { readonly type: 'pong' }
  | SubscribedEvent
  | SubscriptionRefusedEvent
  | AppEvent
  | MemberAddedEvent
  | MemberRemovedEvent
  | SubscriptionCountEvent
  | CacheMissEvent
  | SignedInEvent
  | TokenAcceptedEvent
  | TokenRefusedEvent
  | PublishedEvent
  | PublishRefusedEvent
  | WatchlistEvent;
