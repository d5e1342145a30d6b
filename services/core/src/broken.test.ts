/** What throws where nothing may: it costs one connection, message or run, and nobody else anything. */
import { FakeClock } from '@starling/adapters/memory';
import { channelTopic, later, userTopic } from '@starling/ports';
import { pusherDialect } from '@starling/protocol';
import { expect, it } from 'vitest';
import { TimingWheel } from './timing-wheel.ts';
import { createWorld, lineCodec, TestPeer, type World } from './world.test-kit.ts';

const topic = channelTopic('1001', 'room');
const payload = Buffer.from('{"event":"e"}');

async function peersIn(world: World, count: number, make = () => new TestPeer()): Promise<TestPeer[]> {
  const peers: TestPeer[] = [];
  for (let index = 0; index < count; index++) {
    const peer = await world.connect({}, make());
    await world.subscribe(peer, 'room');
    peers.push(peer);
  }
  return peers;
}

const defects = (world: World) => world.problems.filter(({ what }) => what.startsWith('defect')).length;

it.each(['first', 'middle', 'last'])(
  '[OP14] a message reaches all the others when delivering it to the %s subscriber throws, and that one is ended',
  async (which) => {
    const world = createWorld();
    const peers = await peersIn(world, 5);
    const index = { first: 0, middle: 2, last: 4 }[which] ?? 0;
    const broken = peers[index];
    if (broken === undefined) throw new Error('no peer');
    broken.session.outbox.push = () => {
      throw new Error('pushed');
    };
    await world.broker.publish(topic, { kind: 'event', payload });
    await world.settle();
    for (const peer of peers) if (peer !== broken) expect(peer.take()).toEqual([{ event: 'e' }]);
    expect(broken.closedWith?.code).toBe(4200);
    expect(defects(world)).toBeGreaterThan(0);
    expect(world.traffic.of('1001')).toMatchObject({ connections: 4, subscriptions: 4 });
    await world.broker.publish(topic, { kind: 'event', payload });
    await world.settle();
    expect(peers.filter((peer) => peer.take().length === 1)).toHaveLength(4);
  },
);

it('[OP14] a message that cannot be framed for one kind of transport reaches the others, and ends nobody', async () => {
  const world = createWorld();
  const framing = { fails: false };
  const codec = {
    name: 'choosy',
    dialect: pusherDialect,
    frame: (bytes: Uint8Array) => {
      if (framing.fails) throw new Error('framed');
      return lineCodec.frame(bytes);
    },
  };
  const choosy = await peersIn(world, 2, () => new TestPeer(codec));
  const plain = await peersIn(world, 2);
  framing.fails = true;
  await world.broker.publish(topic, { kind: 'event', payload });
  framing.fails = false;
  await world.settle();
  expect(plain.map((peer) => peer.take().length)).toEqual([1, 1]);
  expect([...choosy, ...plain].map(({ closedWith }) => closedWith)).toEqual([null, null, null, null]);
  expect(defects(world)).toBe(2);
});

it('[OP12] [OP14] a transport that throws when it is written to, asked or closed costs its own connection', async () => {
  const world = createWorld();
  class ThrowingPeer extends TestPeer {
    isBroken = false;
    override write(frames: Uint8Array): void {
      if (this.isBroken) throw new Error('written');
      super.write(frames);
    }
    override close(code: number, reason: string): void {
      super.close(code, reason);
      throw new Error('closed');
    }
  }
  const peers = (await peersIn(world, 3, () => new ThrowingPeer())) as ThrowingPeer[];
  const [, broken] = peers;
  if (broken === undefined) throw new Error('no peer');
  broken.isBroken = true;
  await world.broker.publish(topic, { kind: 'event', payload });
  await world.settle();
  expect(peers.map((peer) => (peer === broken ? 0 : peer.take().length))).toEqual([1, 0, 1]);
  expect(broken.closedWith?.code).toBe(4200);
  broken.session.ended();
  await world.settle();
  expect(world.traffic.of('1001')).toMatchObject({ connections: 2, subscriptions: 2 });
});

it('[OP12] terminating, changing an app and draining go on behind a session that throws', async () => {
  const world = createWorld();
  const peers = await peersIn(world, 3);
  for (const peer of peers) await world.signin(peer, { id: 'u' });
  const [first] = peers;
  if (first === undefined) throw new Error('no peer');
  first.session.terminate = () => {
    throw new Error('terminated');
  };
  await world.broker.publish(userTopic('1001', 'u'), { kind: 'terminate', payload: new Uint8Array() });
  await world.settle();
  expect(peers.map(({ closedWith }) => closedWith?.code)).toEqual([4200, 4009, 4009]);

  const others = await peersIn(world, 3);
  if (others[0] === undefined) throw new Error('no peer');
  others[0].session.appChanged = () => {
    throw new Error('changed');
  };
  world.appStore.put({ ...world.app, isEnabled: false });
  expect(others.map(({ closedWith }) => closedWith?.code)).toEqual([4200, 4003, 4003]);
});

it('[OP12] a check that throws costs its session, and the wheel turns on', async () => {
  const world = createWorld();
  const peers = await peersIn(world, 2);
  const [first, second] = peers;
  if (first === undefined || second === undefined) throw new Error('no peer');
  first.session.check = () => {
    throw new Error('checked');
  };
  world.clock.advance(135_000);
  expect(first.closedWith?.code).toBe(4200);
  expect(second.probes).toBe(1);
  world.clock.advance(35_000);
  expect(second.closedWith?.code).toBe(4201);
});

it('[OP12] the timing wheel gives all that is due to its owner, whatever one throws', () => {
  const clock = new FakeClock();
  const seen: string[] = [];
  const wheel = new TimingWheel<{ name: string }>(
    clock,
    ({ name }) => {
      seen.push(name);
      if (name === 'bad') throw new Error('due');
    },
    ({ name }) => seen.push(`defect of ${name}`),
  );
  for (const name of ['bad', 'good']) wheel.schedule({ name }, later(clock.elapsed(), 100));
  wheel.schedule({ name: 'later' }, later(clock.elapsed(), 5_000));
  clock.advance(10_000);
  expect(seen).toEqual(['bad', 'defect of bad', 'good', 'later']);
});

it('[OP12] a listener of an app’s change, a repair or a gap that throws is told, and costs nobody else', async () => {
  const world = createWorld();
  const [peer] = await peersIn(world, 1);
  world.traffic.remove = () => {
    throw new Error('removed');
  };
  expect(() => world.appStore.remove('1001')).not.toThrow();
  expect(peer?.closedWith?.code).toBe(4001);
  expect(world.problems.map(({ what }) => what)).toContain('defect: listener');
});
