/** The transport under the real engine: several peers of one app, one of whom misbehaves. */
import { tokenOf } from '@starling/ports/contract';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Engine, event, startEngine } from '../engine.test-kit.ts';
import { clientFrame, closePayload, opcodes } from './raw-client.test-kit.ts';

let engine: Engine;

beforeEach(async () => {
  engine = await startEngine();
});
afterEach(() => engine.stop());

describe('the answer to the handshake', () => {
  it('leaves in one write with the connect request', async () => {
    const client = await engine.open();
    expect(await event(client)).toBe('pusher:connection_established');
    expect(engine.writes).toEqual([1]);
    client.send(clientFrame('{"event":"pusher:ping"}'));
    expect(await event(client)).toBe('pusher:pong');
    expect(engine.writes).toEqual([2]);
  });

  it('leaves in one write with a refusal', async () => {
    const client = await engine.open('/app/no-such-key');
    expect(await event(client)).toBe('pusher:error');
    await client.close();
    // The close goes alone.
    expect(engine.writes).toEqual([2]);
  });

  it('does not wait for an app that has to be asked for elsewhere', async () => {
    let answer = () => {};
    const slow = await startEngine({
      beforeApp: () =>
        new Promise((resolve) => {
          answer = resolve;
        }),
    });
    const client = await slow.open();
    expect(slow.writes).toEqual([1]);
    answer();
    expect(await event(client)).toBe('pusher:connection_established');
    expect(slow.writes).toEqual([2]);
    await slow.stop();
  });

  it('[WS5] does not hold up the pong for a ping that came with the handshake', async () => {
    const client = await engine.connect();
    const hello = client.shakeHands('/app/key');
    client.send(clientFrame('early', { opcode: opcodes.ping }));
    await hello;
    expect(await client.pong()).toBe('early');
    expect(await event(client)).toBe('pusher:connection_established');
  });
});

describe('under the engine', () => {
  it('[HS4] refuses by completing the upgrade, saying why, and closing with the same code', async () => {
    const client = await engine.open('/app/no-such-key');
    const error = JSON.parse(await client.text());
    expect(error).toMatchObject({ event: 'pusher:error', data: { code: 4001 } });
    expect(await client.close()).toEqual({ code: 4001, reason: error.data.message });
  });

  it('[TK7] takes a token from the address', async () => {
    const iat = Math.floor(Date.now() / 1_000);
    const claims = { sub: 'ü/+', cap: {}, iat, exp: iat + 60 };
    const good = tokenOf({ alg: 'HS256', kid: 'key' }, claims, 'secret');
    const client = await engine.open(`/app/key?protocol=7&token=${good}`);
    expect(await event(client)).toBe('pusher:connection_established');
    const { event: name, data } = JSON.parse(await client.text());
    expect([name, JSON.parse(data).user_id]).toEqual(['starling:auth_success', 'ü/+']);
    for (const query of ['token=', `token=${good}x`, `token=x&token=${good}`]) {
      const refused = await engine.open(`/app/key?${query}`);
      expect(JSON.parse(await refused.text())).toMatchObject({ event: 'pusher:error', data: { code: 4010 } });
      expect((await refused.close()).code).toBe(4010);
    }
  });

  it('[HS7] answers a command that came with the handshake', async () => {
    const client = await engine.connect();
    const hello = client.shakeHands('/app/key');
    client.send(clientFrame('{"event":"pusher:ping"}'));
    await hello;
    expect(await event(client)).toBe('pusher:connection_established');
    expect(await event(client)).toBe('pusher:pong');
  });

  it('delivers the events of one turn to every subscriber, in order and whole', async () => {
    const all = await Promise.all([engine.subscribed(), engine.subscribed(), engine.subscribed()]);
    const sizes = [0, 10, 200, 9_000, 70_000];
    await Promise.all(sizes.map((size) => engine.publish(`event-${size}`, 'x'.repeat(size))));
    for (const client of all) {
      for (const size of sizes) {
        const frame = JSON.parse(await client.text());
        expect([frame.event, frame.data.length]).toEqual([`event-${size}`, size]);
      }
    }
  });

  it.each<[string, Buffer]>([
    ['garbage', Buffer.alloc(1_000, 0xa5)],
    ['an unmasked frame', clientFrame('{}', { isMasked: false })],
    ['a frame over the limit', clientFrame('x'.repeat(200_000))],
    ['a binary message', clientFrame('{}', { opcode: opcodes.binary })],
    ['bad UTF-8', clientFrame(Buffer.from([0xff]))],
    ['a thousand pings', Buffer.concat(Array.from({ length: 1_000 }, () => clientFrame('', { opcode: opcodes.ping })))],
    [
      'deeply nested JSON',
      clientFrame(`{"event":"client-x","channel":"c","data":${'['.repeat(60_000)}${']'.repeat(60_000)}}`),
    ],
    [
      'ten thousand commands',
      Buffer.concat(Array.from({ length: 10_000 }, () => clientFrame('{"event":"pusher:ping"}'))),
    ],
    ['a close with a code that does not exist', clientFrame(closePayload(1006), { opcode: opcodes.close })],
  ])('[WS9] %s from one subscriber keeps nothing from the others', async (_what, bytes) => {
    const good = await engine.subscribed();
    const bad = await engine.subscribed();
    bad.send(bytes);
    await engine.publish('first');
    expect(await event(good)).toBe('first');
    bad.destroy();
    const next = await engine.subscribed();
    await engine.publish('second');
    expect(await event(good)).toBe('second');
    expect(await event(next)).toBe('second');
  });

  it('[CL6] a subscriber that does not read is cut, and the others miss nothing', async () => {
    const good = await engine.subscribed();
    const deaf = await engine.subscribed();
    deaf.socket.pause();
    let sent = 0;
    while (engine.sessions.size === 2) {
      await engine.publish(`event-${sent++}`, 'x'.repeat(60_000));
      expect(await event(good)).toBe(`event-${sent - 1}`);
    }
    await engine.publish('after');
    expect(await event(good)).toBe('after');
  });

  it('[CL7] a peer that vanishes in the middle of a command leaves nothing behind', async () => {
    const client = await engine.subscribed();
    client.send(clientFrame('{"event":"pusher:subscribe","data":{"channel":"other"}}'));
    client.socket.resetAndDestroy();
    const other = await engine.subscribed();
    while (engine.sessions.size > 1) {
      other.send(clientFrame('{"event":"pusher:ping"}'));
      await other.text();
    }
  });
});
