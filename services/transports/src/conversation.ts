/** What stands behind a transport: a session of the engine, or any other conversation that it is mounted with. */
import type { ConnectRequest, Session } from '@starling/core';
import type { Transport } from '@starling/ports';

export type Conversation = Pick<
  Session,
  'receive' | 'arriving' | 'refuse' | 'touch' | 'drained' | 'ended' | 'answered' | 'messageBytes'
>;

/** The engine's `Sessions`, as a rule. */
export interface Conversations {
  /** Never throws. `token`: the capability token of the address. */
  open(transport: Transport, connectRequest: ConnectRequest, token?: string): Conversation;
}
