import { once } from 'node:events';
/** RFC 6455 after the handshake, over a real socket, byte by byte. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EchoServer, type EchoSession } from '../echo-server.test-kit.ts';
import { clientFrame, closePayload, type FrameShape, handshake, opcodes, RawClient } from './raw-client.test-kit.ts';

const limit = 131_072;
const closeTimeoutMs = 300;
const server = new EchoServer({ closeTimeoutMs });
/** Waits until also a busy machine has read all. */
const patient = new EchoServer({ closeTimeoutMs: 30_000 });
const clients: RawClient[] = [];

beforeAll(() => Promise.all([server.start(), patient.start()]));
afterEach(() => {
  for (const client of clients.splice(0)) client.destroy();
});
afterAll(async () => {
  await Promise.all([server.app.close(), patient.app.close()]);
  expect([...server.problems, ...patient.problems]).toEqual([]);
  expect(server.logLines.filter((line) => JSON.parse(line).level >= 40)).toEqual([]);
});

async function open(to = server): Promise<{ client: RawClient; session: EchoSession }> {
  const client = await RawClient.open(to.port);
  clients.push(client);
  return { client, session: to.session };
}

const { text, binary, continuation, ping, pong } = opcodes;
const euro = Buffer.from('€');

describe('[LI18] messages that have not come whole', () => {
  const untilHeld = async (session: EchoSession, holds: (bytes: number) => boolean) => {
    while (!holds(session.arrived)) await once(session, 'arriving');
  };

  it('are told of from 8 KiB on, until they are whole', async () => {
    const { client, session } = await open();
    const frame = clientFrame('a'.repeat(60_000));
    client.send(frame.subarray(0, 6_000));
    client.send(frame.subarray(6_000, -10));
    await untilHeld(session, (bytes) => bytes > 59_000);
    client.send(frame.subarray(-10));
    expect(await client.text()).toHaveLength(60_000);
    await untilHeld(session, (bytes) => bytes === 0);
  });

  it('are told of in fragments, too, whatever control frames stand between them', async () => {
    const { client, session } = await open();
    client.send(clientFrame('a'.repeat(10_000), { isFinal: false }));
    await untilHeld(session, (bytes) => bytes > 10_000);
    for (let count = 0; count < 5; count++) {
      client.send(clientFrame('x'.repeat(100), { opcode: ping }));
      client.send(clientFrame('x'.repeat(100), { opcode: pong }));
    }
    client.send(clientFrame('b'.repeat(10_000), { opcode: continuation, isFinal: false }));
    await untilHeld(session, (bytes) => bytes > 20_000);
    expect(session.arrived).toBeLessThan(20_100);
    client.send(clientFrame('', { opcode: continuation }));
    await untilHeld(session, (bytes) => bytes === 0);
  });

  it('are not told of where many small ones come in one piece', async () => {
    const { client, session } = await open();
    client.send(Buffer.concat(Array.from({ length: 2_000 }, () => clientFrame('a'.repeat(20)))));
    while (session.texts.length < 2_000) await once(session, 'receive');
    expect(session.listenerCount('arriving')).toBe(0);
    expect(session.arrived).toBe(0);
  });
});

