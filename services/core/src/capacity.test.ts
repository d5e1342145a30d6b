import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { Capacity, connectionBytes, subscriptionCost } from './capacity.ts';
import { createWorld, TestPeer, testApp, type World } from './world.test-kit.ts';

function memoryOf(bytes: number) {
  const state = { isShort: false };
  return { state, memory: { bytes, isShort: () => state.isShort } };
}

const roomy = 64 * connectionBytes;

it('[LI9] gives one address half of all, the next one half of the rest, and leaves something for the one behind it', () => {
  const { memory } = memoryOf(1_200_000);
  const capacity = new Capacity(memory);
  const fill = (address: string): number => {
    let bytes = 0;
    // Of ever new connections, because one alone has less.
    while (capacity.open(address).take(1_000) === null) bytes += 1_000;
    return bytes;
  };
  expect(fill('a')).toBe(600_000);
  expect(fill('b')).toBe(300_000);
  for (const address of 'cde') expect(fill(address)).toBeGreaterThan(0);
  expect(capacity.heldBytes).toBeLessThanOrEqual(1_200_000);
});

it('[LI9] gives one connection an eighth of what is free, and one app four times as much as it leaves', () => {
  const { memory } = memoryOf(900_000);
  const capacity = new Capacity(memory);
  const charge = capacity.open('a');
  while (charge.take(1_000) === null);
  expect(charge.bytes).toBe(100_000);
  charge.end();
  let held = 0;
  for (let address = 0; address < 100; address++) {
    const each = capacity.open(String(address));
    if (each.joinApp('1') !== null || each.take(20_000) !== null) each.end();
    held += each.bytes;
  }
  // Four fifths of all.
  expect(held).toBe(720_000);
  expect(capacity.open('other').take(20_000)).toBeNull();
});

it.each([1, 8, 50, 200])(
  '[LI17] leaves room in an app for its users, new ones and those who are there, when %i addresses take all they get',
  (count) => {
    const capacity = new Capacity(memoryOf(64 * 1_048_576).memory);
    const honest = capacity.open('honest');
    expect(honest.joinApp('1') ?? honest.take(connectionBytes)).toBeNull();
    for (let address = 0; address < count; address++) {
      for (let refused = 0; refused < 3; ) {
        const charge = capacity.open(`stranger-${address}`);
        if (charge.take(connectionBytes) !== null || charge.joinApp('1') !== null) {
          refused++;
          charge.end();
          continue;
        }
        while (charge.take(subscriptionCost(180)) === null);
        // It holds next to nothing beside its connection.
        if (charge.bytes < 2 * connectionBytes) refused++;
      }
    }
    for (let room = 0; room < 10; room++) expect(honest.take(subscriptionCost(20))).toBeNull();
    const newcomer = capacity.open('newcomer');
    expect(newcomer.take(connectionBytes) ?? newcomer.joinApp('1')).toBeNull();
    for (let room = 0; room < 10; room++) expect(newcomer.take(subscriptionCost(20))).toBeNull();
  },
);

it('[LI11] forgets who holds nothing any more', () => {
  const capacity = new Capacity(memoryOf(1_200_000).memory);
  const charge = capacity.open('a');
  charge.joinApp('1');
  charge.take(500_000);
  charge.end();
  charge.end();
  const again = capacity.open('a');
  expect(again.joinApp('1')).toBeNull();
  expect(capacity.heldBytes).toBe(0);
  while (again.take(1_000) === null);
  expect(again.bytes).toBeGreaterThan(100_000);
});

it('[LI9] takes all or nothing, and releases no more than was taken', () => {
  const capacity = new Capacity(memoryOf(90_000).memory);
  const [one, other] = [capacity.open('a'), capacity.open('b')];
  expect(one.take(5_000)).toBeNull();
  expect(other.take(5_000)).toBeNull();
  expect(one.take(50_000)).toMatchObject({
    code: 'over_capacity',
    limit: { limit: 10_000, remaining: 5_000, reset: 5 },
  });
  expect(capacity.heldBytes).toBe(10_000);
  one.give(1_000_000);
  expect(capacity.heldBytes).toBe(5_000);
  one.end();
  one.take(1_000);
  expect(capacity.heldBytes).toBe(5_000);
});

async function joinUntilRefused(world: World, peer: TestPeer): Promise<number> {
  for (let count = 0; count < 2_000; count++) {
    const [answer] = await world.subscribe(peer, `room-${count}`);
    if (answer?.event === 'pusher:subscription_error') return count;
  }
  return Number.POSITIVE_INFINITY;
}

