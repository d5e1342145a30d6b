/** The facts that a presence store announces: who came to a topic, and who went. */
import { type Member, parseUserInfo } from '@starling/protocol';
import { isFields, isTextUpTo, readJson } from './reading.ts';

export type Transition =
  /** The user's first connection is there. */
  | { readonly type: 'member-added'; readonly member: Member }
  /** The user's last connection is gone. */
  | { readonly type: 'member-removed'; readonly userId: string };

/** UTF-8 of a JSON object: the payload of a message of the kind `transition`. */
export function encodeTransition(transition: Transition): Uint8Array {
  if (transition.type === 'member-removed') {
    return Buffer.from(JSON.stringify({ type: transition.type, user_id: transition.userId }));
  }
  const { userId, userInfo } = transition.member;
  // The info is JSON text, bounded where it came in.
  return Buffer.from(`{"type":"member-added","user_id":${JSON.stringify(userId)},"user_info":${userInfo}}`);
}

/** In bytes: ids and infos are bounded where they come in, by much less. */
const maxTransitionBytes = 65_536;

/** Undefined for what `encodeTransition` did not make. */
export function decodeTransition(payload: Uint8Array): Transition | undefined {
  const read = readJson(payload, maxTransitionBytes);
  if (read === null || !isFields(read.value)) return undefined;
  const { type, user_id: userId, user_info: info } = read.value;
  if (!isTextUpTo(userId, maxTransitionBytes)) return undefined;
  if (type === 'member-removed') return { type, userId };
  if (type !== 'member-added') return undefined;
  const userInfo = parseUserInfo(info);
  return userInfo.ok ? { type, member: { userId, userInfo: userInfo.value } } : undefined;
}
