/** permessage-deflate: what is agreed on, what is sent, and what is taken. */
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';
import { pusherDialect } from '@starling/protocol';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import WebSocket, { type ClientOptions } from 'ws';
import { Random } from '../../../../infra/testing/random.ts';
import { EchoServer } from '../echo-server.test-kit.ts';
import { startEngine } from '../engine.test-kit.ts';
import { TextCodec } from './codec.ts';
import { acceptOffer, DeflateCodec } from './deflate.ts';
import {
  clientFrame,
  closePayload,
  deflated,
  deflatedFrame,
  deflateOffer,
  opcodes,
  RawClient,
} from './raw-client.test-kit.ts';

const limit = 131_072;
const server = new EchoServer({ closeTimeoutMs: 300 }, {}, { compresses: true });
const clients: RawClient[] = [];

beforeAll(() => server.start());
afterEach(() => {
  for (const client of clients.splice(0)) client.destroy();
});
afterAll(async () => {
  await server.app.close();
  expect(server.problems).toEqual([]);
});

async function open(headers: Readonly<Record<string, string>> = deflateOffer) {
  const client = await RawClient.open(server.port, '/app/key', headers);
  clients.push(client);
  return { client, session: server.session };
}

const agreed = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover';
const agreedWindow = `${agreed}; server_max_window_bits=13`;

describe('the offer', () => {
  it.each<[string | undefined, string | null]>([
    [undefined, null],
    ['', null],
    ['permessage-deflate', agreed],
    ['permessage-deflate; client_max_window_bits', agreed],
    ['permessage-deflate;client_max_window_bits=8', agreed],
    ['permessage-deflate; client_max_window_bits="10"', agreed],
    ['permessage-deflate; client_no_context_takeover; server_no_context_takeover', agreed],
    ['permessage-deflate; server_max_window_bits=15', agreedWindow],
    ['permessage-deflate; server_max_window_bits="13"', agreedWindow],
    ['\tpermessage-deflate ; server_no_context_takeover ; server_max_window_bits=14 ', agreedWindow],
    // The first that can be kept to.
    ['permessage-deflate; server_max_window_bits=10, permessage-deflate', agreed],
    ['permessage-deflate; unknown, permessage-deflate; client_max_window_bits', agreed],
    ['x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=14', agreedWindow],
    ['permessage-deflate, permessage-deflate; server_max_window_bits=14', agreed],
    ['other; a="b"; c=d, permessage-deflate', agreed],
    // What cannot be kept to.
    ['permessage-deflate; server_max_window_bits=12', null],
    ['permessage-deflate; server_max_window_bits=8', null],
    ['x-webkit-deflate-frame', null],
    ['permessage-bzip2', null],
    ['Permessage-Deflate', null],
    // What is no parameter of it, or not its value.
    ['permessage-deflate; unknown', null],
    ['permessage-deflate; unknown=1', null],
    ['permessage-deflate; server_max_window_bits', null],
    ['permessage-deflate; server_max_window_bits=7', null],
    ['permessage-deflate; server_max_window_bits=16', null],
    ['permessage-deflate; server_max_window_bits=015', null],
    ['permessage-deflate; server_max_window_bits=1e1', null],
    ['permessage-deflate; client_max_window_bits=16', null],
    ['permessage-deflate; client_max_window_bits=true', null],
    ['permessage-deflate; server_no_context_takeover=true', null],
    ['permessage-deflate; client_no_context_takeover="1"', null],
    ['permessage-deflate; client_no_context_takeover; client_no_context_takeover', null],
    ['permessage-deflate; client_max_window_bits=10; client_max_window_bits=10', null],
    ['permessage-deflate; __proto__', null],
    // What is malformed, also where that is in another offer.
    ['permessage-deflate;', null],
    ['permessage-deflate; ;', null],
    ['permessage-deflate,', null],
    [',permessage-deflate', null],
    ['permessage-deflate, per message', null],
    ['permessage-deflate, other; a=', null],
    ['permessage-deflate, other; a="b', null],
    ['permessage-deflate, other; a="b,c"', null],
    ['permessage-deflate, other; a=""', null],
    ['permessage-deflate, =b', null],
    ['permessage-deflate=1', null],
    ['permessage-deflate; client_max_window_bits = 10', null],
    ['permessage-déflate, permessage-deflate', null],
  ])('[WS10] %j is answered with %j', (offer, answer) => {
    expect(acceptOffer(offer)).toBe(answer);
  });

  it.each([
    ['permessage-deflate; client_max_window_bits', agreed],
    ['permessage-deflate; server_max_window_bits=9, permessage-deflate; server_max_window_bits=14', agreedWindow],
    ['permessage-deflate; server_max_window_bits=9', undefined],
    ['permessage-deflate; client_max_window_bits=99', undefined],
    ['permessage-deflate; broken=', undefined],
  ])('[WS10] over a socket, %j gets %j and a connection', async (offer, answer) => {
    const client = await RawClient.connect(server.port);
    clients.push(client);
    const { headers } = await client.shakeHands('/app/key', { 'Sec-WebSocket-Extensions': offer });
    expect(headers.get('sec-websocket-extensions')).toBe(answer);
    client.send(clientFrame('x'.repeat(1_000)));
    expect(await client.frame()).toMatchObject({ opcode: opcodes.text, isCompressed: answer !== undefined });
  });

  it('[WS10] that comes in two headers is one list', async () => {
    const { client } = await open({
      'Sec-WebSocket-Extensions':
        'permessage-deflate; server_max_window_bits=9\r\nSec-WebSocket-Extensions: permessage-deflate',
    });
    client.send(deflatedFrame('hello'));
    expect(await client.text()).toBe('hello');
  });

  it('[WS10] is not taken where compression is off', async () => {
    const off = new EchoServer();
    await off.start();
    const client = await RawClient.connect(off.port);
    const { headers } = await client.shakeHands('/app/key', deflateOffer);
    expect(headers.has('sec-websocket-extensions')).toBe(false);
    expect(off.session.transport.codec).toMatchObject({ name: 'ws pusher' });
    client.destroy();
    await off.app.close();
  });
});

