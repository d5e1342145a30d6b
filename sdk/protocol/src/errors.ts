/**
 * The one table of everything that can go wrong, as the peer is told it. Nobody else writes a close code, an HTTP
 * status or an error's code: a refusal names a row, and one mapper per network edge turns the row into its form.
 */

export interface Problem {
  /** The number in `pusher:error`; null where Pusher has none. */
  readonly number: number | null;
  /** Whether the connection is closed with that number. */
  readonly closes: boolean;
  /** The status for an HTTP answer or a `subscription_error`. */
  readonly status: number;
  /** Public text, used where a refusal has nothing more exact to say. */
  readonly text: string;
}

interface ClosingProblem extends Problem {
  readonly number: number;
  readonly closes: true;
}

const closing = (number: number, status: number, text: string): ClosingProblem => ({
  number,
  closes: true,
  status,
  text,
});
const nonFatal = (status: number, text: string, number: number | null = null): Problem => ({
  number,
  closes: false,
  status,
  text,
});

export const problems = {
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

  // Signing in to the admin API.
  sign_in_wrong: nonFatal(401, 'The e-mail address or the password is wrong'),
  second_factor_missing: nonFatal(401, 'A code of your second factor is needed, too'),
  second_factor_wrong: nonFatal(401, 'This code is wrong, or was used already'),
  provider_refused: nonFatal(401, 'The identity provider did not say who you are'),
  password_weak: nonFatal(400, 'This password is too easy to guess'),
  password_wrong: nonFatal(403, 'The password is wrong'),
  sign_in_outdated: nonFatal(403, 'This needs a sign-in of the last ten minutes'),
  session_needed: nonFatal(403, 'An access token may not do this'),
  invitation_of_other: nonFatal(403, 'The invitation is for somebody else'),
  email_taken: nonFatal(409, 'There is a user with this e-mail address'),
  last_owner: nonFatal(409, 'An organisation keeps at least one owner'),
  last_operator: nonFatal(409, 'An installation keeps at least one operator'),
  link_spent: nonFatal(410, 'This link was used, was replaced, or is too old'),

  // HTTP only.
  request_malformed: nonFatal(400, 'Malformed request'),
  json_too_deep: nonFatal(
    400,
    'The JSON of the body is nested too deeply: at most 32 arrays and objects inside each other',
  ),
  host_ambiguous: nonFatal(400, 'The request has more than one Host header'),
  request_unauthenticated: nonFatal(401, 'Authentication failed'),
  app_id_unknown: nonFatal(404, 'No app has this id'),
  route_unknown: nonFatal(404, 'Not found'),
  request_timeout: nonFatal(408, 'The request did not arrive in time'),
  request_too_large: nonFatal(413, 'The request body is too large'),
  encoding_unsupported: nonFatal(415, 'Compressed bodies are not taken: send it without Content-Encoding'),
  headers_too_large: nonFatal(431, 'The headers of the request are too large'),
  stream_unknown: nonFatal(404, 'No such stream is open on this node'),
  upgrade_required: nonFatal(426, 'This address takes WebSocket connections'),
  rate_limited: nonFatal(429, 'Too many requests'),
  internal: nonFatal(500, 'Internal error'),
  unavailable: nonFatal(503, 'Temporarily unavailable'),

  // The admin API only.
  fields_invalid: nonFatal(400, 'Some of what was given is not as it must be'),
  origin_refused: nonFatal(403, 'Changes are not taken from pages of another origin'),
  operator_needed: nonFatal(403, 'Only operators of this installation may do this'),
  role_too_low: nonFatal(403, 'Your role in this organisation does not allow this'),
  resource_unknown: nonFatal(404, 'There is no such thing, or none that you may see'),
  state_conflict: nonFatal(409, 'This cannot be done in the present state'),
  version_outdated: nonFatal(409, 'Somebody else has changed it meanwhile'),
  idempotency_key_reused: nonFatal(409, 'This Idempotency-Key was used for another request'),
} as const satisfies Record<string, Problem>;

export type ProblemCode = keyof typeof problems;

/** An expected "no": which rule refused, and a text that says what was given and what is accepted. */
export interface Refusal {
  readonly code: ProblemCode;
  readonly message: string;
  /** Where a limit refused. */
  readonly limit?: LimitState;
}

/** How a limit stood when it refused. All numbers are whole. */
export interface LimitState {
  readonly limit: number;
  /** What might still be asked for now; of a size as much as ever. */
  readonly remaining: number;
  /** Seconds until the same may succeed; null where waiting brings nothing back. */
  readonly reset: number | null;
}

export type Checked<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly refusal: Refusal };

export function refuse(
  code: ProblemCode,
  message: string = problems[code].text,
): { readonly ok: false; readonly refusal: Refusal } {
  return { ok: false, refusal: { code, message } };
}

/** Says it in the text too. `what`: what was asked; `unit`: of what the limit is a number, such as `bytes`. */
export function refuseByLimit(
  code: ProblemCode,
  what: string,
  unit: string,
  limit: LimitState,
): { readonly ok: false; readonly refusal: Refusal & { readonly limit: LimitState } } {
  const left = limit.remaining < limit.limit ? `, ${limit.remaining} left` : '';
  const wait = limit.reset === null ? 'waiting does not help' : `try again in ${limit.reset} s`;
  const message = `${what}: the limit is ${limit.limit} ${unit}${left}, ${wait}`;
  return { ok: false, refusal: { code, message, limit } };
}

/** What a wait of so many milliseconds is as a `reset`: never 0, or a client might come back at once. */
export function resetSeconds(waitMs: number): number {
  return Math.max(1, Math.ceil(waitMs / 1_000));
}

/** A surprise: the world failed, or we did. The code's public text is what a peer may see; `message` is for us. */
export class StarlingError extends Error {
  readonly code: ProblemCode;
  /** Only for `rate_limited` and `unavailable`: when a retry may succeed. */
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ProblemCode, message: string, options?: { cause?: unknown; retryAfterSeconds?: number }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'StarlingError';
    this.code = code;
    this.retryAfterSeconds = options?.retryAfterSeconds;
  }
}
