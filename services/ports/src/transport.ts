import type { Dialect } from '@starling/protocol';

/** Bytes ready for one kind of transport, shared by every session that gets them: never write to them. */
export type Frame = Uint8Array;

/**
 * How one kind of transport wraps the messages of one dialect. One object for all conversations that can share frames: the
 * hub frames a message once per codec, not per session.
 */
export interface Codec {
  readonly name: string;
  readonly dialect: Dialect;
  /** `payload`: one text message of the dialect, as UTF-8. */
  frame(payload: Uint8Array): Frame;
}

/**
 * The outbound half of one network conversation. There is no read: whoever owns the network loop calls the session.
 * No method throws; after the conversation has ended they do nothing.
 */
export interface Transport {
  readonly codec: Codec;
  /** Absent where each write goes alone. */
  readonly fanout?: Fanout;
  /**
   * Sends one or more whole frames, one after another in one piece. The bytes are shared with other sessions that send
   * the same in this turn. What the kernel does not take stays buffered here and is counted below.
   */
  write(frames: Uint8Array): void;
  /** Bytes written but not yet taken by the kernel. When it falls to 0, `Session.drained` must be called. */
  readonly bufferedBytes: number;
  /** Asks the peer for a sign of life that is not a Pusher frame; its answer is reported as `Session.touch`. */
  probe(): void;
  /** Sends what is buffered, says goodbye with code and reason, and ends the conversation within a time limit. */
  close(code: number, reason: string): void;
}

/** Writes to many conversations of one kind at once. One object per kind, met in `Transport.fanout`. */
export interface Fanout {
  /**
   * For each i below `count`, as `transports[i].write(frames[i])`. Only transports of this fan-out may be given, each at
   * most once. The same bytes for neighbours cost least. Nothing of the arrays is kept, and no session is called back
   * before it returns.
   */
  write(transports: readonly Transport[], frames: readonly Uint8Array[], count: number): void;
}