describe('messages', () => {
  it.each([0, 1, 125, 126, 127, 128, 65_535, 65_536, limit])('echoes a text of %i bytes', async (length) => {
    const { client } = await open();
    const sent = 'a'.repeat(length);
    client.send(clientFrame(sent));
    expect(await client.text()).toBe(sent);
  });

  it.each<[string, Buffer]>([
    [
      'in two fragments',
      Buffer.concat([clientFrame('he', { isFinal: false }), clientFrame('llo', { opcode: continuation })]),
    ],
    [
      'in fragments, some of them empty',
      Buffer.concat([
        clientFrame('', { isFinal: false }),
        clientFrame('hel', { opcode: continuation, isFinal: false }),
        clientFrame('', { opcode: continuation, isFinal: false }),
        clientFrame('lo', { opcode: continuation, isFinal: false }),
        clientFrame('', { opcode: continuation }),
      ]),
    ],
    ['with its length in more bytes than needed', clientFrame('hello', { lengthBytes: 8 })],
  ])('takes a message %s', async (_how, bytes) => {
    const { client } = await open();
    client.send(bytes);
    expect(await client.text()).toBe('hello');
  });

  it('takes a character cut in two by fragments', async () => {
    const { client } = await open();
    client.send(clientFrame(euro.subarray(0, 1), { isFinal: false }));
    client.send(clientFrame(euro.subarray(1), { opcode: continuation }));
    expect(await client.text()).toBe('€');
  });

  it('keeps the order of many messages in one piece', async () => {
    const { client } = await open();
    const texts = Array.from({ length: 500 }, (_, index) => `message ${index}`);
    client.send(Buffer.concat(texts.map((each) => clientFrame(each))));
    for (const each of texts) expect(await client.text()).toBe(each);
  });

  it('understands a conversation cut in two at any byte', async () => {
    const conversation = Buffer.concat([
      Buffer.from(handshake('/app/key')),
      clientFrame('one €'),
      clientFrame('tw', { isFinal: false }),
      clientFrame('ping', { opcode: ping }),
      clientFrame('o', { opcode: continuation }),
      clientFrame('x'.repeat(130)),
      clientFrame(closePayload(1000, 'bye'), { opcode: opcodes.close }),
    ]);
    for (let cut = 1; cut < conversation.length; cut++) {
      const client = await RawClient.connect(server.port);
      await client.sendAlone(conversation.subarray(0, cut));
      client.send(conversation.subarray(cut));
      expect((await client.answer()).status).toBe(101);
      expect(await client.text()).toBe('one €');
      expect(await client.pong()).toBe('ping');
      expect(await client.text()).toBe('two');
      expect(await client.text()).toBe('x'.repeat(130));
      expect(await client.close()).toEqual({ code: 1000, reason: 'bye' });
      await client.ended();
      client.destroy();
    }
  });

  it('takes a message that comes in 2,000 pieces', async () => {
    const { client } = await open();
    const sent = 'd'.repeat(1_992);
    const bytes = clientFrame(sent);
    expect(bytes.length).toBe(2_000);
    for (const byte of bytes) await client.sendAlone(Buffer.from([byte]));
    expect(await client.text()).toBe(sent);
  });

  it('[WS2] closes at a binary message, with the error first', async () => {
    const { client, session } = await open();
    client.send(clientFrame('bytes', { opcode: binary }));
    expect(JSON.parse(await client.text())).toMatchObject({ event: 'pusher:error', data: { code: 1003 } });
    expect((await client.close()).code).toBe(1003);
    expect(session.refusals).toEqual(['binary_message']);
    expect(session.texts).toEqual([]);
  });

  it('[WS2] closes at a binary message in fragments', async () => {
    const { client } = await open();
    client.send(clientFrame('by', { opcode: binary, isFinal: false }));
    client.send(clientFrame('tes', { opcode: continuation }));
    await client.text();
    expect((await client.close()).code).toBe(1003);
  });

  it.each<[string, Buffer]>([
    ['one byte over, in one frame', clientFrame('a'.repeat(limit + 1))],
    ['one byte over, announced only', clientFrame('a', { claimedLength: BigInt(limit + 1), lengthBytes: 8 })],
    ['2^40 bytes, announced', clientFrame('a', { claimedLength: 2n ** 40n, lengthBytes: 8 })],
    ['2^63 bytes, announced', clientFrame('a', { claimedLength: 2n ** 63n, lengthBytes: 8 })],
    [
      'one byte over, in two fragments',
      Buffer.concat([clientFrame('a'.repeat(limit), { isFinal: false }), clientFrame('b', { opcode: continuation })]),
    ],
  ])('[WS3] closes 1009 at a message of %s', async (_what, bytes) => {
    const { client, session } = await open();
    client.send(bytes);
    expect((await client.close()).code).toBe(1009);
    expect(session.texts).toEqual([]);
  });

  it('[WS3] counts each message for itself', async () => {
    const { client } = await open();
    for (let round = 0; round < 3; round++) {
      const half = 'a'.repeat(limit / 2);
      client.send(clientFrame(half, { isFinal: false }));
      client.send(clientFrame(half, { opcode: continuation }));
      expect((await client.text()).length).toBe(limit);
    }
  });

  it('ends a message of too many empty fragments', async () => {
    const { client } = await open();
    client.send(clientFrame('', { isFinal: false }));
    const empty = clientFrame('', { opcode: continuation, isFinal: false });
    client.send(Buffer.concat(Array.from({ length: 5_000 }, () => empty)));
    expect((await client.close()).code).toBe(1008);
  });
});

