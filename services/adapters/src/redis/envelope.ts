/**
 * The form in which a message passes through Redis: a header of a few bytes, then the payload untouched.
 *
 *     byte 0      version, 2
 *     byte 1      kind in the low four bits, then flags: 0x10 has a position, 0x20 spares a socket
 *     byte 2      where the payload begins
 *     8 bytes     the position, a big-endian double, if it has one
 *     1+n bytes   the length of the spared socket id and the id, if there is one
 *     the rest    of the header is skipped: a later version puts there what this one does not know, such as an epoch, and
 *                 nodes of both understand each other while they are replaced one by one
 *     then        the payload
 */
import { isUtf8 } from 'node:buffer';
import type { BrokerMessage } from '@starling/ports';

const version = 2;
const kinds = ['event', 'transition', 'terminate'] as const satisfies readonly BrokerMessage['kind'][];
const hasPosition = 0x10;
const hasExcept = 0x20;

export function encodeEnvelope(message: BrokerMessage): Buffer {
  return encode(message, message.position === undefined ? 'none' : 'given');
}

/** For a script, which puts the position that it decides on behind the third byte. */
export function encodeUnplaced(message: BrokerMessage): Buffer {
  return encode(message, 'later');
}

function encode(
  { kind, payload, except = '', position = 0 }: BrokerMessage,
  place: 'none' | 'given' | 'later',
): Buffer {
  const positionBytes = place === 'given' ? 8 : 0;
  const exceptBytes = except === '' ? 0 : 1 + except.length;
  const headerBytes = 3 + positionBytes + exceptBytes;
  const bytes = Buffer.allocUnsafe(headerBytes + payload.byteLength);
  bytes[0] = version;
  bytes[1] = kinds.indexOf(kind) | (place === 'none' ? 0 : hasPosition) | (except === '' ? 0 : hasExcept);
  bytes[2] = place === 'later' ? headerBytes + 8 : headerBytes;
  if (positionBytes > 0) bytes.writeDoubleBE(position, 3);
  if (exceptBytes > 0) {
    bytes[3 + positionBytes] = except.length;
    bytes.write(except, 4 + positionBytes, 'latin1');
  }
  bytes.set(payload, headerBytes);
  return bytes;
}

/** Bytes of the longest message that is taken: one of the largest data that an app may allow, each character escaped. */
const maxEnvelopeBytes = 4 * 1_048_576;

/**
 * The payload is a view of the bytes given. Undefined for what is not an envelope of this version: too long, cut short,
 * with a position that is none, or with a payload that is no text, which clients would have to close over.
 */
export function decodeEnvelope(bytes: Buffer): BrokerMessage | undefined {
  const head = bytes[1];
  if (bytes.byteLength > maxEnvelopeBytes || bytes[0] !== version || head === undefined) return undefined;
  const kind = kinds[head & 0x0f];
  if (kind === undefined) return undefined;
  const payloadAt = bytes[2] ?? 0;
  let at = 3;
  let position: number | undefined;
  if (head & hasPosition) {
    if (bytes.byteLength < at + 8) return undefined;
    position = bytes.readDoubleBE(at);
    // One past all others would make every later message one that is known already.
    if (!Number.isSafeInteger(position) || position < 0) return undefined;
    at += 8;
  }
  let except: string | undefined;
  if (head & hasExcept) {
    const end = at + 1 + (bytes[at] ?? bytes.byteLength);
    if (bytes.byteLength < end) return undefined;
    except = bytes.toString('latin1', at + 1, end);
    at = end;
  }
  if (payloadAt < at || payloadAt > bytes.byteLength) return undefined;
  const payload = bytes.subarray(payloadAt);
  if (!isUtf8(payload)) return undefined;
  if (position === undefined) return except === undefined ? { kind, payload } : { kind, payload, except };
  return except === undefined ? { kind, payload, position } : { kind, payload, except, position };
}
