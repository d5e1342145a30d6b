import type { MemoryBroker } from '@starling/adapters/memory';
import { channelTopic, defaultAppLimits, type Fanout, type Transport } from '@starling/ports';
import { pusherDialect } from '@starling/protocol';
import { describe, expect, it } from 'vitest';
import { createWorld, lineCodec, TestPeer, testApp } from './world.test-kit.ts';

describe('the handshake', () => {
  it('[HS1] greets first, unprompted, with a socket id and whole seconds', async () => {
    const { open, settle } = createWorld({ settings: { activityTimeoutSeconds: 77 } });
    const peer = open();
    await settle();
    expect(peer.raw).toHaveLength(1);
    const frame = JSON.parse(peer.raw[0]!);
    expect(frame.event).toBe('pusher:connection_established');
    expect(typeof frame.data).toBe('string');
    const data = JSON.parse(frame.data);
    expect(data).toEqual({ socket_id: expect.stringMatching(/^\d+\.\d+$/), activity_timeout: 77 });
  });

  it('[HS2] gives every session another socket id', async () => {
    const { connect } = createWorld();
    const ids = new Set<string>();
    for (let count = 0; count < 200; count++) ids.add((await connect()).session.socketId);
    expect(ids.size).toBe(200);
  });

  it.each(['4', '5', '6', '7', undefined])('[HS3] speaks protocol %s', async (protocol) => {
    const { open, settle } = createWorld();
    const peer = open({ protocol });
    await settle();
    expect(peer.received[0]?.event).toBe('pusher:connection_established');
  });

  it.each(['3', '8', '0', '-7', '7.0', 'x', '', ' 7'])('[HS3] closes 4007 on protocol "%s"', async (protocol) => {
    const { open, settle } = createWorld();
    const peer = open({ protocol });
    await settle();
    expect(peer.closedWith?.code).toBe(4007);
    expect(peer.closedWith?.reason).toContain('4 to 7');
  });

  it('[HS4] [CL4] sends the error frame with a numeric code, then closes with the same code and reason', async () => {
    const { open, settle } = createWorld();
    const peer = open({ key: 'nobody' });
    await settle();
    expect(peer.received).toEqual([
      { event: 'pusher:error', data: { code: 4001, message: expect.stringContaining('nobody') } },
    ]);
    const { message } = peer.received[0]!.data as { message: string };
    expect(peer.closedWith).toEqual({ code: 4001, reason: message });
  });

  it('[HS5] refuses an unknown key, a disabled app, a disabled key and a full app, each by its code', async () => {
    const refused = async (options: Parameters<typeof createWorld>[0], key = 'app-key') => {
      const world = createWorld(options);
      const peer = world.open({ key });
      await world.settle();
      return peer.closedWith?.code;
    };
    expect(await refused({}, 'other')).toBe(4001);
    expect(await refused({ app: { isEnabled: false } })).toBe(4003);
    expect(await refused({}, 'old-key')).toBe(4003);
    expect(await refused({ app: { limits: { ...defaultAppLimits, connections: 0 } } })).toBe(4004);
    expect(await refused({}, 'next-key')).toBeUndefined();
  });

  it('[HS5] a full app is full over all nodes, as far as this one knows', async () => {
    let elsewhere = 2;
    const app = { limits: { ...defaultAppLimits, connections: 3 } };
    const world = createWorld({ app, connectionsElsewhere: (appId) => (appId === '1001' ? elsewhere : 100) });
    expect((await world.connect()).closedWith).toBeNull();
    expect((await world.connect()).closedWith?.code).toBe(4004);
    elsewhere = 1;
    expect((await world.connect()).closedWith).toBeNull();
  });

  it('[LI5] says in the text which limit refused a connection, and fits the close frame', async () => {
    const told = async (limits: object) => {
      const world = createWorld({ app: { limits: { ...defaultAppLimits, connections: 999_999_999, ...limits } } });
      if (Object.keys(limits).length === 0) return (await flooded(world)).closedWith?.reason ?? '';
      return (await world.connect()).closedWith?.reason ?? '';
    };
    const flooded = async (world: ReturnType<typeof createWorld>) => {
      const peer = await world.connect();
      for (let count = 0; count < 5_000 && peer.closedWith === null; count++) peer.say('{"event":"pusher:ping"}');
      return peer;
    };
    const texts = [await told({ connections: 0 }), await told({ connectionsPerAddress: 0 }), await told({})];
    expect(texts).toEqual([
      'The app is over its connection limit: the limit is 0 connections, waiting does not help',
      'Too many connections from this address: the limit is 0 connections, waiting does not help',
      'Too many frames from this connection: the limit is 210 frames per second, 0 left, try again in 1 s',
    ]);
    const longest = `${texts[1]}${'0'.repeat(8)}, 999999999 left`;
    expect(Buffer.byteLength(longest)).toBeLessThanOrEqual(123);
  });

  it('[HS5] counts a connection only while it is open', async () => {
    const world = createWorld({ app: { limits: { ...defaultAppLimits, connections: 1 } } });
    const first = await world.connect();
    expect((await world.connect()).closedWith?.code).toBe(4004);
    first.session.ended();
    expect((await world.connect()).closedWith).toBeNull();
    expect(world.traffic.of('1001').connections).toBe(1);
  });

  it.each([
    [['https://example.com'], 'https://example.com', true],
    [['https://example.com'], 'http://example.com', false],
    [['https://example.com'], 'https://example.com:8443', false],
    [['https://example.com:8443'], 'https://example.com', false],
    [['https://example.com:8443'], 'https://example.com:8443', true],
    [['https://example.com:443'], 'https://example.com', true],
    [['capacitor://localhost'], 'capacitor://localhost', true],
    [['example.com'], 'http://EXAMPLE.com', true],
    [['example.com'], 'https://evil-example.com', false],
    [['*.example.com'], 'https://a.b.example.com', true],
    [['*.example.com'], 'https://example.com', false],
    [['https://*.example.com'], 'http://a.example.com', false],
    [['https://*.example.com'], 'https://a.example.com', true],
    [['https://*.example.com'], 'https://a.example.com.evil.net', false],
    [['a.net', 'b.net'], 'https://b.net', true],
    [['a.net'], 'null', false],
    [['a.net'], undefined, true],
    [[], 'https://any.where', true],
  ])('[HS6] with %j allowed, the origin %s passes: %s', async (allowedOrigins, origin, passes) => {
    const world = createWorld({ app: { allowedOrigins } });
    const peer = world.open({ origin });
    await world.settle();
    expect(peer.closedWith?.code).toBe(passes ? undefined : 4009);
  });

  it('[HS7] holds commands that come before the handshake and answers them after it, in order', async () => {
    const { open, settle } = createWorld();
    const peer = open();
    peer.say({ event: 'pusher:ping' });
    peer.say({ event: 'pusher:subscribe', data: { channel: 'room' } });
    expect(peer.raw).toEqual([]);
    await settle();
    expect(peer.received.map((frame) => frame.event)).toEqual([
      'pusher:connection_established',
      'pusher:pong',
      'pusher_internal:subscription_succeeded',
    ]);
  });

  it('[HS7] holds a bounded number of them', async () => {
    const { open, settle } = createWorld();
    const peer = open();
    for (let count = 0; count < 17; count++) peer.say({ event: 'pusher:ping' });
    await settle();
    expect(peer.closedWith?.code).toBe(4100);
    expect(peer.received.map((frame) => frame.event)).toEqual(['pusher:error']);
  });

  it('[HS8] refuses one address more connections than its share, and no other address', async () => {
    const world = createWorld({ app: { limits: { ...defaultAppLimits, connectionsPerAddress: 2 } } });
    const first = await world.connect();
    await world.connect();
    expect((await world.connect()).closedWith?.code).toBe(4004);
    expect((await world.connect({ address: '192.0.2.2' })).closedWith).toBeNull();
    first.session.ended();
    expect((await world.connect()).closedWith).toBeNull();
  });

  it('[HS9] closes 4000 on a plain connection where the app demands TLS', async () => {
    const world = createWorld({ app: { requiresTls: true } });
    expect((await world.connect()).closedWith?.code).toBe(4000);
    expect((await world.connect({ isTls: true })).closedWith).toBeNull();
  });

  it('[HS4] tells the client to back off when the app cannot be looked up', async () => {
    const world = createWorld();
    world.appStore.byKey = () => Promise.reject(new Error('the database is away'));
    const peer = world.open();
    await world.settle();
    expect(peer.closedWith?.code).toBe(4100);
    expect(world.problems).toHaveLength(1);
  });
});

