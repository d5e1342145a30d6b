/**
 * What happens between two awaits: the stores are the real memory ones, but each of their answers waits at a gate, and
 * the test decides who ends, and when, before it is let through.
 */
import { channelTopic, type Topic, userTopic, watchTopic } from '@starling/ports';
import { describe, expect, it } from 'vitest';
import { gatedWorld, lateWorld, type Order } from './gate.test-kit.ts';
import { createWorld, TestPeer, type World } from './world.test-kit.ts';

// Where `passed` answers are let through, it goes up until there is none left to wait for: by the gate, not by a number
// that somebody once counted.
async function expectNothingLeft(world: World, topics: readonly Topic[]): Promise<void> {
  await world.settle();
  world.clock.advance(10_000);
  await world.settle();
  expect(await world.presenceStore.occupancies(topics)).toMatchObject(
    topics.map(() => ({ connectionCount: 0, userCount: 0 })),
  );
  expect(world.traffic.of('1001')).toMatchObject({ connections: 0, subscriptions: 0 });
  expect(world.sessions.size).toBe(0);
  expect(world.clock.timerCount).toBe(0);
}

const orders: Order[] = ['change first', 'change last'];
const channels = ['room', 'private-room', 'presence-room', 'cache-room', 'presence-cache-room'];

describe.each(orders)('a session that dies while the stores answer (%s)', (order) => {
  it.each(channels)(
    '[SU12] [CL7] leaves nothing behind of a subscribe to %s, at whichever await it dies',
    async (channel) => {
      for (let passed = 0, isMore = true; isMore; passed++) {
        const world = gatedWorld(order, { hasSubscriptionCounts: true });
        const { gate } = world;
        const peer = await world.connect();
        gate.isOpen = false;
        peer.say(world.subscribeFrame(peer, channel, { user_id: 'u' }));
        for (let step = 0; step < passed; step++) {
          await world.settle();
          gate.pass();
        }
        await world.settle();
        isMore = gate.size > 0;
        const before = peer.raw.length;
        peer.session.ended();
        await world.settle();
        gate.open();
        await expectNothingLeft(world, [channelTopic('1001', channel)]);
        expect(peer.raw.length).toBe(before);
        expect(world.problems).toEqual([]);
      }
    },
  );

  it('[PR3] tells the others of a member’s coming and going equally often, at whichever await it dies', async () => {
    for (let passed = 0, isMore = true; isMore; passed++) {
      const world = gatedWorld(order);
      const { gate } = world;
      const watcher = await world.connect();
      await world.subscribe(watcher, 'presence-room', { user_id: 'w' });
      const peer = await world.connect();
      gate.isOpen = false;
      peer.say(world.subscribeFrame(peer, 'presence-room', { user_id: 'u' }));
      for (let step = 0; step < passed; step++) {
        await world.settle();
        gate.pass();
      }
      await world.settle();
      isMore = gate.size > 0;
      peer.session.ended();
      gate.open();
      await world.settle();
      const events = watcher.take().map((frame) => frame.event);
      expect(events).toEqual(
        events.length === 0 ? [] : ['pusher_internal:member_added', 'pusher_internal:member_removed'],
      );
    }
  });

  it('[CL7] leaves nothing behind of a sign-in, at whichever await it dies', async () => {
    for (let passed = 0, isMore = true; isMore; passed++) {
      const world = gatedWorld(order);
      const { gate } = world;
      const peer = await world.connect();
      gate.isOpen = false;
      await world.signin(peer, { id: 'u1', watchlist: ['u2', 'u3'] });
      for (let step = 0; step < passed; step++) {
        await world.settle();
        gate.pass();
      }
      await world.settle();
      isMore = gate.size > 0;
      peer.session.ended();
      await world.settle();
      gate.open();
      await expectNothingLeft(world, [userTopic('1001', 'u1'), watchTopic('1001', 'u2')]);
      expect(world.problems).toEqual([]);
    }
  });

  it('[SU8] carries out subscribe, unsubscribe, subscribe in that order, and answers both subscribes', async () => {
    const world = gatedWorld(order);
    const { gate } = world;
    const peer = await world.connect();
    gate.isOpen = false;
    const subscribe = world.subscribeFrame(peer, 'presence-room', { user_id: 'u' });
    const unsubscribe = { event: 'pusher:unsubscribe', data: { channel: 'presence-room' } };
    for (const frame of [subscribe, unsubscribe, subscribe, unsubscribe, subscribe]) peer.say(frame);
    await world.settle();
    while (gate.size > 0) {
      gate.pass();
      await world.settle();
    }
    gate.open();
    await world.settle();
    expect(peer.take().map((frame) => frame.event)).toEqual(Array(3).fill('pusher_internal:subscription_succeeded'));
    expect(await world.presenceStore.occupancies([channelTopic('1001', 'presence-room')])).toMatchObject([
      { connectionCount: 1, userCount: 1 },
    ]);
    expect(peer.session.channelSubscriptions.get('presence-room')?.waiting).toBe(0);
  });

  it('[SU8] relays a client event sent right behind its subscribe, after the success', async () => {
    const world = gatedWorld(order);
    const { gate } = world;
    const [peer, other] = [await world.connect(), await world.connect()];
    await world.subscribe(other, 'private-room');
    gate.isOpen = false;
    peer.say(world.subscribeFrame(peer, 'private-room'));
    peer.say({ event: 'client-x', channel: 'private-room', data: '1' });
    await world.settle();
    while (gate.size > 0) {
      gate.pass();
      await world.settle();
    }
    await world.settle();
    expect(peer.take().map((frame) => frame.event)).toEqual(['pusher_internal:subscription_succeeded']);
    expect(other.take().map((frame) => frame.event)).toEqual(['client-x']);
  });

  it('[SU1] [SU9] delivers what is published while a subscribe waits after its success, or not at all', async () => {
    for (let passed = 0, isMore = true; isMore; passed++) {
      const world = gatedWorld(order);
      const { gate } = world;
      const topic = channelTopic('1001', 'presence-room');
      const peer = await world.connect();
      gate.isOpen = false;
      peer.say(world.subscribeFrame(peer, 'presence-room', { user_id: 'u' }));
      const publish = (data: string) =>
        world.broker.publish(topic, {
          kind: 'event',
          payload: Buffer.from(JSON.stringify({ event: 'e', channel: 'presence-room', data })),
        });
      for (let step = 0; step < passed; step++) {
        await publish(`before ${step}`);
        await world.settle();
        gate.pass();
      }
      await world.settle();
      isMore = gate.size > 0;
      gate.open();
      await world.settle();
      await publish('after');
      await world.settle();
      const received = peer.take();
      expect(received[0]?.event).toBe('pusher_internal:subscription_succeeded');
      expect(received.at(-1)?.data).toBe('after');
      const data = received.slice(1).map((frame) => frame.data);
      // Whatever of the earlier ones came, came once, in order, and up to the last.
      expect(data).toEqual(
        [...Array.from({ length: passed }, (_, step) => `before ${step}`), 'after'].slice(-data.length),
      );
    }
  });

  it('[PR8] shows every member once: in the list, or added afterwards', async () => {
    for (let passed = 0; passed < 5; passed++) {
      const world = gatedWorld(order);
      const { gate } = world;
      const peer = await world.connect();
      const others = [];
      for (let index = 0; index < 5; index++) others.push(await world.connect());
      gate.isOpen = false;
      peer.say(world.subscribeFrame(peer, 'presence-room', { user_id: 'me' }));
      for (const [index, other] of others.entries()) {
        // Straight into the store, as if from another node: ungated, so that it falls between the newcomer's awaits.
        const topic = channelTopic('1001', 'presence-room');
        const member = { userId: `u${index}`, userInfo: 'null' };
        await world.presenceStore.join({ topic, socketId: other.session.socketId, member }, { announceTo: topic });
        await world.settle();
        if (index < passed) gate.pass();
      }
      gate.open();
      await world.settle();
      const [success, ...later] = peer.take();
      const { ids } = (success!.data as { presence: { ids: string[] } }).presence;
      const added = later.map((frame) => (frame.data as { user_id: string }).user_id);
      expect([...ids, ...added].sort()).toEqual(['me', 'u0', 'u1', 'u2', 'u3', 'u4']);
    }
  });

  it('[PR8] [SU6] shows in a repeated success what has come and gone while it waited', async () => {
    const world = gatedWorld(order);
    const { gate } = world;
    const [peer, leaver, comer] = [await world.connect(), await world.connect(), await world.connect()];
    await world.subscribe(leaver, 'presence-room', { user_id: 'leaver' });
    await world.subscribe(peer, 'presence-room', { user_id: 'me' });
    gate.isOpen = false;
    peer.say(world.subscribeFrame(peer, 'presence-room', { user_id: 'me' }));
    comer.say(world.subscribeFrame(comer, 'presence-room', { user_id: 'comer' }));
    leaver.session.ended();
    await world.settle();
    gate.open();
    await world.settle();
    let known: string[] = [];
    for (const { event, data } of peer.take()) {
      const { user_id, presence } = data as { user_id: string; presence: { ids: string[] } };
      if (event.endsWith('subscription_succeeded')) known = presence.ids;
      else if (event.endsWith('member_added')) known.push(user_id);
      else known = known.filter((id) => id !== user_id);
    }
    expect(known.sort()).toEqual(['comer', 'me']);
  });

  it.each(['answered', 'lost'])(
    '[SU9] delivers to who comes while the broker takes the topic away, its answer %s',
    async (answer) => {
      const world = gatedWorld(order);
      const { gate } = world;
      const [first, second] = [await world.connect(), await world.connect()];
      await world.subscribe(first, 'room');
      first.session.ended();
      await world.settle();
      gate.isOpen = false;
      world.clock.advance(1_500);
      await world.settle();
      expect(gate.size).toBe(1);
      second.say({ event: 'pusher:subscribe', data: { channel: 'room' } });
      await world.settle();
      gate.failures = answer === 'lost' ? 1 : 0;
      gate.open();
      await world.settle();
      const payload = Buffer.from(JSON.stringify({ event: 'e', channel: 'room', data: '1' }));
      await world.broker.publish(channelTopic('1001', 'room'), { kind: 'event', payload });
      await world.settle();
      expect(second.take().map((frame) => frame.event)).toEqual(['pusher_internal:subscription_succeeded', 'e']);
      second.session.ended();
      await expectNothingLeft(world, [channelTopic('1001', 'room')]);
    },
  );

  it('[SU9] leaves no hole in what who comes meanwhile is given of before its success', async () => {
    const world = gatedWorld(order);
    const { gate } = world;
    const [first, second] = [await world.connect(), await world.connect()];
    await world.subscribe(first, 'room');
    first.session.ended();
    gate.isOpen = false;
    world.clock.advance(1_500);
    const publish = async (data: string) => {
      const payload = Buffer.from(JSON.stringify({ event: 'e', channel: 'room', data }));
      await world.broker.publish(channelTopic('1001', 'room'), { kind: 'event', payload });
      await world.settle();
    };
    second.say({ event: 'pusher:subscribe', data: { channel: 'room' } });
    await publish('1');
    gate.pass();
    await world.settle();
    await publish('2');
    gate.open();
    await world.settle();
    await publish('3');
    const [success, ...later] = second.take().map((frame) => frame.data);
    expect(success).toEqual({});
    expect(later).toEqual([1, 2, 3].slice(-Math.max(1, later.length)));
  });

  it('[CA3] replays or delivers an event published while the newcomer waits, never both', async () => {
    for (let passed = 0, isMore = true; isMore; passed++) {
      const world = gatedWorld(order);
      const { gate } = world;
      const topic = channelTopic('1001', 'cache-room');
      const peer = await world.connect();
      gate.isOpen = false;
      peer.say({ event: 'pusher:subscribe', data: { channel: 'cache-room' } });
      for (let step = 0; step < passed; step++) {
        await world.settle();
        gate.pass();
      }
      await world.settle();
      isMore = gate.size > 0;
      const payload = Buffer.from(JSON.stringify({ event: 'e', channel: 'cache-room', data: '1' }));
      await world.broker.publish(topic, { kind: 'event', payload }, { retainSeconds: 60 });
      gate.open();
      await world.settle();
      const events = peer.take().map((frame) => frame.event);
      expect(events.filter((event) => event === 'e')).toHaveLength(1);
      expect(events[0]).toBe('pusher_internal:subscription_succeeded');
    }
  });
});

