import { channelOfTopic, type Topic, type Transition } from '@starling/ports';
import type { ServerEvent } from '@starling/protocol';

/** What the subscribers of the topic are told of it: those of a channel of a member, those who watch a user of the user. */
export function transitionEvent(topic: Topic, transition: Transition): ServerEvent {
  const channel = channelOfTopic(topic);
  if (transition.type === 'member-added') {
    const { member } = transition;
    if (channel === undefined) return { type: 'watchlist', online: [member.userId], offline: [] };
    return { type: 'member-added', channel, member };
  }
  const { userId } = transition;
  if (channel === undefined) return { type: 'watchlist', online: [], offline: [userId] };
  return { type: 'member-removed', channel, userId };
}
