import { pusherDialect } from '@starling/protocol';
import { describe, expect, it } from 'vitest';
import { TextCodec } from './codec.ts';

/** Lengths on both sides of where RFC 6455 changes the width of the length field, and the header each must have. */
const headers = [
  [0, [0x81, 0]],
  [1, [0x81, 1]],
  [125, [0x81, 125]],
  [126, [0x81, 126, 0, 126]],
  [127, [0x81, 126, 0, 127]],
  [65_535, [0x81, 126, 0xff, 0xff]],
  [65_536, [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]],
] as const;

const codec = new TextCodec(pusherDialect);

describe('TextCodec', () => {
  it.each(headers)('frames %i bytes as one unmasked text frame with the shortest length', (length, header) => {
    const payload = Buffer.alloc(length, 'x');
    const frame = codec.frame(payload);
    expect([...frame.subarray(0, header.length)]).toEqual(header);
    expect(Buffer.compare(frame.subarray(header.length), payload)).toBe(0);
  });

  it('leaves the payload as it was', () => {
    const payload = Buffer.from('shared');
    codec.frame(payload);
    expect(payload.toString()).toBe('shared');
  });
});