it('[LI9] [LI10] refuses a subscribe beyond it with the limit, and goes on with what is there', async () => {
  const world = createWorld({ memory: memoryOf(roomy).memory });
  const peer = await world.connect();
  const count = await joinUntilRefused(world, peer);
  expect(count).toBeGreaterThan(5);
  expect(count * subscriptionCost(6)).toBeLessThan(roomy / 8);
  const [refused] = await world.subscribe(peer, 'one-more');
  expect(refused).toMatchObject({
    event: 'pusher:subscription_error',
    data: { type: 'ServerError', status: 503, limit: { limit: expect.any(Number), reset: 5 } },
  });
  await world.broker.publish('1001:room-0' as never, { kind: 'event', payload: Buffer.from('{"event":"e"}') });
  await world.settle();
  expect(peer.take()).toEqual([{ event: 'e' }]);
  expect(peer.closedWith).toBeNull();
  // What it leaves, it may have again.
  peer.say({ event: 'pusher:unsubscribe', data: { channel: 'room-0' } });
  await world.settle();
  expect((await world.subscribe(peer, 'one-more'))[0]).toMatchObject({
    event: 'pusher_internal:subscription_succeeded',
  });
});

it('[LI9] counts a long name, a member and a watchlist for what they cost', async () => {
  const world = createWorld();
  const peer = await world.connect();
  const costOf = async (act: () => Promise<unknown>) => {
    const before = world.sessions.heldBytes;
    await act();
    return world.sessions.heldBytes - before;
  };
  const short = await costOf(() => world.subscribe(peer, 'a'));
  expect(await costOf(() => world.subscribe(peer, 'b'.repeat(200)))).toBeGreaterThan(short + 400);
  const member = { user_id: 'u', user_info: { text: 'x'.repeat(900) } };
  expect(await costOf(() => world.subscribe(peer, 'presence-a', member))).toBeGreaterThan(short + 2_000);
  const watchlist = Array.from({ length: 100 }, (_, index) => `user-${index}`);
  expect(await costOf(() => world.signin(peer, { id: 'u', watchlist }))).toBeGreaterThan(100 * short);
});

it('[LI18] counts what has come of a message, gives it back, and closes the connection for which there is no room', async () => {
  const world = createWorld({ memory: memoryOf(roomy).memory });
  const peer = await world.connect();
  const before = world.sessions.heldBytes;
  for (const bytes of [9_000, 12_000, 10_000]) {
    peer.session.arriving(bytes);
    expect(world.sessions.heldBytes).toBe(before + bytes);
  }
  peer.session.arriving(0);
  expect(world.sessions.heldBytes).toBe(before);
  expect(peer.closedWith).toBeNull();
  peer.session.arriving(roomy);
  expect(peer.closedWith?.code).toBe(4100);
  peer.session.ended();
  expect(world.sessions.heldBytes).toBe(0);
});

it('[LI11] has nothing left of a connection that is over, whatever it did and however it was refused', async () => {
  const world = createWorld({ memory: memoryOf(4 * roomy).memory });
  const peers = [await world.connect(), await world.connectWith({ sub: 'u', cap: { '*': ['publish', 'subscribe'] } })];
  for (const peer of peers) {
    await world.subscribe(peer, 'room');
    await world.subscribe(peer, 'presence-room', { user_id: 'u' });
    await world.subscribe(peer, 'not!allowed');
    await world.subscribe(peer, 'private-room', undefined);
    peer.say({ event: 'pusher:subscribe', data: { channel: 'private-wrong', auth: 'app-key:00' } });
    await world.signin(peer, { id: 'u', watchlist: ['v', 'w'] });
    peer.say({ event: 'client-e', channel: 'private-room', data: 'x' });
    peer.say({ event: 'starling:publish', data: { id: '1', channels: ['room'], name: 'e', data: '' } });
    await world.settle();
    peer.say({ event: 'pusher:unsubscribe', data: { channel: 'room' } });
    await world.settle();
  }
  peers.push(await world.connect({ key: 'nobody' }), await world.connect({ protocol: '99' }));
  for (const peer of peers) peer.session.ended();
  await world.settle();
  expect(world.sessions.heldBytes).toBe(0);
});

it('[LI11] releases what it held once, when it is terminated and then over', async () => {
  const world = createWorld();
  const [peer, other] = [await world.connect(), await world.connect()];
  await world.subscribe(peer, 'room');
  await world.subscribe(other, 'room');
  const before = world.sessions.heldBytes;
  peer.session.terminate();
  await world.settle();
  // Told to close, it is there until its peer has closed, too.
  expect(world.sessions.heldBytes).toBeGreaterThanOrEqual(connectionBytes + before / 2);
  peer.session.ended();
  await world.settle();
  expect(world.sessions.heldBytes).toBe(before / 2);
});

it('[LI9] [LI10] refuses a connection for which there is no memory with 4100, and counts it until it has gone', async () => {
  const world = createWorld({ memory: memoryOf(100 * connectionBytes).memory });
  const peers: TestPeer[] = [];
  for (let count = 0; count < 60; count++) peers.push(await world.connect({ address: '192.0.2.1' }));
  const refused = peers.filter(({ closedWith }) => closedWith?.code === 4100);
  expect(refused).toEqual(peers.slice(50));
  expect(Buffer.byteLength(refused[0]?.closedWith?.reason ?? '')).toBeLessThanOrEqual(123);
  expect(world.sessions.heldBytes).toBe(60 * connectionBytes);
  expect((await world.connect({ address: '192.0.2.2' })).closedWith).toBeNull();
  for (const peer of refused) peer.session.ended();
  expect(world.sessions.heldBytes).toBe(51 * connectionBytes);
});

