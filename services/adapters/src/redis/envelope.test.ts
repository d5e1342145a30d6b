import type { BrokerMessage } from '@starling/ports';
import { describe, expect, it } from 'vitest';
import { decodeEnvelope, encodeEnvelope, encodeUnplaced } from './envelope.ts';

const payload = Buffer.from('{"event":"a"}');

describe('an envelope', () => {
  it.each<BrokerMessage>([
    { kind: 'event', payload },
    { kind: 'event', payload: Buffer.alloc(0) },
    { kind: 'transition', payload, except: '123.456' },
    { kind: 'terminate', payload: Buffer.alloc(0), position: 0 },
    { kind: 'event', payload, position: 1_732_300_000_123_456 },
    { kind: 'transition', payload, position: 1, except: `${'9'.repeat(20)}.${'9'.repeat(20)}` },
  ])('brings back $kind, $position, $except', (message) => {
    expect(decodeEnvelope(encodeEnvelope(message))).toEqual(message);
  });

  it('takes the position that a script puts behind the third byte', () => {
    const unplaced = encodeUnplaced({ kind: 'transition', payload, except: '1.2' });
    const position = Buffer.alloc(8);
    position.writeDoubleBE(77);
    const placed = Buffer.concat([unplaced.subarray(0, 3), position, unplaced.subarray(3)]);
    expect(decodeEnvelope(placed)).toEqual({ kind: 'transition', payload, except: '1.2', position: 77 });
  });

  it('skips what a later version adds to the header', () => {
    const message: BrokerMessage = { kind: 'event', payload, position: 7, except: '1.2' };
    const bytes = encodeEnvelope(message);
    const headerBytes = bytes[2] ?? 0;
    const later = Buffer.concat([bytes.subarray(0, headerBytes), Buffer.from('epoch'), payload]);
    later[2] = headerBytes + 5;
    expect(decodeEnvelope(later)).toEqual(message);
    later[2] = headerBytes - 1;
    expect(decodeEnvelope(later)).toBeUndefined();
  });

  it('hands out the payload as a view, not a copy', () => {
    const bytes = encodeEnvelope({ kind: 'event', payload });
    expect(decodeEnvelope(bytes)?.payload.buffer).toBe(bytes.buffer);
  });

  it('is nothing when it is cut short, of another version or of no kind', () => {
    const whole = encodeEnvelope({ kind: 'event', payload: Buffer.alloc(0), position: 1, except: '1.2' });
    for (let length = 0; length < whole.byteLength; length++) {
      expect(decodeEnvelope(whole.subarray(0, length))).toBeUndefined();
    }
    expect(decodeEnvelope(Buffer.from([1, 0, 3]))).toBeUndefined();
    expect(decodeEnvelope(Buffer.from([2, 3, 3]))).toBeUndefined();
    expect(decodeEnvelope(Buffer.from('{"event":"somebody else published this"}'))).toBeUndefined();
  });
});