describe.each(orders)('a connection with a token, while the stores answer (%s)', (order) => {
  const claims = { sub: 'u', cap: { '*': ['subscribe', 'presence', 'publish'] } };

  it('[TK8] [CL7] leaves nothing behind of its opening, at whichever await it dies', async () => {
    for (let passed = 0, isMore = true; isMore; passed++) {
      const world = gatedWorld(order);
      const { gate } = world;
      gate.isOpen = false;
      const peer = world.open({}, new TestPeer(), world.mint(claims));
      for (let step = 0; step < passed; step++) {
        await world.settle();
        gate.pass();
      }
      await world.settle();
      isMore = gate.size > 0;
      peer.session.ended();
      await world.settle();
      // What releases must not overtake what takes.
      gate.pass(gate.size - 1);
      await world.settle();
      gate.open();
      await expectNothingLeft(world, [userTopic('1001', 'u')]);
      expect(world.problems).toEqual([]);
    }
  });

  it('[TK9] [CL7] leaves nothing behind of a token that takes over, at whichever await it dies', async () => {
    for (let passed = 0, isMore = true; isMore; passed++) {
      const world = gatedWorld(order);
      const { gate } = world;
      const peer = await world.connect();
      gate.isOpen = false;
      peer.say({ event: 'starling:auth', data: { token: world.mint(claims) } });
      peer.say({ event: 'pusher:subscribe', data: { channel: 'presence-room' } });
      for (let step = 0; step < passed; step++) {
        await world.settle();
        gate.pass();
      }
      await world.settle();
      isMore = gate.size > 0;
      peer.session.ended();
      await world.settle();
      // What releases must not overtake what takes.
      gate.pass(gate.size - 1);
      await world.settle();
      gate.open();
      await expectNothingLeft(world, [userTopic('1001', 'u'), channelTopic('1001', 'presence-room')]);
      expect(world.problems).toEqual([]);
    }
  });

  it('[TK12] takes no token that was revoked while it was looked at, however far it had come', async () => {
    for (const isOpening of [true, false]) {
      for (let passed = 0, isMore = true; isMore; passed++) {
        const world = gatedWorld(order);
        const { gate } = world;
        const token = world.mint(claims);
        const peer = isOpening ? new TestPeer() : await world.connect();
        gate.isOpen = false;
        if (isOpening) world.open({}, peer, token);
        else peer.say({ event: 'starling:auth', data: { token } });
        for (let step = 0; step < passed; step++) {
          await world.settle();
          gate.pass();
        }
        await world.settle();
        isMore = gate.size > 0;
        await world.appStore.revoke('1001', { by: 'user', id: 'u', at: world.clock.now() });
        gate.open();
        await world.settle();
        const isRefused = peer.raw.some((frame) => frame.includes('starling:auth_error'));
        expect(isRefused || peer.closedWith?.code === 4_011, `after ${passed}`).toBe(true);
        expect(peer.session.token === null || peer.session.isClosed).toBe(true);
        if (!peer.session.isClosed) peer.session.ended();
        await expectNothingLeft(world, [userTopic('1001', 'u')]);
      }
    }
  });

  it('[TK10] leaves a channel whose subscribe was under way when a lesser token came', async () => {
    for (let passed = 0, isMore = true; isMore; passed++) {
      const world = gatedWorld(order);
      const { gate } = world;
      const peer = await world.connectWith(claims);
      gate.isOpen = false;
      peer.say({ event: 'pusher:subscribe', data: { channel: 'private-cache-room' } });
      peer.say({ event: 'starling:auth', data: { token: world.mint({ sub: 'u' }) } });
      for (let step = 0; step < passed; step++) {
        await world.settle();
        gate.pass(gate.size - 1);
      }
      await world.settle();
      isMore = gate.size > 0;
      gate.open();
      await world.settle();
      expect(peer.session.channelSubscriptions.size).toBe(0);
      expect(peer.take().at(-2)).toMatchObject({ event: 'pusher:subscription_error', data: { status: 403 } });
      peer.session.ended();
      await expectNothingLeft(world, [channelTopic('1001', 'private-cache-room')]);
    }
  });

  it('[TK9] [SP6] answers a publish and a token that came behind one another, whatever is let through first', async () => {
    const world = gatedWorld(order);
    const { gate } = world;
    const peer = await world.connectWith(claims);
    gate.isOpen = false;
    const publish = (id: string) =>
      peer.say({ event: 'starling:publish', data: { id, channels: ['room'], name: 'e', data: id } });
    publish('1');
    peer.say({ event: 'starling:auth', data: { token: world.mint({ sub: 'u' }) } });
    publish('2');
    await world.settle();
    while (gate.size > 0) {
      gate.pass(gate.size - 1);
      await world.settle();
    }
    publish('3');
    gate.open();
    await world.settle();
    const answers = peer.take().map(({ event, data }) => `${event} ${(data as { id?: string }).id ?? ''}`.trim());
    expect(answers.sort()).toEqual([
      'starling:auth_success',
      'starling:publish_ack 1',
      'starling:publish_ack 2',
      'starling:publish_error 3',
    ]);
  });
});

