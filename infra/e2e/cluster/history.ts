/** What was published and what was heard, and the rules by which the two must fit together whatever failed meanwhile. */
import type { Connection } from './connection.ts';

export interface Publish {
  /** `P:N`, the N-th of publisher P; it is the data of the event. */
  readonly id: string;
  readonly channels: readonly string[];
  readonly except: string | undefined;
  readonly beginMs: number;
  endMs: number;
  /** As the API answered; 0 while it has not. */
  status: number;
}

/** From when until when something was known to be broken: of one node, or of all where `node` is undefined. */
export interface Window {
  readonly node: object | undefined;
  readonly beginMs: number;
  endMs: number;
}

export interface History {
  readonly publishes: readonly Publish[];
  readonly connections: readonly { readonly node: object; readonly connection: Listened }[];
  readonly windows: readonly Window[];
}

/** What is asked of a connection. */
export type Listened = Pick<Connection, 'heard' | 'joinedAtMs' | 'closedAtMs' | 'socketId' | 'faults'>;

export const eventName = 'numbered';

/**
 * How long a delivery may take: a publish answered so shortly before something broke, or before the connection closed,
 * may have been lost on its way.
 */
const deliveryMs = 1_500;
/** After a node is well again its clients are told anew; what they hear meanwhile need not fit what they knew. */
const resyncMs = 3_000;

/** Every broken rule, in words; none when all is well. */
export function faultsOf(history: History): string[] {
  return [...orderFaults(history), ...exclusionFaults(history), ...lossFaults(history), ...viewFaults(history)];
}

/** By channel, the ids one connection heard. */
function heardOn({ heard }: Listened): ReadonlyMap<string, readonly string[]> {
  const ids = new Map<string, string[]>();
  for (const { event, channel, data } of heard) {
    if (event !== eventName) continue;
    const list = ids.get(channel) ?? [];
    list.push(String(data));
    ids.set(channel, list);
  }
  return ids;
}

function orderFaults({ publishes, connections }: History): string[] {
  const faults: string[] = [];
  const byId = new Map(publishes.map((publish) => [publish.id, publish]));
  /** By channel: each connection's ids, for the comparison of all with all. */
  const byChannel = new Map<string, (readonly string[])[]>();
  for (const { connection } of connections) {
    for (const [channel, ids] of heardOn(connection)) {
      const where = `${connection.socketId} on ${channel}`;
      if (new Set(ids).size < ids.length) faults.push(`${where} heard twice: ${doubles(ids)}`);
      let latest: Publish | undefined;
      for (const id of ids) {
        const publish = byId.get(id);
        if (publish === undefined || !publish.channels.includes(channel)) {
          faults.push(`${where} heard ${id}, which nobody published there`);
          continue;
        }
        // `latest` began last of all heard so far: whatever was answered before that must have been heard before.
        if (latest !== undefined && publish.status === 200 && publish.endMs < latest.beginMs) {
          faults.push(`${where} heard ${id} behind ${latest.id}, which was published when ${id} had been answered`);
        }
        if (latest === undefined || publish.beginMs > latest.beginMs) latest = publish;
      }
      byChannel.set(channel, [...(byChannel.get(channel) ?? []), ids]);
    }
  }
  for (const [channel, lists] of byChannel) {
    for (const [index, one] of lists.entries()) {
      const places = new Map(one.map((id, place) => [id, place]));
      for (const other of lists.slice(index + 1)) {
        const common = other.map((id) => places.get(id)).filter((place) => place !== undefined);
        const wrong = common.findIndex((place, at) => place < (common[at - 1] ?? -1));
        if (wrong >= 0)
          faults.push(`two connections on ${channel} heard ${one[common[wrong] ?? 0]} in different orders`);
      }
    }
  }
  return faults;
}

function exclusionFaults({ publishes, connections }: History): string[] {
  const byId = new Map(publishes.map((publish) => [publish.id, publish]));
  // A cache channel shows newcomers its last event, whomever that excluded.
  const wasExcluded = (id: string, channel: string, { socketId, joinedAtMs }: Listened): boolean => {
    const { except, beginMs = 0 } = byId.get(id) ?? {};
    return except === socketId && beginMs > (joinedAtMs.get(channel) ?? 0);
  };
  return connections.flatMap(({ connection }) =>
    [...heardOn(connection)].flatMap(([channel, ids]) =>
      ids
        .filter((id) => wasExcluded(id, channel, connection))
        .map((id) => `${connection.socketId} heard ${id} on ${channel}, and was excluded from it`),
    ),
  );
}

/** Answered with 200 while all was well between Redis and the node, and not heard by one who was there throughout. */
function lossFaults({ publishes, connections, windows }: History): string[] {
  const answered = publishes.filter(({ status }) => status === 200);
  return connections.flatMap(({ node, connection }) => {
    const heard = heardOn(connection);
    const broken = windows.filter((window) => window.node === undefined || window.node === node);
    return [...connection.joinedAtMs].flatMap(([channel, joinedAtMs]) => {
      const ids = new Set(heard.get(channel));
      return answered
        .filter(({ id, channels, except, beginMs, endMs }) => {
          if (ids.has(id) || !channels.includes(channel) || except === connection.socketId) return false;
          if (beginMs < joinedAtMs || endMs + deliveryMs > connection.closedAtMs) return false;
          return broken.every((window) => endMs + deliveryMs < window.beginMs || beginMs > window.endMs);
        })
        .map(({ id }) => `${connection.socketId} on ${channel} never heard ${id}`);
    });
  });
}

function viewFaults({ connections, windows }: History): string[] {
  return connections.flatMap(({ node, connection }) =>
    connection.faults
      .filter(({ atMs }) =>
        windows.every(
          (window) =>
            (window.node !== undefined && window.node !== node) ||
            atMs < window.beginMs ||
            atMs > window.endMs + resyncMs,
        ),
      )
      .map(({ text }) => `${connection.socketId}: ${text}`),
  );
}

function doubles(ids: readonly string[]): string {
  return [...new Set(ids.filter((id, index) => ids.indexOf(id) !== index))].join(' ');
}