describe('a message in pieces', () => {
  it('may come in as many as the limit, and ends the connection beyond', async () => {
    const strict = new EchoServer({ closeTimeoutMs, maxPieces: 50 });
    await strict.start();
    const { client } = await open(strict);
    for (const byte of clientFrame('x'.repeat(40))) await client.sendAlone(Buffer.from([byte]));
    expect(await client.text()).toBe('x'.repeat(40));
    for (const byte of clientFrame('x'.repeat(500))) await client.sendAlone(Buffer.from([byte]));
    expect((await client.close()).code).toBe(1008);
    client.destroy();
    await strict.app.close();
  });
});

describe('violations', () => {
  const first: FrameShape = { isFinal: false };
  it.each<[string, number, Buffer]>([
    ['an unmasked text', 1002, clientFrame('x', { isMasked: false })],
    ['an unmasked ping', 1002, clientFrame('x', { isMasked: false, opcode: ping })],
    ...[1, 2, 4, 7].map((reserved): [string, number, Buffer] => [
      `reserved bits ${reserved}`,
      1002,
      clientFrame('x', { reserved }),
    ]),
    ['a reserved bit on a ping', 1002, clientFrame('x', { opcode: ping, reserved: 4 })],
    ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode): [string, number, Buffer] => [
      `opcode ${opcode}`,
      1002,
      clientFrame('x', { opcode }),
    ]),
    ['a fragmented ping', 1002, clientFrame('x', { opcode: ping, isFinal: false })],
    ['a fragmented pong', 1002, clientFrame('x', { opcode: pong, isFinal: false })],
    ['a fragmented close', 1002, clientFrame(closePayload(1000), { opcode: opcodes.close, isFinal: false })],
    ['a ping of 126 bytes', 1002, clientFrame('x'.repeat(126), { opcode: ping })],
    ['a ping with a 64-bit length', 1002, clientFrame('x', { opcode: ping, lengthBytes: 8 })],
    ['a pong of 126 bytes', 1002, clientFrame('x'.repeat(126), { opcode: pong })],
    ['a close of 126 bytes', 1002, clientFrame(closePayload(1000, 'x'.repeat(124)), { opcode: opcodes.close })],
    ['a continuation of nothing', 1002, clientFrame('x', { opcode: continuation })],
    ['a new text inside a message', 1002, Buffer.concat([clientFrame('x', first), clientFrame('y')])],
    ['a binary inside a message', 1002, Buffer.concat([clientFrame('x', first), clientFrame('y', { opcode: binary })])],
    ['half a close code', 1002, clientFrame(Buffer.from([3]), { opcode: opcodes.close })],
    ...[0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535].map((code): [string, number, Buffer] => [
      `close code ${code}`,
      1002,
      clientFrame(closePayload(code), { opcode: opcodes.close }),
    ]),
    ['bad UTF-8', 1007, clientFrame(Buffer.from([0x61, 0xff, 0x62]))],
    ['an overlong UTF-8 form', 1007, clientFrame(Buffer.from([0xc0, 0xaf]))],
    ['a surrogate in UTF-8', 1007, clientFrame(Buffer.from([0xed, 0xa0, 0x80]))],
    ['a code point past the last', 1007, clientFrame(Buffer.from([0xf4, 0x90, 0x80, 0x80]))],
    ['UTF-8 that stops short', 1007, clientFrame(euro.subarray(0, 2))],
    ['bad UTF-8 in a long text', 1007, clientFrame(Buffer.concat([Buffer.alloc(5_000, 'a'), Buffer.from([0xfe])]))],
    [
      'UTF-8 that stops short over fragments',
      1007,
      Buffer.concat([
        clientFrame(euro.subarray(0, 1), first),
        clientFrame(euro.subarray(1, 2), { opcode: continuation }),
      ]),
    ],
    [
      'bad UTF-8 in a close reason',
      1007,
      clientFrame(closePayload(1000, Buffer.from([0xff])), { opcode: opcodes.close }),
    ],
  ])('[WS4] %s closes %i', async (_what, code, bytes) => {
    const { client, session } = await open();
    const before = server.notes.length;
    client.send(bytes);
    expect((await client.close()).code).toBe(code);
    await client.ended();
    client.destroy();
    if (session.ends === 0) await session.next('ended');
    expect(session.ends).toBe(1);
    expect(session.texts).toEqual([]);
    expect(server.notes.length).toBe(before + 1);
  });

  it('[WS4] what comes before a violation still counts, what comes after does not', async () => {
    const { client, session } = await open();
    client.send(Buffer.concat([clientFrame('before'), clientFrame('x', { opcode: 3 }), clientFrame('after')]));
    expect(await client.text()).toBe('before');
    expect((await client.close()).code).toBe(1002);
    expect(session.texts).toEqual(['before']);
  });

  it('[WS9] garbage and misbehaviour of one peer leave another as it was', async () => {
    const { client: good, session } = await open();
    const garbage = Buffer.alloc(4_096, 0xa5);
    for (const bytes of [garbage, Buffer.alloc(4_096), clientFrame('x', { opcode: 7 })]) {
      const raw = await RawClient.connect(server.port);
      raw.send(bytes);
      const { client: bad } = await open();
      bad.send(bytes);
      session.send('for the good');
      expect(await good.text()).toBe('for the good');
      expect((await bad.close()).code).toBe(1002);
      raw.destroy();
    }
    const { client: rude, session: lost } = await open();
    rude.send(clientFrame('x', { isFinal: false }));
    rude.socket.resetAndDestroy();
    await lost.next('ended');
    good.send(clientFrame('still here'));
    expect(await good.text()).toBe('still here');
  });
});

