/**
 * After messages to this node may have been missed. An app's events are lost then, at most once is all that is promised;
 * but what clients keep account of (who is present, who is online, how many they are) would stay wrong for good.
 */

import { type App, channelTopic, type Observer, type PresenceStore, type Topic } from '@starling/ports';
import { type Channel, StarlingError } from '@starling/protocol';
import type { Hub } from './hub.ts';
import type { Session } from './session.ts';
import { resyncWatched } from './signin.ts';

export interface ResyncDeps {
  readonly hub: Hub;
  readonly presenceStore: PresenceStore;
  readonly observer: Observer;
}

interface Kept {
  readonly topic: Topic;
  readonly app: App;
  readonly channel: Channel;
}

/** Topics at once: a list may be long, and others want to be served meanwhile. */
const batchSize = 50;

/** Tells all of these sessions anew. False: not all have been told, because they or the store were not ready for it. */
export async function resync(deps: ResyncDeps, sessions: readonly Session[]): Promise<boolean> {
  try {
    const kept = [...keptBy(sessions)];
    const areTold: boolean[] = [];
    await inBatches(
      kept.filter(({ channel }) => channel.kind === 'presence'),
      async (batch) => areTold.push(...(await Promise.all(batch.map((each) => resyncMembers(deps, each))))),
    );
    await inBatches(
      kept.filter(({ app, channel }) => app.hasSubscriptionCounts && channel.kind !== 'presence'),
      (batch) => resyncCounts(deps, batch),
    );
    await inBatches(sessions, async (batch) => areTold.push(...(await Promise.all(batch.map(resyncWatched)))));
    return areTold.every(Boolean);
  } catch (err) {
    if (!(err instanceof StarlingError)) throw err;
    deps.observer.note('telling sessions anew failed', { err });
    return false;
  }
}

/** Each channel once, however many sessions are in it. */
function keptBy(sessions: readonly Session[]): Iterable<Kept> {
  const kept = new Map<Topic, Kept>();
  for (const session of sessions) {
    for (const { channel, membership } of session.channelSubscriptions.values()) {
      if (membership === null || channel.kind === 'user') continue;
      const { app } = session;
      const topic = channelTopic(app.id, channel.name);
      kept.set(topic, { topic, app, channel });
    }
  }
  return kept.values();
}

/** As the answer to a subscribe, whose list replaces the one before. */
async function resyncMembers({ hub, presenceStore }: ResyncDeps, { topic, channel }: Kept): Promise<boolean> {
  return hub.resync(topic, async () => {
    const { members, position } = await presenceStore.members(topic);
    return { event: { type: 'subscribed', channel: channel.name, members }, position };
  });
}

async function resyncCounts({ hub, presenceStore }: ResyncDeps, kept: readonly Kept[]): Promise<void> {
  const occupancies = await presenceStore.occupancies(kept.map(({ topic }) => topic));
  for (const [index, { topic, channel }] of kept.entries()) {
    const count = occupancies[index]?.connectionCount ?? 0;
    if (count > 0) hub.tell(topic, { type: 'subscription-count', channel: channel.name, count });
  }
}

async function inBatches<T>(items: readonly T[], run: (batch: readonly T[]) => Promise<unknown>): Promise<void> {
  for (let start = 0; start < items.length; start += batchSize) await run(items.slice(start, start + batchSize));
}