describe('what is sent', () => {
  const codec = new DeflateCodec(pusherDialect);
  const text = new TextCodec(pusherDialect);
  const noise = Buffer.from(Array.from({ length: 5_000 }, (_, index) => new Random(index + 1).below(256)));
  const plain = (payload: Uint8Array) => Buffer.compare(codec.frame(payload), text.frame(payload)) === 0;

  it.each([0, 1, 511, 65_537, 1_000_000])('[WS11] leaves %i bytes as they are', (length) => {
    expect(plain(Buffer.alloc(length, 'x'))).toBe(true);
  });

  it.each([512, 2_000, 65_536])('[WS11] sends %i bytes compressed, within the window, for their own', (length) => {
    // Repeats itself only beyond the window, too.
    const payload = Buffer.concat([noise, Buffer.alloc(65_536, 'text '), noise]).subarray(-length);
    const frame = codec.frame(payload.subarray());
    const small = codec.frame(Buffer.alloc(length, 'text '));
    expect(frame[0] === 0x81 || frame[0] === 0xc1).toBe(true);
    expect(small[0]).toBe(0xc1);
    expect(small.byteLength).toBeLessThan(length / 4);
    const start = small[1] === 126 ? 4 : 2;
    const whole = Buffer.concat([small.subarray(start), Buffer.from([0, 0, 0xff, 0xff])]);
    const options = { windowBits: 13, finishFlush: constants.Z_SYNC_FLUSH };
    expect(inflateRawSync(whole, options).equals(Buffer.alloc(length, 'text '))).toBe(true);
  });

  it('[WS11] leaves what would not get smaller as it is', () => {
    expect(plain(noise)).toBe(true);
  });

  it('[WS11] brings one event to peers with and without compression, those in any order, each in the fewest bytes', async () => {
    const engine = await startEngine({ compresses: true });
    const offers = [deflateOffer, {}, deflateOffer, {}, {}, deflateOffer];
    const peers = [];
    for (const offer of offers) peers.push(await engine.subscribed('news', offer));
    const sizes = [10, 3_000, 600, 20, 100_000, 10_000];
    await Promise.all(sizes.map((size) => engine.publish(`event-${size}`, 'text '.repeat(size / 5))));
    const wires = [];
    for (const [index, peer] of peers.entries()) {
      const wire = [];
      for (const size of sizes) {
        const frame = await peer.frame();
        expect(JSON.parse(frame.payload.toString())).toMatchObject({ event: `event-${size}` });
        expect(frame.isCompressed).toBe(offers[index] === deflateOffer && size >= 600 && size <= 10_000);
        wire.push(frame.wireBytes);
      }
      wires.push(wire);
    }
    expect(wires[2]).toEqual(wires[0]);
    expect(wires[0]![1]).toBeLessThan(wires[1]![1]! / 4);
    await engine.stop();
  });

  it.each<[string, ClientOptions['perMessageDeflate']]>([
    ['as it comes', true],
    ['with every message compressed', { threshold: 0 }],
    ['that asks for a window it gets', { serverMaxWindowBits: 14, clientMaxWindowBits: 9, threshold: 0 }],
    ['that asks for a window it does not get', { serverMaxWindowBits: 10, threshold: 0 }],
    ['that asks for no context', { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 0 }],
  ])('[WS11] is understood by the ws client %s', async (_how, perMessageDeflate) => {
    const socket = new WebSocket(`ws://127.0.0.1:${server.port}/app/key`, { perMessageDeflate });
    const texts: string[] = [];
    await new Promise((resolve) => socket.on('open', resolve));
    const sent = Array.from({ length: 200 }, (_, index) => `${index} ${'lorem ipsum '.repeat(index)}`);
    const all = new Promise<void>((resolve, reject) => {
      socket.on('error', reject);
      socket.on('message', (data) => texts.push(String(data)) === sent.length && resolve());
    });
    for (const text of sent) socket.send(text);
    await all;
    expect(texts).toEqual(sent);
    socket.close();
    await new Promise((resolve) => socket.on('close', resolve));
  });
});

