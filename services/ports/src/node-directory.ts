import { isAppId, isFields, isTextUpTo, isWhole, readJson } from './reading.ts';

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
  /** Of workers: the process that started them, and ends with all of them. */
  readonly startedBy?: string;
  /** It serves those that it has, for a while, and wants no others. */
  readonly isStopping?: boolean;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  /** Whole seconds since then, by the node's monotonic clock; absent from a node of a version that did not tell it. */
  readonly uptimeSeconds?: number;
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

/** Bytes of the longest report that is read: some hundred for each app that has connections on the node. */
const maxReportBytes = 16 * 1_048_576;

/** A report as another node stored it. Undefined for what is none; fields that this version does not know are left out. */
export function parseNodeReport(text: string): NodeReport | undefined {
  const read = readJson(text, maxReportBytes);
  if (read === null || !isFields(read.value)) return undefined;
  const { nodeId, host, parts, version, startedBy, isStopping } = read.value;
  const { startedAt, uptimeSeconds, connections, memoryBytes, apps } = read.value;
  if (!isTextUpTo(nodeId, 128) || !isTextUpTo(host, 256) || !isTextUpTo(version, 64)) return undefined;
  if (!isWhole(startedAt) || !isWhole(connections) || !isWhole(memoryBytes)) return undefined;
  if (uptimeSeconds !== undefined && !isWhole(uptimeSeconds)) return undefined;
  if (!Array.isArray(parts) || !parts.every((part) => isTextUpTo(part, 64)) || !Array.isArray(apps)) return undefined;
  const appsRead = apps.map(parseAppOnNode);
  if (!appsRead.every((app) => app !== undefined)) return undefined;
  return {
    nodeId,
    host,
    parts,
    version,
    ...(isTextUpTo(startedBy, 128) && { startedBy }),
    ...(isStopping === true && { isStopping }),
    startedAt,
    ...(uptimeSeconds !== undefined && { uptimeSeconds }),
    connections,
    memoryBytes,
    apps: appsRead,
  };
}

const minuteCounts = ['at', 'peakConnections', 'messagesIn', 'bytesIn', 'messagesOut', 'bytesOut', 'refused'] as const;

function parseAppOnNode(given: unknown): AppOnNode | undefined {
  if (!isFields(given)) return undefined;
  const { appId, connections, subscriptions, minutes, keyUses } = given;
  if (!isAppId(appId) || !isWhole(connections) || !isWhole(subscriptions) || !Array.isArray(minutes)) return undefined;
  const read = minutes.map((minute: unknown) =>
    isFields(minute) && minuteCounts.every((name) => isWhole(minute[name]))
      ? (Object.fromEntries(minuteCounts.map((name) => [name, minute[name]])) as unknown as MinuteOfUse)
      : undefined,
  );
  if (!read.every((minute) => minute !== undefined)) return undefined;
  const app = { appId, connections, subscriptions, minutes: read };
  if (keyUses === undefined) return app;
  if (!isFields(keyUses)) return undefined;
  const uses = Object.entries(keyUses).filter((use): use is [string, number] => isWhole(use[1]));
  return { ...app, keyUses: Object.fromEntries(uses) };
}
