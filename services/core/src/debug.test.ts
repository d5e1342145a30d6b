import { FakeClock, MemoryBroker } from '@starling/adapters/memory';
import type { ControlMessage } from '@starling/ports';
import { expect, it } from 'vitest';
import { BrokerControlBus, type DebugEntry, DebugTap, DebugWatch, Hub } from './index.ts';
import { createWorld } from './world.test-kit.ts';

async function nodeOf(isLogging = false) {
  const logged: unknown[] = [];
  const defects: unknown[] = [];
  const inner = {
    notes: isLogging,
    note: (...args: unknown[]) => void logged.push(args),
    problem: () => {},
    defect: (kind: unknown) => void defects.push(kind),
  };
  const clock = new FakeClock(1_000_000);
  const tap = new DebugTap(inner, { clock, nodeId: 'n' });
  const broker = new MemoryBroker(clock);
  const hub = new Hub({ broker, clock, observer: tap, nodeId: 'n' });
  hub.start();
  const controlBus = new BrokerControlBus({ broker, hub, observer: tap });
  await controlBus.start();
  const controlMessages: ControlMessage[] = [];
  controlBus.listen((controlMessage) => controlMessages.push(controlMessage));
  tap.start({ broker, controlBus });
  const watch = new DebugWatch({ hub, controlBus, clock, observer: tap });
  const entries: DebugEntry[] = [];
  const listen = (entry: DebugEntry) => void entries.push(entry);
  /** As a caller does it. */
  const note = (what: string, details: Record<string, unknown>) => {
    if (tap.notes) tap.note(what, details);
  };
  return { tap, clock, watch, entries, listen, note, logged, controlMessages, defects };
}

it('passes on what is noted of an app while somebody watches it, and of no other', async () => {
  const { watch, entries, listen, note, logged, tap } = await nodeOf();
  note('subscribed', { app: '1', channel: 'before' });
  expect(tap.notes).toBe(false);
  const end = await watch.watch('1', listen);
  note('subscribed', { app: '1', channel: 'a' });
  note('subscribed', { app: '2', channel: 'b' });
  note('redis is back', {});
  end();
  end();
  note('subscribed', { app: '1', channel: 'after' });
  expect(entries).toEqual([{ at: 1_000_000, nodeId: 'n', what: 'subscribed', channel: 'a' }]);
  expect(logged).toEqual([]);
});

it('tells for as long as somebody watches, and stops by itself soon after the last has gone', async () => {
  const { watch, entries, listen, note, clock, tap, controlMessages } = await nodeOf();
  const endFirst = await watch.watch('1', listen);
  const endSecond = await watch.watch('1', listen);
  for (let time = 0; time < 12; time++) {
    clock.advance(10_000);
    note('event', { app: '1' });
  }
  expect(entries).toHaveLength(24);
  endFirst();
  clock.advance(10_000);
  note('event', { app: '1' });
  expect(entries).toHaveLength(25);
  endSecond();
  const count = controlMessages.length;
  clock.advance(60_000);
  note('event', { app: '1' });
  expect(controlMessages).toHaveLength(count);
  expect(tap.notes).toBe(false);
  expect(entries).toHaveLength(25);
});

it('tells so many entries a second, and how many it did not', async () => {
  const { watch, entries, listen, note, clock } = await nodeOf();
  await watch.watch('1', listen);
  for (let index = 0; index < 510; index++) note('event', { app: '1' });
  expect(entries).toHaveLength(500);
  clock.advance(1_000);
  note('event', { app: '1' });
  expect(entries.slice(500)).toMatchObject([{ what: 'too much to tell', dropped: 10 }, { what: 'event' }]);
});

it('shows data up to a bound, and never to the log', async () => {
  const { watch, entries, listen, note, logged } = await nodeOf(true);
  await watch.watch('1', listen);
  note('event', { app: '1', data: 'short' });
  note('event', { app: '1', data: 'x'.repeat(5_000) });
  expect(entries[0]).toMatchObject({ data: 'short' });
  expect(entries[1]).toMatchObject({ data: 'x'.repeat(1_024), dataLength: 5_000 });
  expect(logged).toEqual([
    ['event', { app: '1' }],
    ['event', { app: '1' }],
  ]);
});