describe('control frames', () => {
  it.each([0, 1, 124, 125])('[WS5] answers a ping of %i bytes with its payload', async (length) => {
    const { client, session } = await open();
    client.send(clientFrame('p'.repeat(length), { opcode: ping }));
    expect(await client.pong()).toBe('p'.repeat(length));
    expect(session.touches).toBe(1);
  });

  it('[WS5] answers pings between fragments at once', async () => {
    const { client } = await open();
    client.send(clientFrame('a', { isFinal: false }));
    client.send(clientFrame('1', { opcode: ping }));
    expect(await client.pong()).toBe('1');
    client.send(clientFrame('b', { opcode: continuation, isFinal: false }));
    client.send(clientFrame('2', { opcode: ping }));
    expect(await client.pong()).toBe('2');
    client.send(clientFrame('c', { opcode: continuation }));
    expect(await client.text()).toBe('abc');
  });

  it('[CL1] a pong, asked for or not, is a sign of life', async () => {
    const { client, session } = await open();
    client.send(clientFrame('unasked', { opcode: pong }));
    await session.next('touch');
    session.transport.probe();
    expect(await client.frame()).toMatchObject({ opcode: ping });
    client.send(clientFrame('', { opcode: pong }));
    await session.next('touch');
    expect(session.touches).toBe(2);
  });

  it('never mixes its pongs and closes with the frames of the session', async () => {
    const { client, session } = await open(patient);
    const frames = [125, 126, 70_000, 3].map((length) => 'f'.repeat(length));
    const run = Buffer.concat(frames.map((each) => session.transport.codec.frame(Buffer.from(each))));
    const rounds = 200;
    for (let round = 0; round < rounds; round++) {
      client.send(Buffer.concat([clientFrame(`${round}`, { opcode: ping }), clientFrame(`echo ${round}`)]));
      if (round % 10 === 0) await session.next('receive');
      session.transport.write(run);
      session.transport.probe();
    }
    // What is left in the socket then goes out before the close, and the strict client would see any torn frame.
    if (session.transport.bufferedBytes > 0) await session.next('drained');
    session.send('last');
    session.transport.close(4200, 'enough');
    const seen = { texts: 0, pings: 0 };
    for (;;) {
      const frame = await client.frame();
      if (frame.opcode === opcodes.close) break;
      if (frame.opcode === ping) seen.pings++;
      if (frame.opcode === text) {
        seen.texts++;
        const content = frame.payload.toString();
        expect(frames.includes(content) || /^echo \d+$|^last$/.test(content)).toBe(true);
      }
    }
    expect(seen.pings).toBe(rounds);
    expect(seen.texts).toBeGreaterThan(rounds * frames.length);
  });
});

