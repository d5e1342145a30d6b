/** What writing to many sockets means, and the plain way to do it. */
import type { Socket } from 'node:net';

/** Told what was thrown where nothing may be, and for which socket: null when the fault is none of theirs. */
export type OnWriteDefect = (err: unknown, index: number | null) => void;

export interface SocketWriter {
  readonly path: 'native' | 'js';
  /** Why it is not the native one, in a few words. */
  readonly reason?: string;
  /**
   * Writes `frames[i]` to `sockets[i]`, for each i below `count`, as the socket's own `write` would: in order with what
   * else is written to it, whole, and with the socket's error when it fails. Null stands for a socket that is passed over.
   *
   * The same bytes for neighbours cost least. What goes past the stream is not counted in `socket.bytesWritten`, nor does
   * it put off the socket's timeout.
   *
   * Never throws: what one write throws is told to `onDefect`, and the others get theirs.
   */
  write(
    sockets: ReadonlyArray<Socket | null>,
    frames: readonly Uint8Array[],
    count: number,
    onDefect: OnWriteDefect,
  ): void;
}

export class StreamSocketWriter implements SocketWriter {
  readonly path = 'js';
  readonly reason: string;

  constructor(reason = 'chosen') {
    this.reason = reason;
  }

  write(
    sockets: ReadonlyArray<Socket | null>,
    frames: readonly Uint8Array[],
    count: number,
    onDefect: OnWriteDefect,
  ): void {
    for (let i = 0; i < count; i++) writeAlone(sockets[i], frames[i], i, onDefect);
  }
}

/** One write, fenced. */
export function writeAlone(
  socket: Socket | null | undefined,
  frame: Uint8Array | undefined,
  index: number,
  onDefect: OnWriteDefect,
): void {
  try {
    if (frame !== undefined) socket?.write(frame);
  } catch (err) {
    onDefect(err, index);
  }
}