it('[LI12] refuses newcomers while the process is short of memory, and nobody once it is not', async () => {
  const { memory, state } = memoryOf(roomy);
  const world = createWorld({ memory });
  const peer = await world.connect();
  await world.subscribe(peer, 'room');
  state.isShort = true;
  expect((await world.connect()).closedWith).toMatchObject({ code: 4100 });
  expect((await world.subscribe(peer, 'other'))[0]?.event).toBe('pusher:subscription_error');
  expect((await world.signin(peer, { id: 'u' }))[0]).toMatchObject({ event: 'pusher:error' });
  await world.broker.publish('1001:room' as never, { kind: 'event', payload: Buffer.from('{"event":"e"}') });
  await world.settle();
  expect(peer.take()).toEqual([{ event: 'e' }]);
  state.isShort = false;
  expect((await world.connect()).closedWith).toBeNull();
  expect((await world.subscribe(peer, 'other'))[0]?.event).toBe('pusher_internal:subscription_succeeded');
});

it('[LI15] counts one address over all apps of a node, those included that no app has admitted', async () => {
  const world = createWorld({ settings: { connectionsPerAddress: 3 } });
  world.appStore.put({ ...testApp, id: '2002', keys: [{ key: 'second', secret: 's', isEnabled: true }] });
  const opened = [
    await world.connect(),
    await world.connect({ key: 'second' }),
    await world.connect({ key: 'nobody' }),
    await world.connect({ key: 'second' }),
  ];
  expect(opened.map(({ closedWith }) => closedWith?.code)).toEqual([undefined, undefined, 4001, 4004]);
  expect((await world.connect({ address: '192.0.2.9' })).closedWith).toBeNull();
  for (const peer of opened) peer.session.ended();
  expect((await world.connect()).closedWith).toBeNull();
});

it('[HS8] [HS10] [LI15] counts the addresses of one /64 as one, for an app and for the node', async () => {
  const world = createWorld({ app: { limits: { ...testApp.limits, connectionsPerAddress: 2 } } });
  const codes: Array<number | undefined> = [];
  for (const end of ['1', '2', 'ffff:1:2:3']) {
    const { closedWith } = await world.connect({ address: `2001:db8:1:2::${end}`.replace('::ffff', ':ffff') });
    codes.push(closedWith?.code);
  }
  expect(codes).toEqual([undefined, undefined, 4004]);
  expect((await world.connect({ address: '2001:db8:1:3::1' })).closedWith).toBeNull();
});

it('[LI13] closes those that do not read when all of them together keep too much waiting, and no one else', async () => {
  const world = createWorld({ outbox: { maxTotalBytes: 40_000 } });
  const reader = await world.connect();
  await world.subscribe(reader, 'room');
  const deaf: TestPeer[] = [];
  for (let count = 0; count < 20; count++) {
    const peer = await world.connect();
    await world.subscribe(peer, 'room');
    peer.bufferedBytes = 100;
    deaf.push(peer);
  }
  const payload = Buffer.from(JSON.stringify({ event: 'e', data: 'x'.repeat(900) }));
  for (let count = 0; count < 10; count++) {
    await world.broker.publish('1001:room' as never, { kind: 'event', payload });
    await world.settle();
  }
  expect(reader.take()).toHaveLength(10);
  const closed = deaf.filter(({ closedWith }) => closedWith?.code === 4203);
  expect(closed.length).toBeGreaterThan(10);
  // What they kept is free again: a lone slow one may have as much as ever.
  for (const peer of deaf) peer.session.ended();
  const slow = await world.connect();
  await world.subscribe(slow, 'room');
  slow.bufferedBytes = 100;
  for (let count = 0; count < 5; count++) {
    await world.broker.publish('1001:room' as never, { kind: 'event', payload });
    await world.settle();
  }
  expect(slow.closedWith).toBeNull();
});

it('charges at least what a subscription and a connection cost the engine', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const used = () => {
    collect();
    collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  class ForgetfulPeer extends TestPeer {
    override write(): void {}
  }
  const world = createWorld();
  const before = used();
  const peers: TestPeer[] = [];
  for (let count = 0; count < 50; count++) peers.push(await world.connect({}, new ForgetfulPeer()));
  for (const [number, peer] of peers.entries()) {
    for (let index = 0; index < 400; index++) {
      const channel = `${number}-${index}-`.padEnd(index % 2 === 0 ? 16 : 200, 'x');
      peer.say({ event: 'pusher:subscribe', data: { channel } });
    }
    await world.settle();
    world.noted.length = 0;
  }
  const spent = used() - before;
  expect(world.traffic.of('1001').subscriptions).toBe(20_000);
  expect(spent).toBeLessThan(world.sessions.heldBytes);
  // Nor twice as much: what is charged too high is memory that nobody may use.
  expect(spent).toBeGreaterThan(world.sessions.heldBytes / 2.5);
});