describe('frames', () => {
  it.each(['', 'x', '[]', 'null', '"a"', '1', '{}', '{"event":1}', '{"event":null}'])(
    '[FR1] answers %j with a non-fatal error and stays open',
    async (text) => {
      const { connect, settle } = createWorld();
      const peer = await connect();
      peer.say(text);
      await settle();
      expect(peer.take()).toEqual([{ event: 'pusher:error', data: { code: null, message: expect.any(String) } }]);
      expect(peer.closedWith).toBeNull();
      peer.say({ event: 'pusher:ping' });
      await settle();
      expect(peer.take()).toEqual([{ event: 'pusher:pong', data: {} }]);
    },
  );

  it.each([{}, '{}', [], '', null, undefined])('[FR4] answers a ping whose data is %j', async (data) => {
    const { connect, settle } = createWorld();
    const peer = await connect();
    peer.say({ event: 'pusher:ping', data });
    await settle();
    expect(peer.take()).toEqual([{ event: 'pusher:pong', data: {} }]);
  });

  it.each(['pusher:anything', 'pusher_internal:member_added', 'message', 'Client-x'])(
    '[FR5] refuses the event %s and relays it to nobody',
    async (event) => {
      const { connect, settle, subscribe } = createWorld();
      const [peer, other] = [await connect(), await connect()];
      await subscribe(peer, 'private-room');
      await subscribe(other, 'private-room');
      peer.say({ event, channel: 'private-room', data: {} });
      await settle();
      expect(peer.take()).toEqual([
        { event: 'pusher:error', data: { code: null, message: expect.stringContaining(event) } },
      ]);
      expect(other.take()).toEqual([]);
    },
  );
});