describe('a peer that reads slowly', () => {
  /** Writes until the kernel takes no more. Returns how many frames that took. */
  function fill(session: EchoSession, payload: string): number {
    const frame = session.transport.codec.frame(Buffer.from(payload));
    for (let count = 1; ; count++) {
      session.transport.write(frame);
      if (session.transport.bufferedBytes > 0) return count;
    }
  }

  it('is reported once its buffer is empty, however little was in it', async () => {
    const { client, session } = await open();
    client.socket.pause();
    // Frames far smaller than the stream's high-water mark, below which Node has no 'drain' event.
    const count = fill(session, 's'.repeat(1_000));
    expect(session.transport.bufferedBytes).toBeLessThan(2_000);
    expect(session.drains).toBe(0);
    client.socket.resume();
    await session.next('drained');
    expect(session.transport.bufferedBytes).toBe(0);
    for (let index = 0; index < count; index++) await client.text();
    expect(session.drains).toBe(1);
  });

  it('is reported only when what was written behind a full buffer is gone too', async () => {
    const { client, session } = await open();
    client.socket.pause();
    const payload = 's'.repeat(1_000_000);
    const count = fill(session, payload);
    for (let more = 0; more < 5; more++) session.send(payload);
    client.socket.resume();
    for (let index = 0; index < count + 25; index++) {
      expect((await client.text()).length).toBe(payload.length);
      // Behind writes that the kernel has begun with.
      if (index < 20) session.send(payload);
    }
    if (session.drains === 0) await session.next('drained');
    expect(session.bufferedAtDrain).toBe(0);
  });

  it('gets one pong, for its latest ping, when it reads again', async () => {
    const { client, session } = await open();
    client.socket.pause();
    const count = fill(session, 's'.repeat(100_000));
    const before = session.transport.bufferedBytes;
    for (let index = 0; index <= 1_000; index++) client.send(clientFrame(`ping ${index}`, { opcode: ping }));
    while (session.touches <= 1_000) await session.next('touch');
    expect(session.transport.bufferedBytes).toBe(before);
    client.socket.resume();
    for (let index = 0; index < count; index++) await client.text();
    expect(await client.pong()).toBe('ping 1000');
  });

  it('[WS7] is cut within the limit when it is closed and does not read', async () => {
    const { client, session } = await open();
    client.socket.pause();
    fill(session, 's'.repeat(100_000));
    session.transport.close(4203, 'too slow');
    await session.next('ended', closeTimeoutMs + 2_000);
    expect(session.ends).toBe(1);
    session.send('into the void');
  });

  it('[WS7] is cut within the limit when it half-closes and does not read', async () => {
    const { client, session } = await open();
    client.socket.pause();
    fill(session, 's'.repeat(100_000));
    client.socket.end();
    await session.next('ended', closeTimeoutMs + 2_000);
    expect(session.ends).toBe(1);
  });
});

