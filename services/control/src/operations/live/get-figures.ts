import type { MinuteOfUse } from '@starling/ports';
import { operations } from '../../contract/index.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';

const minuteMs = 60_000;

export function getFigures({ clock, nodes }: Pick<OperationDeps, 'clock' | 'nodes'>): Implementation {
  return implement(operations.getFigures, async ({ params: { appId } }) => {
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
  });
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