describe('stores that fail', () => {
  it.each([0, 1, 2])(
    '[SU5] refuses the subscribe with status 503 when answer %i is lost, and releases what it took',
    async (after) => {
      const world = gatedWorld('change first');
      const { gate } = world;
      const peer = await world.connect();
      gate.isOpen = false;
      peer.say(world.subscribeFrame(peer, 'presence-cache-room', { user_id: 'u' }));
      for (let step = 0; step < after; step++) {
        await world.settle();
        gate.pass();
      }
      await world.settle();
      gate.failures = 1;
      gate.open();
      await world.settle();
      expect(peer.take()[0]).toMatchObject({ event: 'pusher:subscription_error', data: { status: 503 } });
      expect(peer.closedWith).toBeNull();
      expect(await world.presenceStore.occupancies([channelTopic('1001', 'presence-cache-room')])).toMatchObject([
        { connectionCount: 0, userCount: 0 },
      ]);
      expect((await world.subscribe(peer, 'presence-cache-room', { user_id: 'u' }))[0]?.event).toMatch(/succeeded/);
      peer.session.ended();
      await expectNothingLeft(world, [channelTopic('1001', 'presence-cache-room')]);
    },
  );

  it('answers a sign-in that could not be completed, and takes the next', async () => {
    const world = gatedWorld('change first');
    const peer = await world.connect();
    world.gate.failures = 1;
    expect((await world.signin(peer, { id: 'u1' }))[0]).toMatchObject({ event: 'pusher:error', data: { code: null } });
    expect((await world.signin(peer, { id: 'u1' }))[0]?.event).toBe('pusher:signin_success');
  });

  it('gives a failed sign-in back whole, also what is still being linked', async () => {
    const world = gatedWorld('change first');
    const { gate } = world;
    const [former, peer] = [await world.connect(), await world.connect()];
    await world.signin(former, { id: 'u1', watchlist: ['u2'] });
    former.session.ended();
    await world.settle();
    gate.isOpen = false;
    world.clock.advance(1_500);
    await world.settle();
    // Its links wait for what the broker is taking away, but for the one that fails.
    gate.refusals = 1;
    const answer = await world.signin(peer, { id: 'u1', watchlist: ['u3', 'u2'] });
    expect(answer[0]).toMatchObject({ event: 'pusher:error', data: { code: null } });
    gate.open();
    peer.session.ended();
    await expectNothingLeft(world, [userTopic('1001', 'u1'), watchTopic('1001', 'u2')]);
  });

  it('[OP1] says by its probe whether messages come back', async () => {
    const world = createWorld();
    await world.hub.probe(1_000);
    world.broker.publish = () => Promise.resolve(undefined);
    const probe = world.hub.probe(1_000);
    const failed = expect(probe).rejects.toMatchObject({ code: 'unavailable' });
    await world.settle();
    world.clock.advance(1_001);
    await failed;
  });
});

