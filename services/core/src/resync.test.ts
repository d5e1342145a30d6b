import { channelTopic, type PositionedMembers, userTopic, watchTopic } from '@starling/ports';
import { StarlingError } from '@starling/protocol';
import { describe, expect, it } from 'vitest';
import { createWorld, type TestPeer, type WorldOptions } from './world.test-kit.ts';

/** A world whose broker can be made to lose what is published, as a link that was cut. */
function gappyWorld(options: WorldOptions = {}) {
  const gaps: Array<() => void> = [];
  const world = createWorld({
    ...options,
    wrapBroker: (broker) => Object.assign(broker, { onGap: (tell: () => void) => gaps.push(tell) }),
  });
  return {
    ...world,
    /** Whatever `happen` publishes to the topics arrives nowhere; then the link is whole again. */
    async missing(topics: Parameters<typeof world.broker.subscribe>[0][], happen: () => Promise<unknown>) {
      for (const topic of topics) await world.broker.unsubscribe(topic);
      await happen();
      for (const topic of topics) await world.broker.subscribe(topic);
      for (const tell of gaps) tell();
    },
    elsewhere: (channel: string, userId: string) => ({
      topic: channelTopic('1001', channel),
      socketId: `9.${userId.length}`,
      member: { userId, userInfo: 'null' },
    }),
  };
}

const room = channelTopic('1001', 'presence-room');
const namesIn = (peer: TestPeer): string[] =>
  peer.take().map(({ event, data }) => {
    const { presence, user_id } = data as { presence?: { ids: string[] }; user_id?: string };
    return `${event.replace('pusher_internal:', '')} ${presence?.ids ?? user_id}`;
  });