it('hears of a connection, what it does, what it is refused, and why it ends', async () => {
  const world = createWorld();
  const peer = await world.connect();
  const { socketId } = peer.session;
  peer.say(world.subscribeFrame(peer, 'private-a'));
  peer.say({ event: 'client-x', channel: 'private-a', data: 'hello' });
  peer.say({ event: 'pusher:subscribe', data: { channel: 'private-b' } });
  peer.say({ event: 'pusher:unsubscribe', data: { channel: 'private-a' } });
  await world.settle();
  peer.session.ended();
  const common = { app: '1001', socketId };
  expect(world.noted).toEqual([
    { what: 'connection opened', ...common, client: 'test', version: '1', address: expect.any(String) },
    { what: 'subscription refused', ...common, code: 'auth_missing', message: expect.any(String) },
    { what: 'subscribed', ...common, channel: 'private-a', userId: undefined },
    { what: 'client event', ...common, channel: 'private-a', event: 'client-x', data: 'hello' },
    { what: 'unsubscribed', ...common, channel: 'private-a' },
    { what: 'connection closed', ...common, reason: 'the client went away', closeCode: undefined },
  ]);
});

it('is not shown the data of an app that hides it', async () => {
  for (const hidesData of [false, true]) {
    const world = createWorld({ app: { hidesData } });
    const peer = await world.connect();
    peer.say(world.subscribeFrame(peer, 'private-a'));
    await world.settle();
    peer.say({ event: 'client-x', channel: 'private-a', data: 'secret' });
    await world.settle();
    expect(JSON.stringify(world.noted).includes('secret')).toBe(!hidesData);
  }
});

it('[LI7] forgets an app that is watched no more, though it never says a word again', async () => {
  const { watch, listen, note, clock, tap } = await nodeOf();
  const end = await watch.watch('1', listen);
  end();
  clock.advance(31_000);
  note('subscribed', { app: '2' });
  expect(tap.notes).toBe(false);
});

it('[OP12] tells the others although one who listens throws, and counts the defect', async () => {
  const { watch, entries, listen, note, defects } = await nodeOf();
  await watch.watch('1', () => {
    throw new Error('no');
  });
  await watch.watch('1', listen);
  note('event', { app: '1' });
  note('event', { app: '1' });
  expect(entries).toHaveLength(2);
  expect(defects).toEqual(['listener', 'listener']);
});

it('[OP12] leaves what cannot be written down to the log, and whoever noted it unharmed', async () => {
  const { watch, entries, listen, note, defects } = await nodeOf();
  await watch.watch('1', listen);
  note('event', { app: '1', count: 1n });
  note('event', { app: '1' });
  expect(entries).toHaveLength(1);
  expect(defects).toEqual(['listener']);
});

it('lets who comes while the watching begins wait for the same beginning, and fail with it', async () => {
  let fail: (err: Error) => void = () => {};
  const begun = new Promise<void>((_, reject) => {
    fail = reject;
  });
  const follow = () => begun;
  const unfollowed: unknown[] = [];
  const hub = { follow, unfollow: (topic: unknown) => unfollowed.push(topic) } as unknown as Hub;
  const controlBus = { post: async () => {}, listen: () => () => {}, onGap: () => () => {} };
  const observer = { notes: false, note: () => {}, problem: () => {}, defect: () => {} };
  const watch = new DebugWatch({ hub, controlBus, clock: new FakeClock(), observer });
  const both = [watch.watch('1', () => {}), watch.watch('1', () => {})].map((each) => each.catch(() => 'failed'));
  fail(new Error('away'));
  expect(await Promise.all(both)).toEqual(['failed', 'failed']);
  expect(unfollowed).toHaveLength(1);
});
