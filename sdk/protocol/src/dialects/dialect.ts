import type { ClientCommand } from '../commands.ts';
import type { Checked } from '../errors.ts';
import type { ServerEvent } from '../server-events.ts';

/**
 * The language of one kind of client. It turns text messages into commands and events into text messages, and knows
 * nothing of connections. Neither method throws.
 */
export interface Dialect {
  readonly name: string;
  /** One text message from the client. The refusal says what is wrong with it. */
  decode(text: string): Checked<ClientCommand>;
  /** The text messages that tell it, in order; none where the dialect has no word for it. */
  encode(event: ServerEvent): readonly string[];
}
