import { channelTopic } from '@starling/ports';
import { presenceStoreContract, textOf } from '@starling/ports/contract';
import { describe, expect, it } from 'vitest';
import { MemoryBroker } from './broker.ts';
import { FakeClock } from './fake-clock.ts';
import { MemoryPresenceStore } from './presence-store.ts';

presenceStoreContract('MemoryPresenceStore', 1, async () => {
  const clock = new FakeClock();
  const broker = new MemoryBroker(clock);
  const nodes = [{ store: new MemoryPresenceStore(broker), broker }];
  return { nodes, stepWall: (byMs) => clock.stepWall(byMs), close: async () => undefined };
});

describe('MemoryPresenceStore', () => {
  const room = channelTopic('1', 'presence-room');
  const ada = { topic: room, socketId: '1.1', member: { userId: 'ada', userInfo: 'null' } };

  it('decides and announces at the call, before anyone awaits', async () => {
    const broker = new MemoryBroker(new FakeClock());
    const store = new MemoryPresenceStore(broker);
    const seen: string[] = [];
    broker.listen((_topic, message) => seen.push(textOf(message)));
    void broker.subscribe(room);
    const joined = store.join(ada, { announceTo: room });
    expect(seen).toEqual(['+ada']);
    const left = store.leave(ada);
    expect(seen).toEqual(['+ada', '-ada']);
    expect(await joined).toMatchObject({ memberAdded: true, connectionCount: 1, members: [ada.member] });
    expect(await left).toMatchObject({ isVacated: true });
  });

  it('answers with what was true at the change, whatever the announcement sets off', async () => {
    const broker = new MemoryBroker(new FakeClock());
    const store = new MemoryPresenceStore(broker);
    const bob = { topic: room, socketId: '1.2', member: { userId: 'bob', userInfo: 'null' } };
    await broker.subscribe(room);
    await store.join(bob);
    broker.listen(() => void store.leave(bob));
    const answer = await store.join(ada, { announceTo: room });
    expect(answer).toMatchObject({ wasOccupied: true, connectionCount: 2, members: [bob.member, ada.member] });
    expect((await store.members(room)).members).toEqual([ada.member]);
  });
});
