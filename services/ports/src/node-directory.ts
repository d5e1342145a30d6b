/** What one app did on one node in one minute. */
export interface MinuteOfUse {
  /** When the minute began, in milliseconds since 1970; by the node's clock. */
  readonly at: number;
  /** The most connections at once. */
  readonly peakConnections: number;
  /** Frames from clients and requests from backends. */
  readonly messagesIn: number;
  readonly bytesIn: number;
  /** Frames to clients. */
  readonly messagesOut: number;
  readonly bytesOut: number;
  /** Connections, subscribes, events and requests that a rule refused. */
  readonly refused: number;
}

export interface AppOnNode {
  readonly appId: string;
  readonly connections: number;
  readonly subscriptions: number;
  /** The minute that is going on and the one before, the older first; none in which nothing happened. */
  readonly minutes: readonly MinuteOfUse[];
  /** By key: when a request or a connection used it last, if that was in these minutes; milliseconds since 1970. */
  readonly keyUses?: Readonly<Record<string, number>>;
}

/** What a node says of itself. */
export interface NodeReport {
  readonly nodeId: string;
  readonly host: string;
  /** What it serves, such as `edge` and `api`. */
  readonly parts: readonly string[];
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  readonly connections: number;
  /** Of the process, as the system counts it. */
  readonly memoryBytes: number;
  /** Those that have connections here, or had any use in the minutes reported. */
  readonly apps: readonly AppOnNode[];
}

/** How long a report counts: three times as long as nodes wait between two. In seconds. */
export const reportSeconds = 15;

/**
 * Which nodes there are. Each says so every few seconds; who has not for `reportSeconds` is gone. Every method rejects
 * with a StarlingError `unavailable` when the world fails.
 */
export interface NodeDirectory {
  /** Takes the place of the node's report before. */
  report(report: NodeReport): Promise<void>;
  /** At once, for a node that stops. */
  remove(nodeId: string): Promise<void>;
  /** In no order. */
  nodes(): Promise<readonly NodeReport[]>;
}
