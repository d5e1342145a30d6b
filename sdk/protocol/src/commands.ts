/** All that a client may ask for, whatever its dialect. Values, not text; nothing in them has been authorised. */

export interface SubscribeCommand {
  readonly type: 'subscribe';
  /** Not yet checked: the refusal must name it. */
  readonly channel: string;
  readonly auth: string | undefined;
  /** The exact string that was signed. */
  readonly channelData: string | undefined;
  /** Given, but not as a string: whoever needs it must refuse. */
  readonly isChannelDataBroken: boolean;
}
export interface UnsubscribeCommand {
  readonly type: 'unsubscribe';
  readonly channel: string;
}
export interface SigninCommand {
  readonly type: 'signin';
  readonly auth: string;
  /** The exact string that was signed. */
  readonly userData: string;
}
export interface ClientEventCommand {
  readonly type: 'client-event';
  readonly event: string;
  readonly channel: string;
  /** As it goes out: a string stays itself, anything else has become JSON. */
  readonly data: string;
}
/** A capability token, in place of the one in force. */
export interface AuthCommand {
  readonly type: 'auth';
  /** Undefined when none was given: the refusal must not close the connection. */
  readonly token: string | undefined;
}
export interface SocketPublishCommand {
  readonly type: 'publish';
  /** The client's name for it, given back with the answer. */
  readonly id: string;
  /** `channels`, `name`, `data`, `socket_id`: not yet checked. */
  readonly fields: Readonly<Record<string, unknown>>;
}
export type ClientCommand =
  | { readonly type: 'ping' }
  | { readonly type: 'pong' }
  | SubscribeCommand
  | UnsubscribeCommand
  | SigninCommand
  | ClientEventCommand
  | AuthCommand
  | SocketPublishCommand;