describe('messages that arrive late', () => {
  it('[CA3] an event that was replayed is not delivered when it comes at last, and the next one is', async () => {
    const world = lateWorld();
    const topic = channelTopic('1001', 'cache-room');
    const publish = (data: string) => {
      const payload = Buffer.from(JSON.stringify({ event: 'e', channel: 'cache-room', data }));
      return world.broker.publish(topic, { kind: 'event', payload }, { retainSeconds: 60 });
    };
    const first = await world.connect();
    await world.subscribe(first, 'cache-room');
    world.late.isHolding = true;
    await publish('1');
    const newcomer = await world.connect();
    const told = await world.subscribe(newcomer, 'cache-room');
    expect(told.map(({ data }) => data)).toEqual([{}, 1]);
    await publish('2');
    world.late.letThrough();
    await world.settle();
    expect(newcomer.take().map(({ data }) => data)).toEqual([2]);
    expect(first.take().map(({ data }) => data)).toEqual([1, 2]);
  });

  it('[PR8] a member in the list is not added again when its coming arrives at last, and its going is told', async () => {
    const world = lateWorld();
    const [first, comer, newcomer] = [await world.connect(), await world.connect(), await world.connect()];
    await world.subscribe(first, 'presence-room', { user_id: 'first' });
    world.late.isHolding = true;
    await world.subscribe(comer, 'presence-room', { user_id: 'comer' });
    const [success] = await world.subscribe(newcomer, 'presence-room', { user_id: 'newcomer' });
    expect(success?.data).toMatchObject({ presence: { ids: ['first', 'comer', 'newcomer'] } });
    comer.session.ended();
    await world.settle();
    world.late.letThrough();
    await world.settle();
    expect(newcomer.take().map(({ event }) => event)).toEqual(['pusher_internal:member_removed']);
    expect(first.take().map(({ event }) => event)).toEqual([
      'pusher_internal:member_added',
      'pusher_internal:member_added',
      'pusher_internal:member_removed',
    ]);
  });
});
