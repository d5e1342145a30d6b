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

export interface App {
  /** Decimal digits: Pusher URLs parse it as a number. */
  readonly id: string;
  readonly name: string;
  readonly isEnabled: boolean;
  /** All of them, the oldest first; a disabled one authenticates nothing. */
  readonly keys: readonly AppKey[];
  readonly hasClientEvents: boolean;
  readonly hasSubscriptionCounts: boolean;
  readonly hasWatchlists: boolean;
  readonly admitsAuthorizedOnly: boolean;
  readonly requiresTls: boolean;
  /** Empty: every origin. Otherwise `https://example.com`, `https://*.example.com`, `example.com`, `*.example.com`. */
  readonly allowedOrigins: readonly string[];
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