describe('closing', () => {
  it.each([1000, 1001, 1011, 3000, 4000, 4999])('[WS7] answers a close %i with the same, and ends', async (code) => {
    const { client, session } = await open();
    client.send(clientFrame(closePayload(code, 'why'), { opcode: opcodes.close }));
    expect(await client.close()).toEqual({ code, reason: 'why' });
    await client.ended();
    client.socket.end();
    await session.next('ended');
    expect(session.ends).toBe(1);
  });

  it('[WS7] answers a close without a code with one without a code', async () => {
    const { client } = await open();
    client.send(clientFrame('', { opcode: opcodes.close }));
    expect(await client.close()).toEqual({ code: null, reason: '' });
    await client.ended();
  });

  it('[WS7] hears nothing after a close', async () => {
    const { client, session } = await open();
    client.send(Buffer.concat([clientFrame(closePayload(1000), { opcode: opcodes.close }), clientFrame('too late')]));
    await client.close();
    await client.ended();
    expect(session.texts).toEqual([]);
  });

  it('[WS7] ends at once when the peer answers our close', async () => {
    const { client, session } = await open();
    session.transport.close(4200, 'reconnect');
    expect(await client.close()).toEqual({ code: 4200, reason: 'reconnect' });
    client.send(clientFrame(closePayload(4200), { opcode: opcodes.close }));
    await client.ended();
    client.socket.end();
    await session.next('ended', closeTimeoutMs - 100);
  });

  it('[WS7] cuts a peer that goes on talking instead of answering our close', async () => {
    const { client, session } = await open();
    const startedAt = performance.now();
    session.transport.close(4200, 'reconnect');
    await client.close();
    client.send(Buffer.concat([clientFrame('not listening'), clientFrame('', { opcode: ping })]));
    await session.next('ended', closeTimeoutMs + 2_000);
    expect(performance.now() - startedAt).toBeGreaterThan(closeTimeoutMs - 50);
    expect(session.texts).toEqual([]);
    expect(session.ends).toBe(1);
    await client.ended();
  });

  it('[WS7] cuts a peer that never ends its side after its own close', async () => {
    const { client, session } = await open();
    client.send(clientFrame(closePayload(1000), { opcode: opcodes.close }));
    await client.close();
    await session.next('ended', closeTimeoutMs + 2_000);
  });

  it('[WS7] cuts a peer that goes on sending after it broke the protocol', async () => {
    const { client, session } = await open();
    client.send(clientFrame('x', { opcode: 3 }));
    expect((await client.close()).code).toBe(1002);
    const flood = setInterval(() => client.send(clientFrame('x'.repeat(1_000))), 10);
    await session.next('ended', closeTimeoutMs + 2_000);
    clearInterval(flood);
    expect(session.texts).toEqual([]);
  });

  it('sends nothing behind its close', async () => {
    const { client, session } = await open();
    session.send('before');
    session.transport.close(4200, 'reconnect');
    session.send('after');
    session.transport.probe();
    session.transport.close(4201, 'again');
    expect(await client.text()).toBe('before');
    expect((await client.close()).code).toBe(4200);
    client.send(clientFrame(closePayload(4200), { opcode: opcodes.close }));
    await client.ended();
  });

  it('tells the session once when the peer just vanishes', async () => {
    const { client, session } = await open();
    client.destroy();
    await session.next('ended');
    session.transport.close(4200, 'late');
    session.transport.probe();
    session.send('late');
    expect(session.ends).toBe(1);
  });

  it.each<[string, string, string]>([
    ['123 bytes', 'r'.repeat(123), 'r'.repeat(123)],
    ['124 bytes', 'r'.repeat(124), 'r'.repeat(123)],
    ['characters of three bytes', '€'.repeat(60), '€'.repeat(41)],
    ['characters of four bytes', `r${'😀'.repeat(60)}`, `r${'😀'.repeat(30)}`],
    ['half a surrogate pair', `r\ud83d`, 'r\ufffd'],
    ['nothing', '', ''],
  ])('[CL9] sends as much of a reason of %s as fits', async (_what, reason, expected) => {
    const { client, session } = await open();
    session.transport.close(4000, reason);
    expect(await client.close()).toEqual({ code: 4000, reason: expected });
  });
});

describe('a server that stops', () => {
  it('tells every peer to come back, takes no one new, and does not wait for the deaf longer than the limit', async () => {
    // Fastify's own refusal while it closes is off, so that ours is seen.
    const stopping = new EchoServer({ closeTimeoutMs }, { return503OnClosing: false });
    await stopping.start();
    const { client: polite } = await open(stopping);
    const { client: deaf } = await open(stopping);
    const late = await RawClient.connect(stopping.port);
    clients.push(late);
    const closed = stopping.app.close();
    for (const client of [polite, deaf]) {
      expect(JSON.parse(await client.text())).toMatchObject({ data: { code: 4200 } });
      expect((await client.close()).code).toBe(4200);
    }
    late.send(handshake('/app/key'));
    expect((await late.answer()).status).toBe(426);
    polite.send(clientFrame(closePayload(4200), { opcode: opcodes.close }));
    await polite.ended();
    polite.socket.end();
    await deaf.ended(closeTimeoutMs + 2_000);
    late.destroy();
    await closed;
    expect(stopping.sessions.map((session) => session.ends)).toEqual([1, 1]);
  });
});
