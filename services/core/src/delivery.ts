/**
 * One message on its way to the subscribers of this node, framed once for each codec.
 *
 * Hot path. Between nodes a message travels as Pusher's dialect has it, because most clients speak that: they get those
 * bytes. For clients of another dialect it is read and encoded again, once per node.
 */
import type { BrokerMessage, Codec, Frame } from '@starling/ports';
import { pusherDialect, readPublished, type ServerEvent } from '@starling/protocol';

/** The text of an event between nodes. */
export function payloadOf(event: ServerEvent): Uint8Array {
  return Buffer.from(pusherDialect.encode(event)[0] ?? '');
}

/** Its way back. Null for what is none of ours. */
export function readPayload(payload: Uint8Array): ReturnType<typeof readPublished> {
  return readPublished(Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString());
}

export class Delivery {
  /** The one it was published as, with its position; absent where this node tells something by itself. */
  readonly message: BrokerMessage | undefined;
  readonly byteLength: number;
  #event: ServerEvent | null | undefined;
  /** Of the codec asked for last: most nodes have one. */
  #codec: Codec | null = null;
  #frame: Frame | null = null;
  #others: Map<Codec, Frame | null> | null = null;

  constructor(message: BrokerMessage | undefined, event?: ServerEvent) {
    this.message = message;
    this.byteLength = message?.payload.byteLength ?? 0;
    this.#event = event;
  }

  /** Null where the dialect has no word for it. Throws what the codec throws. */
  frame(codec: Codec): Frame | null {
    if (codec === this.#codec) return this.#frame;
    let frame = this.#others?.get(codec);
    if (frame === undefined) {
      frame = this.#make(codec);
      if (this.#codec !== null) {
        this.#others ??= new Map<Codec, Frame | null>([[this.#codec, this.#frame]]);
        this.#others.set(codec, frame);
      }
    }
    this.#codec = codec;
    this.#frame = frame;
    return frame;
  }

  #make(codec: Codec): Frame | null {
    if (codec.dialect === pusherDialect && this.#event === undefined && this.message !== undefined)
      return codec.frame(this.message.payload);
    const event = this.#read();
    const [text] = event === null ? [] : codec.dialect.encode(event);
    return text === undefined ? null : codec.frame(Buffer.from(text));
  }

  #read(): ServerEvent | null {
    if (this.#event === undefined) this.#event = this.message === undefined ? null : readPayload(this.message.payload);
    return this.#event;
  }
}
