/**
 * The broker's and the stores' key for an app's channel, or for something internal to an app. App ids hold no colon,
 * and `~` cannot stand in a channel's name, so no app or client can name another's topic or an internal one.
 */
export type Topic = string & { readonly __topic: unique symbol };

export function channelTopic(appId: string, channel: string): Topic {
  return `${appId}:${channel}` as Topic;
}

/** Joined by every connection signed in as the user: who is online, and whom a terminate must reach. */
export function userTopic(appId: string, userId: string): Topic {
  return `${appId}:~user:${userId}` as Topic;
}

export function isUserTopic(topic: Topic): boolean {
  return topic.startsWith('~user:', topic.indexOf(':') + 1);
}

/** Joined by every connection that has the user on its watchlist. */
export function watchTopic(appId: string, userId: string): Topic {
  return `${appId}:~watch:${userId}` as Topic;
}

/** Of no app: what a node publishes to itself to see that the broker works. */
export function probeTopic(nodeId: string): Topic {
  return `:~probe:${nodeId}` as Topic;
}

/** Of no app: what all nodes read. */
export const controlTopic = ':~control' as Topic;

/** What nodes tell of an app while it is watched. */
export function debugTopic(appId: string): Topic {
  return `${appId}:~debug` as Topic;
}

/** The app a topic belongs to; empty for a topic of no app. */
export function appIdOfTopic(topic: Topic): string {
  return topic.slice(0, topic.indexOf(':'));
}

/** The channel a topic stands for; undefined for an internal one. */
export function channelOfTopic(topic: Topic): string | undefined {
  const start = topic.indexOf(':') + 1;
  return topic[start] === '~' ? undefined : topic.slice(start);
}
