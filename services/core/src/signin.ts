/** Signing a connection in as a user, and its watchlist. One at a time for a session; see `Session`. */

import { type Membership, userTopic, watchTopic } from '@starling/ports';
import { limits, type Member, type Refusal, type SigninCommand, type WatchlistEvent } from '@starling/protocol';
import { authorizeSignin } from './authorize.ts';
import { subscriptionCost } from './capacity.ts';
import { Subscription } from './hub.ts';
import type { SessionContext } from './session-context.ts';

export async function signin(session: SessionContext, command: SigninCommand): Promise<void> {
  if (session.isClosed) return;
  const { app } = session;
  const user = authorizeSignin(app, session.socketId, command);
  if (!user.ok) {
    refuseSignin(session, user.refusal.message);
    return;
  }
  const { userId, userInfo } = user.value;
  if (session.user !== null) {
    if (session.user.userId === userId) session.tell({ type: 'signed-in', userData: command.userData });
    else refuseSignin(session, 'The connection is already signed in as another user');
    return;
  }
  const watched = app.hasWatchlists ? user.value.watchlist.slice(0, limits.watchlistLength) : [];
  const full = takeUser(session, user.value, watched);
  if (full !== null) {
    session.refuse('signin_refused', full.message);
    return;
  }
  try {
    const reading = await becomeUser(session, { userId, userInfo }, watched);
    if (reading === null) return;
    session.authorized();
    session.tell({ type: 'signed-in', userData: command.userData });
    if (session.deps.observer.notes) session.note('signed in', { userId });
    startUser(session, reading);
    if (app.hasWatchlists && user.value.watchlist.length > limits.watchlistLength) {
      const text = `Watchlist limit exceeded. Only the first ${limits.watchlistLength} user ids are accepted`;
      session.traffic.refused('watchlist_too_long');
      session.tell({ type: 'refused', refusal: { code: 'watchlist_too_long', message: text } });
    }
  } catch (err) {
    refuseSignin(session, 'The sign-in could not be completed: try again');
    await leaveUser(session);
    throw err;
  }
}

/** What being signed in costs: the user's own topic, and one for each whom it watches. */
function userCost(user: Member, watched: readonly string[]): number {
  return watched.reduce(
    (sum, id) => sum + subscriptionCost(id.length),
    subscriptionCost(user.userId.length, user.userInfo.length),
  );
}

/** Takes the memory for it, to be called before `becomeUser`, or refuses. `leaveUser` gives it back. */
export function takeUser(session: SessionContext, user: Member, watched: readonly string[]): Refusal | null {
  return session.charge.take(userCost(user, watched));
}

/** Who of a watchlist is online and who is not, if there is one; and the position up to which that is true of each. */
interface Reading {
  readonly snapshot: WatchlistEvent | null;
  readonly positions: readonly number[];
}

/**
 * Takes the user's membership and topics, and reads who of the watched is online. Null when the session has ended meanwhile;
 * when it rejects, what it took is for `leaveUser` to release. What arrives is held until `startUser`.
 */
export async function becomeUser(
  session: SessionContext,
  user: Member,
  watched: readonly string[],
): Promise<Reading | null> {
  const { app, deps } = session;
  const { userId, userInfo } = user;
  const own = new Subscription(userTopic(app.id, userId), session);
  const watches = watched.map((id) => new Subscription(watchTopic(app.id, id), session));
  const subscriptions = [own, ...watches];
  const membership: Membership = { topic: own.topic, socketId: session.socketId, member: { userId, userInfo } };
  session.user = { userId, userInfo, membership, subscriptions, watched, cost: userCost(user, watched) };
  await Promise.all(subscriptions.map((subscription) => deps.hub.add(subscription)));
  if (session.isClosed) return null;
  await deps.presenceStore.join(membership, {
    announceTo: watchTopic(app.id, userId),
  });
  if (session.isClosed) return null;
  const reading = await readWatched(session, watched);
  return session.isClosed ? null : reading;
}

/** Once the session has been told that it is signed in. */
export function startUser(session: SessionContext, { snapshot, positions }: Reading): void {
  const [own, ...watches] = session.user?.subscriptions ?? [];
  if (snapshot !== null) session.tell(snapshot);
  for (const [index, watch] of watches.entries()) watch.seenTransitionPosition = positions[index] ?? 0;
  own?.release();
  for (const watch of watches) watch.release();
}

async function readWatched({ app, deps }: SessionContext, ids: readonly string[]): Promise<Reading> {
  if (ids.length === 0) return { snapshot: null, positions: [] };
  const occupancies = await deps.presenceStore.occupancies(ids.map((id) => userTopic(app.id, id)));
  const isOnline = (_id: string, index: number): boolean => (occupancies[index]?.connectionCount ?? 0) > 0;
  const offline = ids.filter((id, index) => !isOnline(id, index));
  const snapshot: WatchlistEvent = { type: 'watchlist', online: ids.filter(isOnline), offline };
  return { snapshot, positions: occupancies.map(({ position }) => position) };
}

/**
 * After changes may have been missed: who of the watchlist is online now, and who is not. False: it is just signing in,
 * and what it is being told may be as old; ask again when that is done.
 */
export async function resyncWatched(session: SessionContext): Promise<boolean> {
  const { user } = session;
  const watches = user?.subscriptions.slice(1) ?? [];
  if (user === null || watches.length === 0) return true;
  if (watches.some(({ isHolding }) => isHolding)) return false;
  for (const watch of watches) watch.holdAgain();
  try {
    const { snapshot, positions } = await readWatched(session, user.watched);
    if (session.isClosed) return true;
    if (snapshot !== null) session.tell(snapshot);
    for (const [index, watch] of watches.entries()) watch.seenTransitionPosition = positions[index] ?? 0;
    return true;
  } finally {
    if (session.user === user) for (const watch of watches) watch.release();
  }
}

/** Releases what the sign-in took; nothing when there was none. */
export async function leaveUser(session: SessionContext): Promise<void> {
  const { user, deps } = session;
  if (user === null) return;
  session.user = null;
  session.charge.give(user.cost);
  for (const subscription of user.subscriptions) deps.hub.remove(subscription);
  await deps.presenceStore.leave(user.membership);
}

/** An app that admits authorised connections only has no use for one whose sign-in failed. */
function refuseSignin(session: SessionContext, message: string): void {
  session.refuse(session.app.admitsAuthorizedOnly ? 'signin_required' : 'signin_refused', message);
}