describe('what is taken', () => {
  const { continuation, ping } = opcodes;

  it.each([
    ['one block', 'f248cdc9c90700'],
    ['a block that is not compressed', '000500faff48656c6c6f00'],
    ['a last block', 'f348cdc9c9070000'],
    ['two blocks', 'f24805000000ffffcac9c90700'],
  ])('[WS12] the example of RFC 7692 with %s', async (_what, hex) => {
    const { client } = await open();
    client.send(clientFrame(Buffer.from(hex, 'hex'), { reserved: 4 }));
    expect(await client.text()).toBe('Hello');
  });

  it('[WS12] plain messages, compressed ones and empty ones by turns', async () => {
    const { client } = await open();
    const sent = [clientFrame('plain'), deflatedFrame('small'), clientFrame(Buffer.from([0]), { reserved: 4 })];
    client.send(Buffer.concat([...sent, deflatedFrame(''), deflatedFrame('€'.repeat(10_000)), clientFrame('')]));
    for (const expected of ['plain', 'small', '', '', '€'.repeat(10_000), ''])
      expect(await client.text()).toBe(expected);
  });

  it('[WS12] a message in fragments cut anywhere, with pings between', async () => {
    const { client } = await open();
    const data = deflated('a message in fragments');
    for (let cut = 0; cut <= data.length; cut++) {
      client.send(clientFrame(data.subarray(0, cut), { reserved: 4, isFinal: false }));
      client.send(clientFrame(`${cut}`, { opcode: ping }));
      client.send(clientFrame('', { opcode: continuation, isFinal: false }));
      client.send(clientFrame(data.subarray(cut), { opcode: continuation }));
      expect(await client.pong()).toBe(`${cut}`);
      expect(await client.text()).toBe('a message in fragments');
    }
  });

  it('[WS12] ten thousand in one piece, in order', async () => {
    const { client, session } = await open();
    const count = 10_000;
    client.send(Buffer.concat(Array.from({ length: count }, (_, index) => deflatedFrame(`${index}`))));
    while (session.texts.length < count) await session.next('receive');
    expect(session.texts).toEqual(Array.from({ length: count }, (_, index) => `${index}`));
  });

  it('[WS12] each for itself: no message is read with the help of one before it', async () => {
    const { client } = await open();
    const first = 'something to refer to';
    client.send(deflatedFrame(first));
    expect(await client.text()).toBe(first);
    const relying = deflateRawSync(first, { dictionary: Buffer.from(first), finishFlush: constants.Z_SYNC_FLUSH });
    client.send(clientFrame(relying.subarray(0, -4), { reserved: 4 }));
    expect((await client.close()).code).toBe(1007);
  });

  const half = deflated('a'.repeat(limit));
  it.each<[string, number, Buffer]>([
    [
      'a continuation with RSV1',
      1002,
      Buffer.concat([
        clientFrame(half.subarray(0, 10), { reserved: 4, isFinal: false }),
        clientFrame(half.subarray(10), { reserved: 4, opcode: continuation }),
      ]),
    ],
    [
      'RSV1 on the second fragment of a plain message',
      1002,
      Buffer.concat([
        clientFrame('a', { isFinal: false }),
        clientFrame(deflated('b'), { reserved: 4, opcode: continuation }),
      ]),
    ],
    ['a compressed ping', 1002, clientFrame(deflated('x'), { reserved: 4, opcode: ping })],
    ['a compressed close', 1002, clientFrame(deflated(closePayload(1000)), { reserved: 4, opcode: opcodes.close })],
    ['RSV2', 1002, clientFrame('x', { reserved: 2 })],
    ['RSV1 and RSV3', 1002, clientFrame(deflated('x'), { reserved: 5 })],
    ['a compressed binary message', 1003, deflatedFrame('bytes', { opcode: opcodes.binary })],
    ['a block of a kind that there is none of', 1007, clientFrame(Buffer.from([0xff, 0xff]), { reserved: 4 })],
    ['a reference to before the beginning', 1007, clientFrame(Buffer.from('4b04a200', 'hex'), { reserved: 4 })],
    ['text that was not compressed', 1007, clientFrame('{"event":"pusher:ping"}', { reserved: 4 })],
    ['a length that contradicts itself', 1007, clientFrame(Buffer.from('0005000000', 'hex'), { reserved: 4 })],
    ['bad UTF-8 below compression', 1007, deflatedFrame(Buffer.from([0x61, 0xff]))],
    ['one byte over the limit', 1009, deflatedFrame('a'.repeat(limit + 1))],
    [
      'one byte over the limit, in fragments',
      1009,
      Buffer.concat([
        clientFrame(deflated('a'.repeat(limit + 1)).subarray(0, 50), { reserved: 4, isFinal: false }),
        clientFrame(deflated('a'.repeat(limit + 1)).subarray(50), { opcode: continuation }),
      ]),
    ],
    ['a thousand times the limit', 1009, deflatedFrame(Buffer.alloc(limit * 900))],
    ['more compressed bytes than the limit', 1009, clientFrame(Buffer.alloc(limit + 1), { reserved: 4 })],
  ])('[WS12] %s closes %i', async (_what, code, bytes) => {
    const { client, session } = await open();
    client.send(Buffer.concat([bytes, deflatedFrame('after')]));
    if (code === 1003) await client.text();
    expect((await client.close()).code).toBe(code);
    await client.ended();
    client.destroy();
    if (session.ends === 0) await session.next('ended');
    expect(session.texts).toEqual([]);
  });

  it('[WS12] RSV1 closes 1002 where compression was not agreed on', async () => {
    const { client } = await open({});
    client.send(deflatedFrame('x'));
    expect((await client.close()).code).toBe(1002);
  });

  it('[WS3] a message of the limit itself, compressed', async () => {
    const { client } = await open();
    client.send(deflatedFrame('a'.repeat(limit)));
    expect((await client.text()).length).toBe(limit);
  });

  it('[WS12] never allocates what a bomb would become', async () => {
    const bomb = deflatedFrame(Buffer.alloc(limit * 900));
    expect(bomb.length).toBeLessThan(limit);
    const { client, session } = await open();
    const before = process.memoryUsage().arrayBuffers;
    client.send(bomb);
    let most = 0;
    const closed = client.close();
    const ended = session.next('ended');
    for (let isOver = false; !isOver; ) {
      most = Math.max(most, process.memoryUsage().arrayBuffers);
      isOver = await Promise.race([closed.then(() => true), new Promise<false>((next) => setImmediate(next, false))]);
    }
    expect((await closed).code).toBe(1009);
    // Beside what it became until then: what came, as it came and put together, and what the other end holds.
    expect(most - before).toBeLessThan(8 * limit);
    client.destroy();
    await ended;
  });

  it('[WS12] inflates nothing of what comes behind the reason to close', async () => {
    const { client, session } = await open();
    const before = server.notes.length;
    session.transport.close(4100, 'enough');
    expect((await client.close()).code).toBe(4100);
    const broken = clientFrame(Buffer.from([0xff, 0xff]), { reserved: 4 });
    client.send(Buffer.concat([broken, broken, clientFrame(closePayload(4100), { opcode: opcodes.close })]));
    await client.ended();
    client.destroy();
    if (session.ends === 0) await session.next('ended');
    expect(server.notes.length).toBe(before);
    expect(session.texts).toEqual([]);
  });
});
