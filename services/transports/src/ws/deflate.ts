/**
 * permessage-deflate (RFC 7692) without context takeover on either side: each message stands for itself. So one
 * compressed event serves all its subscribers, and a connection keeps neither a compressor nor a window.
 */
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';
import type { Frame } from '@starling/ports';
import { problems } from '@starling/protocol';
import WebSocket from 'ws';
import type { InboundScheduler } from '../inbound-scheduler.ts';
import { TextCodec, wholeFrame } from './codec.ts';
import type { Inflater } from './library-internals.ts';
import type { PacedSocket } from './paced-socket.ts';

const extension = 'permessage-deflate';

// ── Negotiation ──────────────────────────────────────────────────────────────────────────────────────────────────

/** How far back we refer, as a power of 2. Half of the most there is costs a quarter of the memory and 1 % of the effect. */
const windowBits = 13;

/** A parameter of an extension (RFC 6455, 9.1): its value is a token, in quotes or not. */
const parameterSyntax = /^([\w!#$%&'*+.^`|~-]+)(?:=(?:([\w!#$%&'*+.^`|~-]+)|"([\w!#$%&'*+.^`|~-]+)"))?$/;
const bits = /^(?:[89]|1[0-5])$/;

/**
 * What a Sec-WebSocket-Extensions header is answered with: the first of its offers that we can keep to, with what we
 * hold both sides to. Null: no compression. A header that is malformed anywhere, and an offer with a parameter that is
 * unknown, repeated or wrong, are as if not sent: a connection without compression is never wrong.
 */
export function acceptOffer(header: string | undefined): string | null {
  if (header === undefined) return null;
  // Neither separator can be part of a value: a token holds none of them.
  const offers = header.split(',').map((offer) => offer.split(';').map((part) => parameterSyntax.exec(part.trim())));
  let accepted: string | null = null;
  for (const [name, ...parameters] of offers) {
    if (name == null || name[0] !== name[1]) return null;
    const values = new Map<string, string | null>();
    for (const parameter of parameters) {
      if (parameter === null) return null;
      values.set(parameter[1] ?? '', parameter[2] ?? parameter[3] ?? null);
    }
    if (accepted === null && name[1] === extension && values.size === parameters.length) accepted = answerTo(values);
  }
  return accepted;
}

function answerTo(parameters: ReadonlyMap<string, string | null>): string | null {
  const ourBits = parameters.get('server_max_window_bits');
  for (const [name, value] of parameters) {
    const isRight =
      name === 'server_no_context_takeover' || name === 'client_no_context_takeover'
        ? value === null
        : name === 'client_max_window_bits'
          ? value === null || bits.test(value)
          : name === 'server_max_window_bits' && value !== null && bits.test(value);
    if (!isRight) return null;
  }
  if (ourBits != null && Number(ourBits) < windowBits) return null;
  const answer = `${extension}; server_no_context_takeover; client_no_context_takeover`;
  // Of the client's window nothing is said: we can read the largest.
  return ourBits == null ? answer : `${answer}; server_max_window_bits=${windowBits}`;
}

// ── To the peer ──────────────────────────────────────────────────────────────────────────────────────────────────

/** FIN, RSV1 and opcode 1: a whole text message, compressed. */
const finalCompressedText = 0xc1;

/** What ends a compressed message is known and not sent (RFC 7692, 7.2.1). */
const tail = Buffer.from([0x00, 0x00, 0xff, 0xff]);

/** In bytes. Below, what is saved is a fraction of what a packet costs anyway. */
const minCompressed = 512;
/** In bytes. Compressing runs on the event loop: this much takes a millisecond, and the rest has to wait for it. */
const maxCompressed = 65_536;

/** Frames what gets smaller by it as a compressed text message, and all else as the plain codec does. */
export class DeflateCodec extends TextCodec {
  override frame(payload: Uint8Array): Frame {
    const isWorthIt = payload.byteLength >= minCompressed && payload.byteLength <= maxCompressed;
    return (isWorthIt ? compressed(payload) : null) ?? super.frame(payload);
  }
}

/** A stream of zlib for each call: making one costs 10 µs, less than compressing does, and nothing is held in between. */
function compressed(payload: Uint8Array): Frame | null {
  const bytes = deflateRawSync(payload, {
    windowBits,
    memLevel: 6,
    finishFlush: constants.Z_SYNC_FLUSH,
    // Room for all of it in one piece, the usual case.
    chunkSize: Math.max(constants.Z_MIN_CHUNK, payload.byteLength),
  });
  const length = bytes.byteLength - tail.byteLength;
  return length < payload.byteLength ? wholeFrame(finalCompressedText, bytes.subarray(0, length)) : null;
}

// ── From the peer ────────────────────────────────────────────────────────────────────────────────────────────────

const nothing = Buffer.alloc(0);

/** In units of work: a stream of zlib, whatever comes out of it. */
const costOfInflating = 4;
/** What a unit of work stands for, of what comes out. */
const bytesPerUnit = 1_024;
/**
 * What goes in costs as well, twice what comes out: a table is built for each block, however little comes of it. What
 * cannot be compressed, such as an event in Base64, must not become dear by it.
 */
const costOfInput = 2;
/** The most that compressing what cannot be compressed adds to a message of the largest size. */
const spareBytes = 1_024;

/** Inflates each message at once, when the turn of its connection has come, and keeps no stream of zlib in between. */
export class PacedInflater implements Inflater {
  readonly #ws: WebSocket;
  readonly #stream: PacedSocket;
  readonly #scheduler: InboundScheduler;
  readonly #messageBytes: () => number;
  /** Of the message that the library is just being given, what inflating it was worth; 0 when there is none. */
  workBytes = 0;
  /** The fragments of a message that is not yet whole. The library bounds their bytes and their number. */
  #fragments: Buffer[] | null = null;

  /** `messageBytes`: how large a message may become. */
  constructor(ws: WebSocket, stream: PacedSocket, scheduler: InboundScheduler, messageBytes: () => number) {
    this.#ws = ws;
    this.#stream = stream;
    this.#scheduler = scheduler;
    this.#messageBytes = messageBytes;
  }

  decompress(data: Buffer, isLast: boolean, done: (err: Error | null, data: Buffer) => void): void {
    const fragments = this.#fragments ?? [];
    fragments.push(data);
    this.#fragments = isLast ? null : fragments;
    if (isLast) {
      this.#stream.later(() => this.#inflate(fragments, done));
    } else {
      // Answered later, though known now: from an answer within the call the library's loop would begin a second loop.
      this.#stream.later(() => done(null, nothing));
    }
  }

  #inflate(fragments: Buffer[], done: (err: Error | null, data: Buffer) => void): void {
    // Of a connection that is being closed nothing is read any more, and little that came may be much to inflate.
    if (this.#ws.readyState !== WebSocket.OPEN) {
      done(null, nothing);
      return;
    }
    fragments.push(tail);
    const compressed = Buffer.concat(fragments);
    const limit = this.#messageBytes();
    // Nothing that compresses becomes larger by it, but for a few bytes for each 64 KiB.
    if (compressed.length > limit + spareBytes) {
      this.#refuse('message_too_large', new RangeError('More compressed bytes than a message may have'), done);
      return;
    }
    let whole: Buffer;
    try {
      whole = inflateRawSync(compressed, {
        finishFlush: constants.Z_SYNC_FLUSH,
        // Past it zlib is not asked for more, however much the rest would become.
        maxOutputLength: limit,
      });
    } catch (err) {
      this.#charge(compressed.length, limit);
      const isTooLarge = (err as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
      this.#refuse(isTooLarge ? 'message_too_large' : 'message_undecodable', err as Error, done);
      return;
    }
    this.workBytes = this.#charge(compressed.length, whole.length);
    done(null, whole);
    this.workBytes = 0;
  }

  /** Returns what was worked through, in bytes of text that would have cost as much. */
  #charge(input: number, output: number): number {
    const workBytes = costOfInput * input + output;
    this.#scheduler.charge(costOfInflating + workBytes / bytesPerUnit);
    return workBytes;
  }

  #refuse(
    code: 'message_too_large' | 'message_undecodable',
    err: Error,
    done: (err: Error | null, data: Buffer) => void,
  ): void {
    const { number, text } = problems[code];
    this.#ws.close(number, text);
    done(err, nothing);
  }

  cleanup(): void {
    this.#fragments = null;
  }
}