describe('liveness', () => {
  const quietMs = 40_000;

  it('[CL2] probes a quiet peer natively and by frame, and closes 4201 only when the probe stays unanswered', async () => {
    const { clock, connect, settle } = createWorld();
    const peer = await connect();
    clock.advance(quietMs - 1_000);
    expect(peer.probes).toBe(0);
    clock.advance(2_000);
    await settle();
    expect(peer.probes).toBe(1);
    expect(peer.take()).toEqual([{ event: 'pusher:ping', data: {} }]);
    clock.advance(28_000);
    expect(peer.closedWith).toBeNull();
    clock.advance(4_000);
    expect(peer.closedWith).toEqual({ code: 4201, reason: expect.any(String) });
  });

  it('[CL2] sends no ping frame to protocol 4, which does not know it', async () => {
    const { clock, connect, settle } = createWorld();
    const peer = await connect({ protocol: '4' });
    clock.advance(quietMs + 1_000);
    await settle();
    expect(peer.probes).toBe(1);
    expect(peer.take()).toEqual([]);
  });

  it('[CL1] takes any frame and any touch as life', async () => {
    const { clock, connect } = createWorld();
    const peer = await connect();
    for (let step = 0; step < 30; step++) {
      clock.advance(quietMs / 2);
      if (step % 2 === 0) peer.session.touch();
      else peer.say('garbage is a sign of life too');
    }
    expect(peer.probes).toBe(0);
    clock.advance(quietMs + 1_000);
    expect(peer.probes).toBe(1);
    peer.session.touch();
    clock.advance(quietMs / 2);
    expect(peer.closedWith).toBeNull();
    clock.advance(quietMs);
    expect(peer.probes).toBe(2);
  });

  it('[CL3] probes a peer that only receives, and does not close it while it answers', async () => {
    const { broker, clock, connect, settle, subscribe } = createWorld();
    const peer = await connect();
    await subscribe(peer, 'room');
    let answered = 0;
    for (let step = 0; step < 40; step++) {
      clock.advance(20_000);
      const payload = Buffer.from('{"event":"e","channel":"room","data":"1"}');
      await broker.publish(channelTopic('1001', 'room'), { kind: 'event', payload });
      await settle();
      if (peer.probes > answered) peer.session.touch();
      answered = peer.probes;
    }
    expect(peer.probes).toBeGreaterThan(2);
    expect(peer.closedWith).toBeNull();
  });

  it('[CL8] closes 4100 on a flood of frames, and not on joining every channel at once', async () => {
    const { clock, connect, settle } = createWorld();
    const peer = await connect();
    for (let index = 0; index < 1_000; index++) {
      peer.say({ event: 'pusher:subscribe', data: { channel: `room-${index}` } });
    }
    await settle();
    expect(peer.closedWith).toBeNull();
    expect(peer.take().filter((frame) => frame.event.endsWith('succeeded'))).toHaveLength(1_000);
    for (let count = 0; count < 5_000 && peer.closedWith === null; count++) peer.say('{"event":"pusher:ping"}');
    expect(peer.closedWith).toMatchObject({ code: 4100 });
    expect(clock.timerCount).toBeGreaterThan(0);
  });

  it('[CL11] counts a frame as one more for each KiB beyond what an event needs, and a native ping as one', async () => {
    const flood = async (send: (peer: TestPeer) => void): Promise<number> => {
      const { connect } = createWorld();
      const peer = await connect();
      let sent = 0;
      for (; peer.closedWith === null && sent < 10_000; sent++) send(peer);
      expect(peer.closedWith?.code).toBe(4100);
      return sent;
    };
    const small = await flood((peer) => peer.session.receive('{"event":"pusher:ping"}'));
    const ordinary = await flood((peer) =>
      peer.session.receive(`{"event":"pusher:ping","data":"${'x'.repeat(20_000)}"}`),
    );
    const large = await flood((peer) => peer.session.receive(`{"event":"pusher:ping","data":"${'x'.repeat(64_000)}"}`));
    const pings = await flood((peer) => peer.session.touch());
    const compressed = await flood((peer) => peer.session.receive('{"event":"pusher:ping"}', 64_000));
    expect([ordinary, pings]).toEqual([small, small]);
    // 64,000 bytes are 24,576 and then 39 KiB.
    expect(Math.abs(large - small / 40)).toBeLessThan(2);
    expect(compressed).toBe(large);
  });

  it('[CL11] counts the pings of a connection whose app is still being looked up', () => {
    const { open } = createWorld();
    const peer = open();
    for (let sent = 0; peer.closedWith === null && sent < 10_000; sent++) peer.session.touch();
    expect(peer.closedWith?.code).toBe(4100);
  });

  it('[CL12] takes as large a message as an event of the app needs, and less before the handshake', async () => {
    const world = createWorld({ app: { limits: { ...defaultAppLimits, eventDataBytes: 20_000 } } });
    const peer = world.open();
    expect(peer.session.messageBytes).toBe(16_384);
    await world.settle();
    expect(peer.session.messageBytes).toBe(65_536);
    const publisher = await world.connectWith({ cap: { '*': ['publish'] } });
    expect(publisher.session.messageBytes).toBe(124_096);
  });

  it('[WS13] says when all that was asked of it is answered', async () => {
    const { connect } = createWorld();
    const peer = await connect();
    peer.session.receive('{"event":"pusher:ping"}');
    expect(peer.session.answered()).toBeNull();
    expect(peer.take().map(({ event }) => event)).toEqual(['pusher:pong']);
    peer.say({ event: 'pusher:subscribe', data: { channel: 'room' } });
    await peer.session.answered();
    expect(peer.take().map(({ event }) => event)).toEqual(['pusher_internal:subscription_succeeded']);
    expect(peer.session.answered()).toBeNull();
  });

  it.each([
    { count: 100, overMs: 10_000, tookMs: 500, why: '200 a second' },
    { count: 100, overMs: 100, tookMs: 100, why: 'as fast as the drain time asks for' },
    { count: 100, overMs: 0, tookMs: 0, why: 'at once without a drain time' },
  ])('[CL5] tells every session to reconnect where another node takes it: $why', async ({ count, overMs, tookMs }) => {
    const { clock, connect, open, sessions, settle } = createWorld();
    const peers = await Promise.all(Array.from({ length: count }, () => connect()));
    const closed = (): number => peers.filter((peer) => peer.closedWith?.code === 4200).length;
    const drained = sessions.drain({ hasSuccessor: true, overMs });
    for (let atMs = 0; atMs < tookMs; atMs += 50) {
      await settle();
      expect(closed()).toBe((count * (atMs + 50)) / tookMs);
      expect(open().closedWith?.code).toBe(4200);
      clock.advance(50);
    }
    await drained;
    expect(closed()).toBe(count);
    expect(sessions.size).toBe(0);
  });

  it('[CL5] tells every session at once to come back in a second where no other node takes it', async () => {
    const { connect, open, sessions } = createWorld();
    const peers = await Promise.all(Array.from({ length: 100 }, () => connect()));
    await sessions.drain({ hasSuccessor: false, overMs: 10_000 });
    expect(peers.map((peer) => peer.closedWith?.code)).toEqual(peers.map(() => 4100));
    expect(open().closedWith?.code).toBe(4100);
  });
});