describe('after messages may have been missed', () => {
  it('[PR9] tells everyone in a presence channel who is there now', async () => {
    const { connect, subscribe, missing, elsewhere, presenceStore, settle } = gappyWorld();
    const peers = [await connect(), await connect()];
    for (const [index, peer] of peers.entries()) await subscribe(peer, 'presence-room', { user_id: `me${index}` });
    await presenceStore.join(elsewhere('presence-room', 'goes'));
    for (const peer of peers) peer.take();
    await missing([room], async () => {
      await presenceStore.leave(elsewhere('presence-room', 'goes'));
      await presenceStore.join(elsewhere('presence-room', 'comes!'));
    });
    await settle();
    for (const peer of peers) expect(namesIn(peer)).toEqual(['subscription_succeeded me0,me1,comes!']);
  });

  it('[PR9] [PR8] delivers behind the list what happened while it was read, unless the list has it', async () => {
    for (const isIncluded of [false, true]) {
      const gate = membersGate(isIncluded);
      const { connect, subscribe, missing, elsewhere, presenceStore, settle } = gappyWorld(gate.options);
      const peer = await connect();
      await subscribe(peer, 'presence-room', { user_id: 'me' });
      await missing([room], () => presenceStore.join(elsewhere('presence-room', 'missed')));
      await settle();
      await presenceStore.join(elsewhere('presence-room', 'late'), { announceTo: room });
      await settle();
      expect(peer.take()).toEqual([]);
      gate.open();
      await settle();
      const told = isIncluded
        ? ['subscription_succeeded me,missed,late']
        : ['subscription_succeeded me,missed', 'member_added late'];
      expect(namesIn(peer)).toEqual(told);
    }
  });

  it('[PR9] [SU7] tells nothing to one that leaves meanwhile, not even what was held for it', async () => {
    const gate = membersGate(true);
    const { connect, subscribe, missing, elsewhere, presenceStore, broker, settle } = gappyWorld(gate.options);
    const peer = await connect();
    await subscribe(peer, 'presence-room', { user_id: 'me' });
    await missing([room], () => presenceStore.join(elsewhere('presence-room', 'missed')));
    await settle();
    await broker.publish(room, { kind: 'event', payload: Buffer.from('{"event":"held","data":"{}"}') });
    peer.say({ event: 'pusher:unsubscribe', data: { channel: 'presence-room' } });
    await settle();
    gate.open();
    await settle();
    expect(peer.take()).toEqual([]);
  });

  it('[PR9] says nothing where nothing has changed since the list it gave', async () => {
    const { connect, subscribe, missing, settle } = gappyWorld();
    const peer = await connect();
    await subscribe(peer, 'presence-room', { user_id: 'me' });
    await missing([room], async () => undefined);
    await settle();
    expect(peer.take()).toEqual([]);
  });

  it('[PR9] [PR8] tells newcomers too, once they have been told what was true before', async () => {
    let open: () => void = () => undefined;
    const isOpen = new Promise<void>((resolve) => {
      open = resolve;
    });
    const { connect, subscribe, missing, elsewhere, presenceStore, clock, settle } = gappyWorld({
      wrapPresence: (store) => {
        const join = store.join.bind(store);
        return Object.assign(store, {
          join: async (...args: Parameters<typeof join>) => {
            const joined = await join(...args);
            if (args[0].member?.userId === 'slow') await isOpen;
            return joined;
          },
        });
      },
    });
    const peer = await connect();
    await subscribe(peer, 'presence-room', { user_id: 'slow' });
    await missing([room], () => presenceStore.join(elsewhere('presence-room', 'missed')));
    await settle();
    open();
    await settle();
    expect(namesIn(peer)).toEqual(['subscription_succeeded slow']);
    clock.advance(1_000);
    await settle();
    expect(namesIn(peer)).toEqual(['subscription_succeeded slow,missed']);
    clock.advance(10_000);
    await settle();
    expect(peer.take()).toEqual([]);
  });

  it('[PR9] tries again while the store fails', async () => {
    let failures = 2;
    const { connect, subscribe, missing, clock, settle, presenceStore, elsewhere } = gappyWorld({
      wrapPresence: (store) => {
        const members = store.members.bind(store);
        return Object.assign(store, {
          members: async (topic: typeof room) => {
            if (failures-- > 0) throw new StarlingError('unavailable', 'not now');
            return members(topic);
          },
        });
      },
    });
    const peer = await connect();
    await subscribe(peer, 'presence-room', { user_id: 'me' });
    await missing([room], () => presenceStore.join(elsewhere('presence-room', 'comes')));
    for (let round = 0; round < 3; round++) {
      await settle();
      expect(namesIn(peer)).toEqual(round < 2 ? [] : ['subscription_succeeded me,comes']);
      clock.advance(1_000);
    }
  });

  it('[PR9] [SC1] tells how many there are, where the app counts them', async () => {
    const { connect, subscribe, missing, presenceStore, settle } = gappyWorld({ app: { hasSubscriptionCounts: true } });
    const peer = await connect();
    await subscribe(peer, 'plain');
    const topic = channelTopic('1001', 'plain');
    await missing([topic], () => presenceStore.join({ topic, socketId: '9.9' }));
    await settle();
    expect(peer.take()).toMatchObject([
      { event: 'pusher_internal:subscription_count', channel: 'plain', data: { subscription_count: 2 } },
    ]);
  });

  it('[PR9] [US6] tells who of a watchlist is online', async () => {
    const { connect, signin, missing, presenceStore, settle } = gappyWorld();
    const peer = await connect();
    await signin(peer, { id: 'me', watchlist: ['ada', 'bob'] });
    const topic = userTopic('1001', 'ada');
    const membership = { topic, socketId: '9.9', member: { userId: 'ada', userInfo: 'null' } };
    const watchers = watchTopic('1001', 'ada');
    await missing([watchers], () => presenceStore.join(membership, { announceTo: watchers }));
    await settle();
    const events = [
      { name: 'online', user_ids: ['ada'] },
      { name: 'offline', user_ids: ['bob'] },
    ];
    expect(peer.take()).toMatchObject([{ event: 'pusher_internal:watchlist_events', data: { events } }]);
  });
});

/** Lists are read before the gate or behind it, and answered behind it. */
function membersGate(isReadBehind: boolean) {
  let open: () => void = () => undefined;
  const isOpen = new Promise<void>((resolve) => {
    open = resolve;
  });
  const wrapPresence: WorldOptions['wrapPresence'] = (store) => {
    const members = store.members.bind(store);
    return Object.assign(store, {
      async members(topic: typeof room): Promise<PositionedMembers> {
        const early = await members(topic);
        await isOpen;
        return isReadBehind ? members(topic) : early;
      },
    });
  };
  return { open: () => open(), options: { wrapPresence } };
}
