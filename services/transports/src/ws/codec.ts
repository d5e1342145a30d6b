import type { Codec, Frame } from '@starling/ports';
import type { Dialect } from '@starling/protocol';

/** The first byte of a whole text message: FIN and opcode 1. */
const finalText = 0x81;

/**
 * A payload as one unmasked WebSocket frame (RFC 6455, 5.2), its length in the fewest bytes. Header and payload share
 * one buffer, so that a frame is written to a socket in one piece.
 */
export function wholeFrame(firstByte: number, payload: Uint8Array): Frame {
  const length = payload.byteLength;
  const offset = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const frame = Buffer.allocUnsafe(offset + length);
  frame[0] = firstByte;
  if (offset === 2) {
    frame[1] = length;
  } else if (offset === 4) {
    frame[1] = 126;
    frame.writeUInt16BE(length, 2);
  } else {
    frame[1] = 127;
    frame.writeBigUInt64BE(BigInt(length), 2);
  }
  frame.set(payload, offset);
  return frame;
}

/** Each message of the dialect as one text message. */
export class TextCodec implements Codec {
  readonly name: string;
  readonly dialect: Dialect;

  constructor(dialect: Dialect) {
    this.name = `ws ${dialect.name}`;
    this.dialect = dialect;
  }

  frame(payload: Uint8Array): Frame {
    return wholeFrame(finalText, payload);
  }
}
