import { type Clock, channelTopic, type MinuteOfUse, type NodeReport, type PresenceStore } from '@starling/ports';
import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { parseCursor, toPage } from '../../frame/page.ts';

export interface LiveDeps {
  readonly clock: Clock;
  /** Of all nodes. */
  readonly nodes: { nodes(): Promise<readonly NodeReport[]> };
  readonly presenceStore: Pick<PresenceStore, 'channels' | 'members'>;
}

const minuteMs = 60_000;

export function liveRoutes(deps: LiveDeps): Implementation[] {
  const { clock, nodes, presenceStore } = deps;
  return [
    implement(operations.getFigures, async ({ params: { appId } }) => {
      const onNodes = (await nodes.nodes()).flatMap(({ apps }) => apps.filter((app) => app.appId === appId));
      const now = clock.now();
      const current = now - (now % minuteMs);
      const sum = (read: (app: (typeof onNodes)[number]) => number) =>
        onNodes.reduce((total, app) => total + read(app), 0);
      return {
        ok: true,
        value: {
          nodes: onNodes.length,
          connections: sum((app) => app.connections),
          subscriptions: sum((app) => app.subscriptions),
          lastMinute: minuteOf(onNodes, current - minuteMs),
          currentMinute: minuteOf(onNodes, current),
        },
      };
    }),

    implement(operations.listChannels, async ({ params: { appId }, query: { prefix = '', limit, cursor } }) => {
      const place = parseCursor('channels', ['string'], cursor);
      if (!place.ok) return place;
      const [behind = ''] = place.value ?? [];
      const rows = [...(await presenceStore.channels(appId, prefix))]
        .map(([name, occupancy]) => ({ name, ...occupancy }))
        .filter(({ name }) => name > String(behind))
        .sort((a, b) => (a.name < b.name ? -1 : 1));
      const page = toPage(
        'channels',
        limit,
        rows,
        ({ name }) => [name],
        (row) => row,
      );
      return { ok: true, value: page };
    }),

    implement(operations.listChannelMembers, async ({ params: { appId, channel } }) => {
      const { members } = await presenceStore.members(channelTopic(appId, channel));
      // A channel is there while somebody is in it.
      if (members.length === 0) return fail('resource_unknown');
      return {
        ok: true,
        value: { items: members.map(({ userId, userInfo }) => ({ userId, userInfo: JSON.parse(userInfo) })) },
      };
    }),

    implement(operations.listNodes, async () => {
      const now = clock.now();
      const items = (await nodes.nodes())
        .toSorted((a, b) => a.startedAt - b.startedAt || (a.nodeId < b.nodeId ? -1 : 1))
        .map(({ nodeId, host, parts, version, startedAt, uptimeSeconds, connections, memoryBytes }) => ({
          id: nodeId,
          host,
          parts: [...parts],
          version,
          startedAt: new Date(startedAt).toISOString(),
          // Of an older version, by two machines' wall clocks.
          uptimeSeconds: uptimeSeconds ?? Math.max(0, Math.floor((now - startedAt) / 1_000)),
          connections,
          memoryBytes,
        }));
      return { ok: true, value: { items } };
    }),
  ];
}

/** Nodes have clocks of their own: what falls together by them is added up. */
function minuteOf(apps: ReadonlyArray<{ readonly minutes: readonly MinuteOfUse[] }>, at: number) {
  const sum = { connectionsPeak: 0, messagesIn: 0, bytesIn: 0, messagesOut: 0, bytesOut: 0, refused: 0 };
  for (const minute of apps.flatMap(({ minutes }) => minutes.filter((each) => each.at === at))) {
    sum.connectionsPeak += minute.peakConnections;
    sum.messagesIn += minute.messagesIn;
    sum.bytesIn += minute.bytesIn;
    sum.messagesOut += minute.messagesOut;
    sum.bytesOut += minute.bytesOut;
    sum.refused += minute.refused;
  }
  return { at: new Date(at).toISOString(), ...sum };
}
