/** What subscribers and users say of themselves. */
import type { Checked } from './errors.ts';
import { faultOf, isObject, parseJson, stringifyJson, utf8Length } from './json.ts';
import { limits } from './limits.ts';
import { parseUserId } from './names.ts';
import { refuseWire } from './problems/wire.ts';

export interface Member {
  readonly userId: string;
  /** JSON text of an object, or `null`: it is only ever passed on, so it stays text. */
  readonly userInfo: string;
}

/** `channel_data` of a presence subscribe. Refuses with `channel_data_invalid`. */
export function parseMember(channelData: string): Checked<Member> {
  const data = parseJson(channelData);
  if (!isObject(data)) {
    return refuseWire(
      'channel_data_invalid',
      faultOf(channelData, 'channel_data must be a JSON object with a user_id', 'channel_data'),
    );
  }
  const userId = parseUserId(data['user_id']);
  if (!userId.ok) return refuseWire('channel_data_invalid', `channel_data: ${userId.refusal.message}`);
  return withUserInfo(userId.value, data['user_info']);
}

export interface User extends Member {
  /** Distinct user ids, in the order given; not yet cut to the limit. */
  readonly watchlist: readonly string[];
}

/** `user_data` of a sign-in. Refuses with `signin_refused`. */
export function parseUser(userData: string): Checked<User> {
  const data = parseJson(userData);
  if (!isObject(data)) {
    return refuseWire(
      'signin_refused',
      faultOf(userData, 'user_data must be a JSON object with a string "id"', 'user_data'),
    );
  }
  const id = typeof data['id'] === 'string' ? parseUserId(data['id']) : refuseWire('user_id_invalid');
  if (!id.ok) {
    return refuseWire('signin_refused', `user_data: "id" must be a string of 1 to ${limits.userIdLength} characters`);
  }
  const member = withUserInfo(id.value, data['user_info']);
  if (!member.ok) return refuseWire('signin_refused', `user_data: ${member.refusal.message}`);
  const watchlist = data['watchlist'] ?? [];
  if (!Array.isArray(watchlist) || !watchlist.every((entry) => typeof entry === 'string' && parseUserId(entry).ok)) {
    return refuseWire('signin_refused', 'user_data: "watchlist" must be an array of user ids as strings');
  }
  return { ok: true, value: { ...member.value, watchlist: [...new Set(watchlist as string[])] } };
}

function withUserInfo(userId: string, info: unknown): Checked<Member> {
  const userInfo = parseUserInfo(info);
  if (userInfo.ok) return { ok: true, value: { userId, userInfo: userInfo.value } };
  return refuseWire('channel_data_invalid', `user_info ${userInfo.refusal.message}`);
}

/** What a member is shown with, as JSON text. Refuses with `channel_data_invalid`, its text without a subject. */
export function parseUserInfo(info: unknown): Checked<string> {
  if (info === undefined || info === null) return { ok: true, value: 'null' };
  if (!isObject(info)) return refuseWire('channel_data_invalid', 'must be an object');
  const userInfo = stringifyJson(info);
  if (userInfo === null || utf8Length(userInfo) > limits.userInfoBytes) {
    return refuseWire('channel_data_invalid', `is limited to ${limits.userInfoBytes} bytes of JSON`);
  }
  return { ok: true, value: userInfo };
}
