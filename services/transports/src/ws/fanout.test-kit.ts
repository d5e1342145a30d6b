/** What the fan-out to many conversations is asked to prove, whichever writer is below it. */
import type { SocketWriter } from '@starling/fanout';
import type { Fanout, Transport } from '@starling/ports';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { Random } from '../../../../infra/testing/random.ts';
import { EchoServer, type EchoSession } from '../echo-server.test-kit.ts';
import { event, startEngine } from '../engine.test-kit.ts';
import { clientFrame, deflateOffer, opcodes, RawClient } from './raw-client.test-kit.ts';

/** Registers the tests; to be called in a `describe`. */
export function proveFanout(openWriter: () => SocketWriter): void {
  let server: EchoServer;
  const clients: RawClient[] = [];
  beforeAll(() => {
    server = new EchoServer({ closeTimeoutMs: 300 }, {}, { writer: openWriter() });
    return server.start();
  });
  afterEach(() => {
    for (const client of clients.splice(0)) client.destroy();
  });
  afterAll(() => server.app.close());

  async function open(): Promise<{ client: RawClient; session: EchoSession }> {
    const client = await RawClient.open(server.port);
    clients.push(client);
    return { client, session: server.session };
  }

  it('keeps the order of all that is sent: by the fan-out, by one session, and the pings between', async () => {
    const random = new Random(1);
    const peers = [await open(), await open(), await open()];
    const sent: string[][] = peers.map(() => []);
    const transports = peers.map(({ session }) => session.transport);
    for (let step = 0; step < 3_000; step++) {
      const index = random.below(peers.length);
      const { client, session } = peers[index] ?? fail();
      const text = `${step} ${'x'.repeat(random.chance(0.02) ? random.below(300_000) : random.below(200))}`;
      const what = random.below(10);
      if (what < 5) {
        fanOut(transports, text);
        for (const each of sent) each.push(text);
      } else if (what < 7) {
        session.send(text);
        sent[index]?.push(text);
      } else if (what < 8) {
        session.transport.probe();
        sent[index]?.push('ping');
      } else {
        client.send(clientFrame(`${step}`, { opcode: opcodes.ping }));
      }
      if (random.chance(0.01)) client.socket.pause();
      else if (random.chance(0.03)) client.socket.resume();
      if (random.chance(0.1)) await new Promise(setImmediate);
    }
    for (const [index, { client }] of peers.entries()) {
      client.socket.resume();
      for (const expected of sent[index] ?? []) {
        let frame = await client.frame(10_000);
        while (frame.opcode === opcodes.pong) frame = await client.frame(10_000);
        const received = frame.opcode === opcodes.ping ? 'ping' : frame.payload.toString();
        // Compared first: a difference in a text of this size is not worth printing.
        if (received !== expected) expect(received.slice(0, 20)).toBe(expected.slice(0, 20));
        expect(received.length).toBe(expected.length);
      }
    }
  });

  it('[WS11] brings each event of many turns whole and in order to peers with and without compression', async () => {
    const engine = await startEngine({ writer: openWriter(), compresses: true });
    const random = new Random(2);
    const peers = [];
    for (const offer of [deflateOffer, {}, {}, deflateOffer, {}]) peers.push(await engine.subscribed('news', offer));
    const sent: number[] = [];
    const isCompressed = new Set<boolean>();
    for (let turn = 0; turn < 300; turn++) {
      for (let count = random.below(4); count > 0; count--) {
        sent.push(random.below(random.chance(0.1) ? 100_000 : 2_000));
        await engine.publish(`event-${sent.length}`, 'x'.repeat(sent.at(-1) ?? 0));
      }
      await new Promise(setImmediate);
    }
    for (const peer of peers) {
      for (const [index, length] of sent.entries()) {
        const frame = await peer.frame(10_000);
        isCompressed.add(frame.isCompressed);
        const { event, data } = JSON.parse(frame.payload.toString());
        expect([event, data.length]).toEqual([`event-${index + 1}`, length]);
      }
    }
    expect(isCompressed.size).toBe(2);
    await engine.stop();
  });

  it('sends nothing after a close, and the others get theirs', async () => {
    const peers = [await open(), await open(), await open()];
    const [, closing] = peers;
    const transports = peers.map(({ session }) => session.transport);
    fanOut(transports, 'before');
    closing?.session.transport.close(4200, 'bye');
    fanOut(transports, 'after');
    for (const { client, session } of peers) {
      expect(await client.text()).toBe('before');
      if (session !== closing?.session) {
        expect(await client.text()).toBe('after');
        continue;
      }
      expect(await client.close()).toEqual({ code: 4200, reason: 'bye' });
      await client.ended();
      fanOut(transports, 'at last');
    }
  });

  it('counts what a peer has not read, and says when it has', async () => {
    const [slow, quick] = [await open(), await open()];
    slow.client.socket.pause();
    const text = 's'.repeat(10_000_000);
    fanOut([slow.session.transport, quick.session.transport], text);
    expect(slow.session.transport.bufferedBytes).toBeGreaterThan(0);
    expect((await quick.client.text(10_000)) === text).toBe(true);
    const drained = slow.session.next('drained', 10_000);
    slow.client.socket.resume();
    expect((await slow.client.text(10_000)) === text).toBe(true);
    await drained;
    expect(slow.session.transport.bufferedBytes).toBe(0);
  });

  it('[CL6] closes 4203 each of 200 peers that do not read, in bounded memory, and the others miss nothing', async () => {
    const outbox = { maxBytes: 1_048_576, maxStallMs: 60_000 };
    const engine = await startEngine({ writer: openWriter(), closeTimeoutMs: 10_000, outbox });
    const readers = [await engine.subscribed(), await engine.subscribed()];
    const deaf: RawClient[] = [];
    while (deaf.length < 200) {
      const client = await engine.subscribed();
      client.socket.pause();
      deaf.push(client);
    }
    const { arrayBuffers, heapUsed } = process.memoryUsage();
    let mostBytes = 0;
    let sent = 0;
    while (engine.sessions.size > readers.length) {
      await engine.publish(`event-${sent}`, 'x'.repeat(20_000));
      for (const reader of readers) expect(await event(reader)).toBe(`event-${sent}`);
      sent++;
      const now = process.memoryUsage();
      mostBytes = Math.max(mostBytes, now.arrayBuffers - arrayBuffers + now.heapUsed - heapUsed);
    }
    expect(engine.traffic.refusals.get('slow_reader')).toBe(deaf.length);
    // A third of what it would be if each had a copy of what may wait for it.
    expect(mostBytes).toBeLessThan((deaf.length * outbox.maxBytes) / 3);

    // Those who come round find whole frames, none missing in between, and then the reason.
    for (const client of deaf.slice(0, 5)) {
      client.socket.resume();
      for (let next = 0; ; next++) {
        const { opcode, payload } = await client.frame();
        if (opcode === opcodes.close) {
          expect(payload.readUInt16BE(0)).toBe(4203);
          expect(next).toBeGreaterThan(0);
          break;
        }
        expect(JSON.parse(payload.toString()).event).toBe(`event-${next}`);
      }
    }
    await engine.stop();
  });
}

function fanOut(transports: readonly Transport[], text: string): void {
  const [first] = transports;
  const { codec, fanout }: { codec: Transport['codec']; fanout?: Fanout } = first ?? fail();
  const frame = codec.frame(Buffer.from(text));
  const frames = transports.map(() => frame);
  (fanout ?? fail()).write(transports, frames, transports.length);
}

function fail(): never {
  throw new Error('Not there');
}
