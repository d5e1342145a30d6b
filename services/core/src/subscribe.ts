/** Joining and leaving one channel. Each runs alone for its session and channel; see `Session`. */

import { channelTopic, type Joined, type Membership, type RetainedMessage } from '@starling/ports';
import {
  type Channel,
  type Member,
  problems,
  refuse,
  refuseByLimit,
  StarlingError,
  type SubscribeCommand,
} from '@starling/protocol';
import { authorizeByToken, authorizeSubscription } from './authorize.ts';
import { Delivery } from './delivery.ts';
import { Subscription } from './hub.ts';
import type { SessionContext } from './session-context.ts';

/** What one session has, or is about to have, of one channel. */
export interface ChannelSubscription {
  readonly channel: Channel;
  /** In the presence store: set before the store is asked, so that a membership whose answer was lost is released too. */
  membership: Membership | null;
  /** In the hub; set once the channel is joined. */
  subscription: Subscription | null;
  /** Joined, or about to be, by what a token allows: it goes when a later token does not. */
  isByToken: boolean;
  /** Bytes of the session's charge, while it stands in the session's list. */
  readonly cost: number;
  /** Commands queued or under way. */
  waiting: number;
  last: Promise<void> | null;
}

export async function joinChannel(
  session: SessionContext,
  channelSubscription: ChannelSubscription,
  command: SubscribeCommand,
): Promise<void> {
  if (session.isClosed) return;
  const { channel } = channelSubscription;
  const member = authorizeSubscription(session.app, session, channel, command);
  if (!member.ok) {
    session.refuseSubscription(channel.name, member.refusal);
    return;
  }
  const isByToken = command.auth === undefined && (channel.kind === 'private' || channel.kind === 'presence');
  if (channelSubscription.subscription !== null) {
    channelSubscription.isByToken &&= isByToken;
    await repeatSuccess(session, channelSubscription, channelSubscription.subscription);
    return;
  }
  channelSubscription.isByToken = isByToken;
  const topic = channelTopic(session.app.id, channel.name);
  const subscription = new Subscription(topic, session);
  try {
    await session.deps.hub.add(subscription);
    if (session.isClosed) return;
    const joined = await takeMembership(session, channelSubscription, subscription, member.value);
    if (joined === null || session.isClosed) return;
    const retained = channel.isCache ? await session.deps.broker.retained(topic) : undefined;
    if (session.isClosed) return;
    channelSubscription.subscription = subscription;
    succeed(session, channelSubscription, subscription, joined, retained);
  } catch (err) {
    if (!(err instanceof StarlingError)) throw err;
    session.deps.observer.problem('subscribe failed', { err, app: session.app.id, channel: channel.name });
    session.refuseSubscription(channel.name, refuse('unavailable').refusal);
    await leaveChannel(session, channelSubscription);
  } finally {
    if (channelSubscription.subscription !== subscription) session.deps.hub.remove(subscription);
  }
}

const fullText = problems.member_limit.text;

/** Null when the channel is full: the subscribe has then been refused. */
async function takeMembership(
  session: SessionContext,
  channelSubscription: ChannelSubscription,
  subscription: Subscription,
  member: Member | null,
): Promise<Joined | null> {
  const { channel } = channelSubscription;
  const { topic } = subscription;
  channelSubscription.membership = { topic, socketId: session.socketId, ...(member === null ? {} : { member }) };
  const memberLimit = session.app.limits.presenceMembers;
  const joined = await session.deps.presenceStore.join(
    channelSubscription.membership,
    member === null
      ? undefined
      : {
          memberLimit,
          announceTo: topic,
        },
  );
  if (!joined.isFull) return joined;
  channelSubscription.membership = null;
  const state = { limit: memberLimit, remaining: 0, reset: null };
  session.refuseSubscription(channel.name, refuseByLimit('member_limit', fullText, 'members', state).refusal);
  return null;
}

/** Success, the cached event, then what arrived meanwhile, then the count: all in one turn, so nothing comes between. */
function succeed(
  session: SessionContext,
  channelSubscription: ChannelSubscription,
  subscription: Subscription,
  joined: Joined,
  retained: RetainedMessage | undefined,
): void {
  const { channel } = channelSubscription;
  session.traffic.subscriptions++;
  if (channel.kind === 'private' || channel.kind === 'presence') session.authorized();
  const members = channel.kind === 'presence' ? joined.members : undefined;
  session.tell({ type: 'subscribed', channel: channel.name, members });
  if (retained !== undefined) {
    session.deliver(new Delivery(retained.message));
    subscription.seenEventPosition = retained.message.position;
  } else if (channel.isCache) {
    session.tell({ type: 'cache-miss', channel: channel.name });
  }
  subscription.seenTransitionPosition = joined.position;
  subscription.release();
  if (session.deps.observer.notes)
    session.note('subscribed', { channel: channel.name, userId: channelSubscription.membership?.member?.userId });
  session.deps.counts.changed(session.app, channel, joined.connectionCount);
}

/** For a client that has lost its state: the same answer again, and nothing else. */
async function repeatSuccess(
  session: SessionContext,
  { channel, membership }: ChannelSubscription,
  subscription: Subscription,
): Promise<void> {
  if (channel.kind !== 'presence' || membership === null) {
    session.tell({ type: 'subscribed', channel: channel.name, members: undefined });
    return;
  }
  // Who comes or goes while the store answers is told after the success, or the success would take it back.
  subscription.holdAgain();
  try {
    // A second join is none, and tells up to which transition its list goes.
    const joined = await session.deps.presenceStore.join(membership);
    if (session.isClosed || joined.isFull) return;
    // Told meanwhile by another way, of something newer.
    if (subscription.seenTransitionPosition > joined.position) return;
    session.tell({ type: 'subscribed', channel: channel.name, members: joined.members });
    subscription.seenTransitionPosition = joined.position;
  } finally {
    subscription.release();
  }
}

/** After another token was taken: leaves the channel if that one does not allow it. */
export async function recheckChannel(session: SessionContext, channelSubscription: ChannelSubscription): Promise<void> {
  const { channel, isByToken, subscription } = channelSubscription;
  if (session.isClosed || session.token === null || !isByToken || subscription === null) return;
  const allowed = authorizeByToken(session.token, channel);
  if (allowed.ok) return;
  session.refuseSubscription(channel.name, allowed.refusal);
  await leaveChannel(session, channelSubscription);
}

/** Releases whatever the session has of the channel; nothing when it has nothing. */
export async function leaveChannel(session: SessionContext, channelSubscription: ChannelSubscription): Promise<void> {
  const { channel, membership, subscription } = channelSubscription;
  if (subscription !== null) {
    session.deps.hub.remove(subscription);
    session.traffic.subscriptions--;
    if (session.deps.observer.notes) session.note('unsubscribed', { channel: channel.name });
    channelSubscription.subscription = null;
  }
  if (membership === null) return;
  channelSubscription.membership = null;
  const left = await session.deps.presenceStore.leave(membership);
  if (left.wasThere) session.deps.counts.changed(session.app, channel, left.connectionCount);
}
