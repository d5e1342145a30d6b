/** A wall clock that is set back or on while the node runs, which only tokens, signatures and records may notice. */
import { FakeClock, MemoryBroker, MemoryNodeDirectory } from '@starling/adapters/memory';
import { type Broker, channelTopic, type Topic } from '@starling/ports';
import { reportOf } from '@starling/ports/contract';
import { describe, expect, it } from 'vitest';
import { BrokerControlBus, ClusterView, type DebugEntry, DebugTap, DebugWatch, Hub, Traffic } from './index.ts';
import { createWorld, TestPeer } from './world.test-kit.ts';

const hour = 3_600_000;
const steps = [-hour, -120_000, -60_000, -5_000, 5_000, 60_000, hour];
const quietMs = 40_000;

describe.each(steps)('a wall clock set by %i ms', (byMs) => {
  it('[CK1] costs no connection its frames or its client events', async () => {
    const world = createWorld();
    const [peer, other] = [await world.connect(), await world.connect()];
    for (const each of [peer, other]) await world.subscribe(each, 'private-room');
    const word = { event: 'client-word', channel: 'private-room', data: '{}' };
    for (const each of [byMs, -byMs]) {
      peer.say(word);
      world.clock.stepWall(each);
      peer.say(word);
      peer.say({ event: 'pusher:ping', data: {} });
      peer.session.touch();
      await world.settle();
      expect(peer.take().map(({ event }) => event)).toEqual(['pusher:pong']);
      expect(other.take()).toHaveLength(2);
    }
    expect(peer.closedWith).toBeNull();
  });

  it('[CK1] gives no connection more than its rate', async () => {
    const world = createWorld({ settings: { framesPerSecond: 10 } });
    const peer = await world.connect();
    for (let count = 0; peer.closedWith === null && count < 10_000; count++) {
      world.clock.stepWall(byMs);
      peer.say({ event: 'pusher:ping', data: {} });
    }
    expect(peer.closedWith?.code).toBe(4100);
  });

  it('[CK1] [CL6] cuts a reader that stalls after the same time as ever', async () => {
    const world = createWorld({ outbox: { maxStallMs: 30_000 } });
    const peer = await world.connect();
    await world.subscribe(peer, 'room');
    peer.bufferedBytes = 10;
    await world.broker.publish(channelTopic('1001', 'room'), { kind: 'event', payload: Buffer.from('{}') });
    await world.settle();
    world.clock.stepWall(byMs);
    world.clock.advance(29_000);
    expect(peer.closedWith).toBeNull();
    world.clock.advance(2_000);
    expect(peer.closedWith?.code).toBe(4203);
  });

  it('[CK1] [CL2] leaves the times of probes and of their answers as they are', async () => {
    const world = createWorld();
    const peer = await world.connect();
    world.clock.stepWall(byMs);
    world.clock.advance(quietMs - 1_000);
    expect(peer.probes).toBe(0);
    world.clock.advance(2_000);
    expect(peer.probes).toBe(1);
    world.clock.stepWall(byMs);
    world.clock.advance(27_000);
    expect(peer.closedWith).toBeNull();
    world.clock.advance(4_000);
    expect(peer.closedWith?.code).toBe(4201);
  });

  it('[CK1] closes those that stay unauthorised when it always does', async () => {
    const world = createWorld({ app: { admitsAuthorizedOnly: true }, settings: { authorizationTimeoutMs: 20_000 } });
    const peer = await world.connect();
    world.clock.stepWall(byMs);
    world.clock.advance(19_000);
    expect(peer.closedWith).toBeNull();
    world.clock.advance(2_000);
    expect(peer.closedWith?.code).toBe(4009);
  });

  it('[CK1] lets go of a topic a moment after its last subscriber', async () => {
    const left: Topic[] = [];
    const wrapBroker = (broker: MemoryBroker): Broker => ({
      publish: (...args) => broker.publish(...args),
      retained: (topic) => broker.retained(topic),
      subscribe: (topic) => broker.subscribe(topic),
      unsubscribe: async (topic) => void left.push(topic),
      listen: (deliver) => broker.listen(deliver),
      onGap: () => broker.onGap(),
    });
    const world = createWorld({ wrapBroker });
    const peer = await world.connect();
    await world.subscribe(peer, 'room');
    peer.say({ event: 'pusher:unsubscribe', data: { channel: 'room' } });
    await world.settle();
    world.clock.stepWall(byMs);
    world.clock.advance(900);
    await world.settle();
    expect(left).toEqual([]);
    world.clock.advance(1_200);
    await world.settle();
    expect(left).toEqual([channelTopic('1001', 'room')]);
  });

  it('[CK1] leaves what was read of the other nodes as fresh as it is', async () => {
    const clock = new FakeClock();
    const directory = new MemoryNodeDirectory(clock);
    await directory.report(
      reportOf('other', { apps: [{ appId: '1', connections: 3, subscriptions: 0, minutes: [] }] }),
    );
    const about = { nodeId: 'me', host: 'h', parts: ['edge'], version: '1', startedAt: 5, memoryBytes: () => 77 };
    const observer = { notes: false, note: () => {}, problem: () => {}, defect: () => {} };
    const clusterView = new ClusterView({ directory, traffic: new Traffic(), clock, observer, about });
    const stop = clusterView.start();
    // Its first look at the directory takes a few promises.
    await new Promise<void>((resolve) => setImmediate(resolve));
    clock.stepWall(byMs);
    expect(clusterView.connectionsElsewhere('1')).toBe(3);
    await stop();
  });

  it('[CK1] [CK2] goes on telling those who watch an app, by the new time', async () => {
    const clock = new FakeClock();
    const tap = new DebugTap(
      { notes: false, note: () => {}, problem: () => {}, defect: () => {} },
      { clock, nodeId: 'n' },
    );
    const broker = new MemoryBroker(clock);
    const hub = new Hub({ broker, clock, observer: tap, nodeId: 'n' });
    hub.start();
    const controlBus = new BrokerControlBus({ broker, hub, observer: tap });
    await controlBus.start();
    tap.start({ broker, controlBus });
    const entries: DebugEntry[] = [];
    await new DebugWatch({ hub, controlBus, clock, observer: tap }).watch('1', (entry) => entries.push(entry));
    clock.stepWall(byMs);
    tap.note('subscribed', { app: '1' });
    expect(entries.map(({ at }) => at)).toEqual([clock.now()]);
  });
});

describe('a token and a wall clock', () => {
  it('[CK2] [TK11] that is set on: it is over by the new time, at the latest when its connection is looked at next', async () => {
    const world = createWorld();
    const peer = await world.connectWith({});
    world.clock.stepWall(2 * hour);
    world.clock.advance(quietMs + 1_000);
    expect(peer.closedWith?.code).toBe(4110);
    const late = await world.connect({}, new TestPeer(), world.mint({ exp: world.clock.now() / 1_000 - 1 }));
    expect(late.closedWith?.code).toBe(4110);
  });

  it('[CK2] [TK11] that is set back: it lives until the new time is its end', async () => {
    const world = createWorld();
    const peer = await world.connectWith({});
    const alive = (ms: number) => {
      for (let passed = 0; passed < ms; passed += 20_000) {
        world.clock.advance(20_000);
        peer.session.touch();
      }
      return peer.closedWith === null;
    };
    world.clock.stepWall(-hour);
    expect(alive(hour + 60_000)).toBe(true);
    expect(alive(hour)).toBe(false);
    expect(peer.closedWith?.code).toBe(4110);
  });
});
