/**
 * What a client and its developer do about a number they are told. Apart from the table of problems, so that a browser
 * does not carry the rows it never meets.
 */

/** What a client does after a close; pusher-js and ours read it from the code's range. */
export type Instruction = 'give-up' | 'back-off' | 'reconnect-now';

/** What a client should do after a close with this code. Null: not one of Pusher's, an ordinary dropped connection. */
export function instructionOf(closeCode: number): Instruction | null {
  if (closeCode >= 4000 && closeCode <= 4099) return 'give-up';
  if (closeCode >= 4100 && closeCode <= 4199) return 'back-off';
  if (closeCode >= 4200 && closeCode <= 4299) return 'reconnect-now';
  return closeCode >= 4300 && closeCode <= 4999 ? 'give-up' : null;
}

export interface Fix {
  /** The row's code, or a word for all the rows that share the number. */
  readonly code: string;
  readonly fix: string;
}

const fix = (code: string, text: string): Fix => ({ code, fix: text });
const nothing = 'Nothing: the client comes back by itself.';

export const fixes: Readonly<Record<number, Fix>> = {
  1003: fix('binary_message', 'Send text, as JSON.'),
  1007: fix('message_undecodable', 'Send well-formed UTF-8, compressed as agreed.'),
  1009: fix('message_too_large', 'Send smaller frames.'),
  4000: fix('tls_required', 'Set forceTLS: true, or a host with https.'),
  4001: fix('app_unknown', 'Compare key and host with what the server printed at its start.'),
  4003: fix('app_disabled', 'Enable the app in its settings.'),
  4004: fix('connection_limit', 'Raise the limit or close connections, then call connect().'),
  4005: fix('path_unknown', 'Check wsPath: the server answers at PATH/app/KEY.'),
  4007: fix('protocol_unsupported', 'Update the client or the server.'),
  4009: fix('unauthorized', 'Sign in or join a private channel in time, from an allowed origin, then call connect().'),
  4010: fix('token_invalid', 'Sign the token with an enabled key of this app, for this audience.'),
  4011: fix('token_revoked', 'Let the user sign in anew, then call connect().'),
  4100: fix('over_capacity', nothing),
  4110: fix('token_expired', 'Give a tokenProvider, which renews tokens ahead.'),
  4200: fix('going_away', nothing),
  4201: fix('pong_timeout', nothing),
  4203: fix('slow_reader', 'Subscribe to less, or do less in listeners.'),
  4301: fix('client_event_rate', 'Trigger client events less often.'),
  4302: fix('watchlist_too_long', 'Shorten the watchlist: its first entries are kept.'),
};
