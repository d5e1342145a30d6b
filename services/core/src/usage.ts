/** What each app did on this node, minute by minute, read off the counters every few seconds: counting costs nothing more. */
import type { AppOnNode, MinuteOfUse, WallMs } from '@starling/ports';
import type { AppTraffic, Traffic } from './traffic.ts';

type Growing = Omit<MinuteOfUse, 'at' | 'peakConnections'>;

const minuteMs = 60_000;

export class UsageMeter {
  readonly #traffic: Traffic;
  /** By app: what the counters said at the last read. */
  readonly #last = new Map<string, Growing>();
  /** By app: the minute going on and the one before, the older first. */
  readonly #minutes = new Map<string, readonly MinuteOfUse[]>();

  constructor(traffic: Traffic) {
    this.#traffic = traffic;
  }

  /** What happened since the last read counts to the minute of `nowMs`. Apps of which there is nothing to say are left out. */
  read(nowMs: WallMs): readonly AppOnNode[] {
    const at = nowMs - (nowMs % minuteMs);
    const apps: AppOnNode[] = [];
    for (const appId of this.#last.keys()) {
      if (this.#traffic.byApp().has(appId)) continue;
      this.#last.delete(appId);
      this.#minutes.delete(appId);
    }
    for (const [appId, traffic] of this.#traffic.byApp()) {
      const minutes = this.#minutesOf(appId, traffic, at);
      const { connections, subscriptions } = traffic;
      if (minutes.length === 0) continue;
      const keyUses = [...traffic.keyUses].filter(([, usedAt]) => usedAt >= at - minuteMs);
      apps.push({
        appId,
        connections,
        subscriptions,
        minutes,
        ...(keyUses.length > 0 && { keyUses: Object.fromEntries(keyUses) }),
      });
    }
    return apps;
  }

  #minutesOf(appId: string, traffic: AppTraffic, at: number): readonly MinuteOfUse[] {
    const counts = countsOf(traffic);
    const since = difference(counts, this.#last.get(appId));
    this.#last.set(appId, counts);
    const peakConnections = traffic.takePeak();
    // A clock that was set back: what is now later than the present is dropped, and counted nowhere twice.
    const kept = (this.#minutes.get(appId) ?? []).filter((minute) => minute.at <= at && minute.at >= at - minuteMs);
    const current = kept.find((minute) => minute.at === at);
    const earlier = kept.filter((minute) => minute.at !== at);
    const hasUse = peakConnections > 0 || Object.values(since).some((count) => count > 0);
    const minutes =
      current === undefined && !hasUse ? earlier : [...earlier, added(current, at, peakConnections, since)];
    if (minutes.length > 0) this.#minutes.set(appId, minutes);
    else this.#minutes.delete(appId);
    return minutes;
  }
}

function countsOf(traffic: AppTraffic): Growing {
  return {
    messagesIn: traffic.framesIn + traffic.requestsIn,
    bytesIn: traffic.receivedBytes,
    messagesOut: traffic.delivered,
    bytesOut: traffic.deliveredBytes,
    refused: traffic.refusedCount,
  };
}

function difference(now: Growing, before: Growing | undefined): Growing {
  if (before === undefined) return now;
  return {
    messagesIn: now.messagesIn - before.messagesIn,
    bytesIn: now.bytesIn - before.bytesIn,
    messagesOut: now.messagesOut - before.messagesOut,
    bytesOut: now.bytesOut - before.bytesOut,
    refused: now.refused - before.refused,
  };
}

function added(minute: MinuteOfUse | undefined, at: number, peakConnections: number, more: Growing): MinuteOfUse {
  if (minute === undefined) return { at, peakConnections, ...more };
  return {
    at,
    peakConnections: Math.max(minute.peakConnections, peakConnections),
    messagesIn: minute.messagesIn + more.messagesIn,
    bytesIn: minute.bytesIn + more.bytesIn,
    messagesOut: minute.messagesOut + more.messagesOut,
    bytesOut: minute.bytesOut + more.bytesOut,
    refused: minute.refused + more.refused,
  };
}
