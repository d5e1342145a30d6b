/** What a client can be told over its connection, or for a subscribe. Alone, because every browser downloads it. */

import { closing, nonFatal, type Problem } from './problem.ts';

export const wireProblems = {
  // The connection: 4000–4099, coming back unchanged is useless.
  tls_required: closing(4000, 403, 'This app accepts TLS connections only: use wss://'),
  app_unknown: closing(4001, 404, 'No app has this key'),
  app_disabled: closing(4003, 403, 'This app is disabled'),
  connection_limit: closing(4004, 429, 'The app is over its connection limit'),
  address_limit: closing(4004, 429, 'Too many connections from this address'),
  path_unknown: closing(4005, 404, 'Path not found'),
  protocol_unsupported: closing(4007, 400, 'Unsupported protocol version'),
  origin_not_allowed: closing(4009, 403, 'This origin is not allowed to connect to this app'),
  authorization_timeout: closing(4009, 401, 'Connection not authorized within timeout'),
  signin_required: closing(4009, 401, 'The sign-in failed, and this app admits authorized connections only'),
  terminated: closing(4009, 401, 'You got disconnected by the app'),
  token_invalid: closing(4010, 401, 'The token is not valid here'),
  token_revoked: closing(4011, 401, 'The token, or the key that signed it, has been revoked'),

  // The connection: 4100–4199, come back after a pause.
  over_capacity: closing(4100, 503, 'The server is over capacity'),
  // Nobody else is there to take it: at once it would find nobody.
  restarting: closing(4100, 503, 'The server is restarting: reconnect in a second'),
  frame_rate: closing(4100, 429, 'Too many frames from this connection'),
  token_unverifiable: closing(4100, 503, 'The token cannot be verified now: try again'),
  token_expired: closing(4110, 401, 'The token has expired: come back with a new one'),

  // The connection: 4200–4299, come back at once.
  going_away: closing(4200, 503, 'The server is restarting: reconnect'),
  pong_timeout: closing(4201, 408, 'Pong reply not received'),
  slow_reader: closing(4203, 408, 'The connection reads too slowly: its outbox is full'),
  // Of this connection only: a defect met while handling what it sent.
  internal_close: closing(4200, 500, 'Internal error: reconnect'),

  // RFC 6455's own.
  binary_message: closing(1003, 400, 'Binary messages are not supported: send text'),
  message_undecodable: closing(1007, 400, 'The message cannot be decompressed'),
  message_too_large: closing(1009, 413, 'The message is too large'),

  // What one frame asked.
  frame_malformed: nonFatal(400, 'Expected a JSON object with a string "event"'),
  event_unsupported: nonFatal(400, 'Unsupported event received on socket'),
  not_subscribed: nonFatal(400, 'The connection is not subscribed to this channel'),
  client_events_disabled: nonFatal(403, 'Client events are not enabled for this app: turn them on in its settings'),
  client_event_malformed: nonFatal(400, 'Invalid client event (must contain channel and data)'),
  client_event_channel: nonFatal(403, 'Client events need a private or presence channel that is not encrypted'),
  client_event_rate: nonFatal(429, 'Client event rejected due to rate limit', 4301),
  watchlist_too_long: nonFatal(400, 'Watchlist limit exceeded', 4302),
  signin_refused: nonFatal(401, 'The sign-in was refused'),

  // What a subscribe, a sign-in or a request asked.
  channel_name_invalid: nonFatal(400, 'Invalid channel name'),
  event_name_invalid: nonFatal(400, 'Invalid event name'),
  user_id_invalid: nonFatal(400, 'Invalid user id'),
  channel_data_invalid: nonFatal(400, 'Invalid channel_data'),
  auth_missing: nonFatal(401, 'Auth info required'),
  auth_malformed: nonFatal(401, 'Auth value is invalid: it should be of the form "key:signature"'),
  auth_key_unknown: nonFatal(401, 'Invalid key in auth'),
  auth_signature: nonFatal(401, 'Invalid signature'),
  user_required: nonFatal(401, 'A presence channel needs channel_data or a signed-in user'),
  user_channel_forbidden: nonFatal(403, 'A user channel is open only to connections signed in as that user'),
  channel_limit: nonFatal(429, 'The connection has joined as many channels as it may'),
  member_limit: nonFatal(403, 'The presence channel has as many members as it may'),
  capability_missing: nonFatal(403, 'The token does not allow this'),
  publish_backlog: nonFatal(429, 'Too many publishes of this connection are under way'),
  data_too_large: nonFatal(413, 'The data of this event is too large'),
} as const satisfies Record<string, Problem>;

export type WireProblemCode = keyof typeof wireProblems;

/** `refuse` for code that browsers download, too. */
export function refuseWire(code: WireProblemCode, message: string = wireProblems[code].text) {
  return { ok: false, refusal: { code, message } } as const;
}