describe('the outbox', () => {
  const payload = Buffer.from(JSON.stringify({ event: 'e', channel: 'room', data: 'x'.repeat(1_000) }));
  const topic = channelTopic('1001', 'room');
  const publish = (broker: MemoryBroker) => broker.publish(topic, { kind: 'event', payload });

  function recordingFanout() {
    const calls: Array<{ transports: Transport[]; frames: Uint8Array[] }> = [];
    const fanout: Fanout = {
      write: (transports, frames, count) => {
        calls.push({ transports: transports.slice(0, count), frames: frames.slice(0, count) });
        for (let i = 0; i < count; i++) transports[i]!.write(frames[i]!);
      },
    };
    return { calls, fanout };
  }

  it('[SU9] writes the frames of one turn in one piece, the same bytes for all who get the same', async () => {
    const { broker, connect, settle, subscribe } = createWorld();
    const peers = [await connect(), await connect(), await connect()];
    for (const peer of peers) await subscribe(peer, 'room');
    for (const peer of peers) peer.writes.length = 0;
    await publish(broker);
    await broker.publish(topic, { kind: 'event', payload: Buffer.from('{"n":2}'), except: peers[2]!.session.socketId });
    await settle();
    expect(peers.map((peer) => peer.writes.length)).toEqual([1, 1, 1]);
    expect(peers[0]!.writes[0]).toBe(peers[1]!.writes[0]);
    expect(peers[0]!.raw).toEqual([payload.toString(), '{"n":2}']);
    expect(peers[2]!.raw).toEqual([payload.toString()]);
  });

  it('frames a message once for each codec, whatever the order of its subscribers', async () => {
    const framed: string[] = [];
    const codecOf = (name: string) => ({
      name,
      dialect: pusherDialect,
      frame: (bytes: Uint8Array) => {
        framed.push(name);
        return lineCodec.frame(bytes);
      },
    });
    const { broker, connect, settle, subscribe } = createWorld();
    const [a, b] = [codecOf('a'), codecOf('b')];
    const peers = [];
    for (const codec of [a, b, a, b, a]) {
      const peer = await connect({}, new TestPeer(codec));
      await subscribe(peer, 'room');
      peers.push(peer);
    }
    framed.length = 0;
    await publish(broker);
    await settle();
    expect(framed.sort()).toEqual(['a', 'b']);
    for (const peer of peers) expect(peer.raw).toEqual([payload.toString()]);
  });

  it('hands what one turn writes to a kind of transport over in one call, equal bytes side by side', async () => {
    const { broker, connect, settle, subscribe } = createWorld();
    const { calls, fanout } = recordingFanout();
    const kinds = [fanout, undefined, fanout, fanout, fanout];
    const peers = [];
    for (const kind of kinds) peers.push(await connect({}, new TestPeer(lineCodec, kind)));
    for (const peer of peers) await subscribe(peer, 'room');
    await subscribe(peers[4]!, 'other');
    calls.length = 0;
    for (const peer of peers) peer.writes.length = 0;
    peers[2]!.bufferedBytes = 1;
    await publish(broker);
    await broker.publish(channelTopic('1001', 'other'), { kind: 'event', payload: Buffer.from('{"n":2}') });
    await settle();
    expect(calls.map(({ transports }) => transports)).toEqual([[peers[0], peers[3], peers[4]]]);
    expect(calls[0]!.frames[0]).toBe(calls[0]!.frames[1]);
    expect(peers.map((peer) => peer.writes.length)).toEqual([1, 1, 0, 1, 1]);
    expect(peers[4]!.raw).toEqual([payload.toString(), '{"n":2}']);
    peers[2]!.bufferedBytes = 0;
    peers[2]!.session.drained();
    expect(peers[2]!.raw).toEqual([payload.toString()]);
  });

  it('shares the bytes of a turn among those of one codec, however the codecs are mixed, and keeps them side by side', async () => {
    const { broker, connect, settle, subscribe } = createWorld();
    const { calls, fanout } = recordingFanout();
    const other = { ...lineCodec, name: 'other' };
    const peers: TestPeer[] = [];
    for (const codec of [lineCodec, other, lineCodec, other, lineCodec]) {
      const peer = await connect({}, new TestPeer(codec, fanout));
      await subscribe(peer, 'room');
      peers.push(peer);
    }
    calls.length = 0;
    await publish(broker);
    await broker.publish(topic, { kind: 'event', payload: Buffer.from('{"n":2}') });
    await settle();
    expect(calls.map(({ transports }) => transports)).toEqual([[0, 2, 4, 1, 3].map((index) => peers[index])]);
    expect(new Set(calls[0]!.frames).size).toBe(2);
    for (const peer of peers) expect(peer.raw).toEqual([payload.toString(), '{"n":2}']);
  });

  it('hands over what a turn writes to thousands in calls of a bounded length, and holds on to none of them', async () => {
    const { broker, open, settle } = createWorld({ app: { limits: { ...testApp.limits, connections: 5_000 } } });
    const given: Array<readonly Transport[]> = [];
    const counts: number[] = [];
    const fanout: Fanout = {
      write: (transports, frames, count) => {
        given.push(transports);
        counts.push(count);
        for (let i = 0; i < count; i++) transports[i]!.write(frames[i]!);
      },
    };
    const peers = Array.from({ length: 3_000 }, (_, index) =>
      open({ address: `192.0.2.${index % 200}` }, new TestPeer(lineCodec, fanout)),
    );
    await settle();
    for (const peer of peers) peer.say({ event: 'pusher:subscribe', data: { channel: 'room' } });
    await settle();
    for (let round = 0; round < 2; round++) {
      for (const peer of peers) peer.raw.length = 0;
      counts.length = 0;
      await publish(broker);
      await settle();
      expect(peers.every(({ raw }) => raw.length === 1 && raw[0] === payload.toString())).toBe(true);
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(peers.length);
      expect(Math.max(...counts)).toBeLessThanOrEqual(1_024);
      expect(given.flat().filter((transport) => transport !== null)).toEqual([]);
    }
  });

  it('writes what is due to all before the end of one that is too slow ends others', async () => {
    const world = createWorld({ outbox: { maxBytes: 20_000, maxStallMs: 30_000 } });
    const { broker, connect, settle, subscribe } = world;
    const { fanout } = recordingFanout();
    const [stuck, other] = [new TestPeer(lineCodec, fanout), new TestPeer(lineCodec, fanout)];
    for (const peer of [other, stuck]) {
      await connect({}, peer);
      await subscribe(peer, 'room');
    }
    stuck.close = (code, reason) => {
      stuck.closedWith = { code, reason };
      other.session.refuse('terminated');
    };
    stuck.bufferedBytes = 19_500;
    await publish(broker);
    await settle();
    expect(stuck.closedWith?.code).toBe(4203);
    expect(other.raw[0]).toBe(payload.toString());
    expect(JSON.parse(other.raw[1]!)).toMatchObject({ event: 'pusher:error' });
  });

  it('[CL6] closes 4203 a peer that does not read once its bytes pass the limit, and others go on', async () => {
    const world = createWorld({ outbox: { maxBytes: 20_000, maxStallMs: 30_000 } });
    const { broker, connect, settle, subscribe } = world;
    const [stuck, reader] = [await connect(), await connect()];
    await subscribe(stuck, 'room');
    await subscribe(reader, 'room');
    stuck.bufferedBytes = 1_000;
    for (let count = 0; count < 30; count++) {
      await publish(broker);
      await settle();
    }
    expect(stuck.closedWith?.code).toBe(4203);
    expect(stuck.take()).toEqual([]);
    expect(reader.closedWith).toBeNull();
    expect(reader.take()).toHaveLength(30);
    expect(world.traffic.of('1001').refusals.get('slow_reader')).toBe(1);
  });

  it('[CL6] closes 4203 a peer whose buffer has not emptied for too long, though little waits', async () => {
    const { broker, clock, connect, settle, subscribe } = createWorld({
      outbox: { maxBytes: 1e6, maxStallMs: 30_000 },
    });
    const peer = await connect();
    await subscribe(peer, 'room');
    const write = peer.write.bind(peer);
    peer.write = (frames) => {
      write(frames);
      peer.bufferedBytes = frames.byteLength;
    };
    await publish(broker);
    await settle();
    clock.advance(29_000);
    expect(peer.closedWith).toBeNull();
    clock.advance(3_000);
    expect(peer.closedWith?.code).toBe(4203);
  });

  it('keeps what waits in order and sends it when the peer reads again', async () => {
    const { broker, clock, connect, settle, subscribe } = createWorld();
    const peer = await connect();
    await subscribe(peer, 'room');
    peer.bufferedBytes = 10;
    for (let index = 0; index < 5; index++) {
      await broker.publish(topic, { kind: 'event', payload: Buffer.from(`{m${index}}`) });
      await settle();
    }
    expect(peer.raw).toEqual([]);
    peer.bufferedBytes = 0;
    peer.session.drained();
    expect(peer.raw).toEqual(['{m0}', '{m1}', '{m2}', '{m3}', '{m4}']);
    clock.advance(60_000);
    expect(peer.closedWith).toBeNull();
  });
});

describe('changes of the app', () => {
  it('are in force on open connections: new settings, a disabled key, a disabled app, a deletion', async () => {
    const world = createWorld();
    const [first, second, third] = [
      await world.connect(),
      await world.connect({ key: 'next-key' }),
      await world.connect(),
    ];
    world.appStore.put({ ...testApp, hasClientEvents: false });
    await world.subscribe(first, 'private-room');
    first.say({ event: 'client-x', channel: 'private-room', data: {} });
    await world.settle();
    expect(first.take()[0]?.data).toMatchObject({ message: expect.stringContaining('not enabled') });
    world.appStore.put({ ...testApp, keys: testApp.keys.map((key) => ({ ...key, isEnabled: key.key === 'app-key' })) });
    expect(second.closedWith?.code).toBe(4003);
    expect(first.closedWith).toBeNull();
    third.session.ended();
    world.appStore.remove(testApp.id);
    expect(first.closedWith?.code).toBe(4001);
    expect(third.closedWith).toBeNull();
  });
});
