import { limits } from '@starling/protocol';

export interface AppKey {
  readonly key: string;
  readonly secret: string;
  readonly isEnabled: boolean;
}

export interface AppLimits {
  /** Connections at once. */
  readonly connections: number;
  readonly connectionsPerAddress: number;
  readonly channelsPerConnection: number;
  /** UTF-8 bytes of an event's data. */
  readonly eventDataBytes: number;
  readonly clientEventsPerSecond: number;
  readonly publishesPerSecond: number;
  readonly presenceMembers: number;
}

/** Capability tokens: JWTs that say what their bearer may do, in place of one HMAC string for each channel. */
export interface TokenSettings {
  /** False: no token is accepted, and connections opened with one are closed. For the day a signing key leaks. */
  readonly isEnabled: boolean;
  /** Where an identity provider publishes its keys, an https URL; without it only tokens signed with an app key count. */
  readonly jwksUrl?: string;
  /** What `iss` must be of tokens that the identity provider signed. */
  readonly issuer?: string;
  /** What `aud` must hold of tokens that the identity provider signed. */
  readonly audience?: string;
}

/** Tokens that are refused although their signature and their times are good. */
export interface Revocation {
  /** `user`: all tokens whose `sub` is `id`, issued until `at`. `token`: the one whose `jti` is `id`. */
  readonly by: 'user' | 'token';
  readonly id: string;
  /** Milliseconds since 1970: when it was revoked. */
  readonly at: number;
}

export interface App {
  /** Decimal digits: Pusher URLs parse it as a number. */
  readonly id: string;
  /** Grows with every change of anything here. */
  readonly version: number;
  readonly name: string;
  readonly isEnabled: boolean;
  /** All of them, the oldest first; a disabled one authenticates nothing. */
  readonly keys: readonly AppKey[];
  readonly hasClientEvents: boolean;
  readonly hasSubscriptionCounts: boolean;
  readonly hasWatchlists: boolean;
  readonly admitsAuthorizedOnly: boolean;
  readonly requiresTls: boolean;
  /** Whoever watches the app is not shown the data of its events. */
  readonly hidesData: boolean;
  /** Empty: every origin. Otherwise patterns as `isOriginAllowed` of the protocol reads them. */
  readonly allowedOrigins: readonly string[];
  readonly tokens: TokenSettings;
  /** Only those under which a token may still be alive: older ones are dropped. */
  readonly revocations: readonly Revocation[];
  readonly limits: AppLimits;
}

/** Pusher's own numbers where it has them, and otherwise bounds that only a runaway meets. */
export const defaultAppLimits: AppLimits = {
  connections: 100_000,
  connectionsPerAddress: 20_000,
  channelsPerConnection: 1_000,
  eventDataBytes: 10_240,
  clientEventsPerSecond: 10,
  publishesPerSecond: 100_000,
  presenceMembers: 100,
};

export const defaultTokenSettings: TokenSettings = { isEnabled: true };

/** No token lives longer than this from its `iat`, in milliseconds. */
export const maxTokenLifetimeMs = limits.tokenLifetimeSeconds * 1_000;

/**
 * The apps and their keys. Answers come from memory on the message path; what is behind (a database, a cache over
 * nodes) is this port's business.
 */
export interface AppStore {
  /** By any of its keys, enabled or not. */
  byKey(key: string): Promise<App | undefined>;
  byId(id: string): Promise<App | undefined>;
  /** Called after an app was added, changed or (undefined) removed. Returns the function that ends the listening. */
  onChange(listener: (appId: string, app: App | undefined) => void): () => void;
}

/** Of one app, since every node holds all of them. */
export const maxRevocations = 10_000;

/**
 * The app's revocations with one more: the latest of each user and each token, none that no token can outlive. A token
 * may have been minted by a clock that was a little ahead.
 */
export function withRevocation(kept: readonly Revocation[], added: Revocation, nowMs: number): readonly Revocation[] {
  const oldest = nowMs - maxTokenLifetimeMs - limits.tokenSkewSeconds * 1_000;
  const isSame = ({ by, id }: Revocation): boolean => by === added.by && id === added.id;
  const at = Math.max(added.at, ...kept.filter(isSame).map((each) => each.at));
  return [...kept.filter((each) => !isSame(each) && each.at >= oldest), { ...added, at }];
}

/** Where a backend's order to refuse tokens goes. Once resolved it is kept, and on its way to every node. */
export interface Revoker {
  /**
   * The app's version grows, and it tells its listeners of the change. Rejects with a StarlingError `app_id_unknown` when
   * there is no such app, `state_conflict` when it has `maxRevocations` of other users and tokens, `unavailable` when the
   * world fails.
   */
  revoke(appId: string, revocation: Revocation): Promise<void>;
}
