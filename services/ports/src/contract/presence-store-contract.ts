/** What every presence store must do: above all, to be right about who was first and who was last. */
import type { Member } from '@starling/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type Broker,
  channelTopic,
  decodeTransition,
  type Joined,
  type JoinOptions,
  type Left,
  type PresenceStore,
  type Topic,
  userTopic,
  watchTopic,
} from '../index.ts';
import { decodeText, eventOf, everyCharacter, Inbox, oddNames } from './inbox.ts';

export interface PresenceFixture {
  /** As many as the suite was told, over one empty world; `broker` is the one that this node's store announces on. */
  readonly nodes: ReadonlyArray<{ readonly store: PresenceStore; readonly broker: Broker }>;
  /** Sets the wall clock of every node on, or back. No time passes. */
  stepWall(byMs: number): void;
  close(): Promise<void>;
}

const room = channelTopic('1', 'presence-room');
const plain = channelTopic('1', 'plain');
const end = channelTopic('1', 'end');

const memberOf = (userId: string, userInfo = 'null'): Member => ({ userId, userInfo });
const socketIds = (count: number): string[] => Array.from({ length: count }, (_, index) => `7.${index + 1}`);

/** Two nodes: the concurrent tests spread their calls over both. */
export function presenceStoreContract(name: string, nodes: 1 | 2, make: () => Promise<PresenceFixture>): void {
  describe(`${name} as a presence store`, () => {
    let fixture: PresenceFixture;
    let store: PresenceStore;
    let broker: Broker;
    let inbox: Inbox;

    beforeEach(async () => {
      fixture = await make();
      expect(fixture.nodes).toHaveLength(nodes);
      store = storeAt(0);
      broker = fixture.nodes[0]?.broker as Broker;
      inbox = new Inbox(broker);
      await broker.subscribe(room);
    });
    afterEach(() => fixture.close());

    const storeAt = (index: number): PresenceStore => fixture.nodes[index % nodes]?.store as PresenceStore;

    const join = async (
      socketId: string,
      member?: Member,
      options?: JoinOptions,
      topic: Topic = room,
      at = store,
    ): Promise<Joined> => {
      const answer = await at.join({ topic, socketId, ...(member && { member }) }, options);
      if (answer.isFull) throw new Error(`${socketId} was refused: the topic is full`);
      return answer;
    };
    const leave = (socketId: string, topic: Topic = room, at = store): Promise<Left> => at.leave({ topic, socketId });

    const occupancyOf = async (topic: Topic) => {
      const [occupancy] = await store.occupancies([topic]);
      return { connectionCount: occupancy?.connectionCount, userCount: occupancy?.userCount };
    };

    const membersIn = async (topic: Topic, at = store) => (await at.members(topic)).members;

    /** An announcement that must not come would have come before this. */
    const announced = async (): Promise<string[]> => {
      await broker.publish(room, eventOf('end'));
      await broker.subscribe(end);
      await broker.publish(end, eventOf('end'));
      await Promise.all([inbox.until(end, 1), untilText('end')]);
      return inbox.texts(room).filter((text) => text !== 'end');
    };
    const untilText = async (text: string): Promise<void> => {
      for (let count = 1; !inbox.texts(room).includes(text); count++) await inbox.until(room, count);
    };

    describe('first in, last out', () => {
      it('says of a plain topic who was first, who was last, and how many there are', async () => {
        expect(await join('1.1', undefined, {}, plain)).toEqual({
          isFull: false,
          wasOccupied: false,
          memberAdded: false,
          connectionCount: 1,
          members: [],
          position: expect.any(Number),
        });
        expect(await join('1.2', undefined, {}, plain)).toMatchObject({ wasOccupied: true, connectionCount: 2 });
        expect(await leave('1.1', plain)).toEqual({
          wasThere: true,
          isVacated: false,
          memberRemoved: false,
          connectionCount: 1,
        });
        expect(await leave('1.2', plain)).toMatchObject({ isVacated: true, connectionCount: 0 });
        expect(await join('1.3', undefined, {}, plain)).toMatchObject({ wasOccupied: false, connectionCount: 1 });
      });

      it('adds a user with the first connection and removes it with the last', async () => {
        const ada = memberOf('ada');
        expect(await join('1.1', ada)).toMatchObject({ wasOccupied: false, memberAdded: true, connectionCount: 1 });
        expect(await join('1.2', ada)).toMatchObject({ wasOccupied: true, memberAdded: false, connectionCount: 2 });
        expect(await join('1.3', memberOf('bob'))).toMatchObject({ wasOccupied: true, memberAdded: true });
        expect(await leave('1.1')).toMatchObject({ wasThere: true, memberRemoved: false, connectionCount: 2 });
        expect(await leave('1.2')).toMatchObject({ memberRemoved: true, isVacated: false, connectionCount: 1 });
        expect(await leave('1.3')).toMatchObject({ memberRemoved: true, isVacated: true });
        expect(await join('1.1', ada)).toMatchObject({ wasOccupied: false, memberAdded: true });
      });

      it('decides each topic by itself', async () => {
        const elsewhere = channelTopic('2', 'presence-room');
        await join('1.1', memberOf('ada'));
        expect(await join('1.1', memberOf('ada'), {}, elsewhere)).toMatchObject({
          wasOccupied: false,
          memberAdded: true,
          connectionCount: 1,
        });
        expect(await leave('1.1', elsewhere)).toMatchObject({ isVacated: true });
        expect(await membersIn(room)).toEqual([memberOf('ada')]);
      });

      it('takes a second join of a socket id for the first, and keeps the first member', async () => {
        await join('1.1', memberOf('ada', '{"name":"Ada"}'));
        const again = await join('1.1', memberOf('bob'), { announceTo: room, memberLimit: 1 });
        expect(again).toEqual({
          isFull: false,
          wasOccupied: true,
          memberAdded: false,
          connectionCount: 1,
          members: [memberOf('ada', '{"name":"Ada"}')],
          position: expect.any(Number),
        });
        expect(await leave('1.1')).toMatchObject({ memberRemoved: true, isVacated: true });
        expect(await membersIn(room)).toEqual([]);
        expect(await announced()).toEqual([]);
      });

      it('knows nothing of a leave by who is not there', async () => {
        const nothing = { wasThere: false, isVacated: false, memberRemoved: false };
        expect(await leave('1.9')).toEqual({ ...nothing, connectionCount: 0 });
        await join('1.1', memberOf('ada'), { announceTo: room });
        expect(await leave('1.9')).toEqual({ ...nothing, connectionCount: 1 });
        await leave('1.1');
        expect(await leave('1.1')).toEqual({ ...nothing, connectionCount: 0 });
        expect(await announced()).toEqual(['+ada', '-ada']);
      });
    });

    describe('members', () => {
      it('lists distinct users in the order in which they came, the newcomer among them', async () => {
        await join('1.1', memberOf('cay'));
        await join('1.2', memberOf('ada'));
        await join('1.3', memberOf('cay'));
        const { members } = await join('1.4', memberOf('bob'));
        expect(members).toEqual([memberOf('cay'), memberOf('ada'), memberOf('bob')]);
        expect(await membersIn(room)).toEqual(members);
        await leave('1.1');
        expect(await membersIn(room)).toEqual(members);
        await leave('1.3');
        await join('1.5', memberOf('cay'));
        expect(await membersIn(room)).toEqual([memberOf('ada'), memberOf('bob'), memberOf('cay')]);
      });

      it('keeps what the first connection said of a user until the user is wholly gone', async () => {
        await join('1.1', memberOf('ada', '{"tab":1}'));
        const second = await join('1.2', memberOf('ada', '{"tab":2}'));
        expect(second.members).toEqual([memberOf('ada', '{"tab":1}')]);
        await leave('1.1');
        expect(await membersIn(room)).toEqual([memberOf('ada', '{"tab":1}')]);
        expect((await join('1.3', memberOf('ada', '{"tab":3}'))).members).toEqual([memberOf('ada', '{"tab":1}')]);
        await leave('1.2');
        await leave('1.3');
        expect((await join('1.4', memberOf('ada', '{"tab":4}'))).members).toEqual([memberOf('ada', '{"tab":4}')]);
      });

      it('passes user_info on letter by letter', async () => {
        const info = '{"b":1.0,"a":"\\u0041 é 😀 \\"quoted\\"","__proto__":{"x":[]},"b":2}';
        expect((await join('1.1', memberOf('ada', info))).members).toEqual([memberOf('ada', info)]);
        expect(await membersIn(room)).toEqual([memberOf('ada', info)]);
      });

      it('takes every user id as a name, and no two for one', async () => {
        const members = oddNames.map((id) => memberOf(id));
        for (const [index, member] of members.entries()) {
          expect(await join(`1.${index}`, member)).toMatchObject({ memberAdded: true, connectionCount: index + 1 });
        }
        expect(await membersIn(room)).toEqual(members);
        for (const index of members.keys()) {
          expect(await leave(`1.${index}`)).toMatchObject({ wasThere: true, memberRemoved: true });
        }
        expect(await membersIn(room)).toEqual([]);
      });

      it.each([-3_600_000, 3_600_000])('[CK1] does not notice a wall clock set by %i ms', async (byMs) => {
        await join('1.1', memberOf('ada'));
        fixture.stepWall(byMs);
        const joined = await join('1.2', memberOf('bob'));
        expect(joined.members.map(({ userId }) => userId)).toEqual(['ada', 'bob']);
        expect(await leave('1.2')).toMatchObject({ wasThere: true, memberRemoved: true, connectionCount: 1 });
        expect((await store.members(room)).members).toEqual([memberOf('ada')]);
      });

      it('has none of a topic that nobody is in', async () => {
        expect(await membersIn(room)).toEqual([]);
      });
    });

    describe('the member limit', () => {
      it('refuses one distinct user too many and changes nothing', async () => {
        await join('1.1', memberOf('ada'), { memberLimit: 2 });
        await join('1.2', memberOf('bob'), { memberLimit: 2 });
        const refused = await store.join(
          { topic: room, socketId: '1.3', member: memberOf('cay') },
          { memberLimit: 2, announceTo: room },
        );
        expect(refused).toEqual({ isFull: true });
        expect(await membersIn(room)).toEqual([memberOf('ada'), memberOf('bob')]);
        expect(await occupancyOf(room)).toEqual({ connectionCount: 2, userCount: 2 });
        expect(await leave('1.3')).toMatchObject({ wasThere: false });
        expect(await announced()).toEqual([]);
      });

      it('does not refuse a further connection of a present user', async () => {
        await join('1.1', memberOf('ada'), { memberLimit: 1 });
        expect(await join('1.2', memberOf('ada'), { memberLimit: 1 })).toMatchObject({
          memberAdded: false,
          connectionCount: 2,
        });
      });

      it('counts users, not connections', async () => {
        await join('1.1', memberOf('ada'), { memberLimit: 2 });
        await join('1.2', memberOf('ada'), { memberLimit: 2 });
        await join('1.3', undefined, { memberLimit: 2 });
        expect(await join('1.4', memberOf('bob'), { memberLimit: 2 })).toMatchObject({ memberAdded: true });
      });

      it('has room again when a user is wholly gone, and not before', async () => {
        const cay = { topic: room, socketId: '1.3', member: memberOf('cay') };
        await join('1.1', memberOf('ada'), { memberLimit: 1 });
        await join('1.2', memberOf('ada'), { memberLimit: 1 });
        await leave('1.1');
        expect(await store.join(cay, { memberLimit: 1 })).toEqual({ isFull: true });
        await leave('1.2');
        expect(await store.join(cay, { memberLimit: 1 })).toMatchObject({ isFull: false, memberAdded: true });
      });

      it('leaves no trace of a topic whose only join was refused', async () => {
        const refused = { topic: room, socketId: '1.1', member: memberOf('ada') };
        expect(await store.join(refused, { memberLimit: 0 })).toEqual({ isFull: true });
        expect((await store.channels('1', '')).size).toBe(0);
        expect(await join('1.2', memberOf('ada'))).toMatchObject({ wasOccupied: false });
      });

      it('holds against many who come at once', async () => {
        const answers = await Promise.all(
          socketIds(40).map((socketId, index) =>
            storeAt(index).join({ topic: room, socketId, member: memberOf(`user ${index}`) }, { memberLimit: 7 }),
          ),
        );
        expect(answers.filter((answer) => !answer.isFull)).toHaveLength(7);
        expect(await occupancyOf(room)).toEqual({ connectionCount: 7, userCount: 7 });
      });
    });

    describe('announcements', () => {
      it('tell of the first connection and of the last, to everyone but the connection itself', async () => {
        await join('1.1', memberOf('ada'), { announceTo: room });
        await join('1.2', memberOf('ada'), { announceTo: room });
        await leave('1.1');
        await leave('1.2');
        expect(await announced()).toEqual(['+ada', '-ada']);
        const messages = inbox.arrivals.filter(({ text }) => text.endsWith('ada')).map(({ message }) => message);
        expect(messages.map(({ kind }) => kind)).toEqual(['transition', 'transition']);
        expect(messages.map(({ except }) => except)).toEqual(['1.1', '1.2']);
      });

      it('carry positions by which whoever has read the state knows which of them it includes', async () => {
        const positionOf = (text: string) =>
          inbox.arrivals.find((arrival) => arrival.text === text)?.message.position ?? 0;
        const first = await join('1.1', memberOf('ada'), { announceTo: room });
        const second = await join('1.2', memberOf('bob'), { announceTo: room });
        const [occupancy] = await store.occupancies([room]);
        const listed = await store.members(room);
        await leave('1.1');
        await leave('1.2');
        const third = await join('1.3', memberOf('cay'), { announceTo: room });
        await announced();
        const positions = ['+ada', '+bob', '-ada', '-bob', '+cay'].map(positionOf);
        expect(positions).toEqual([...positions].sort((a, b) => a - b));
        expect(new Set(positions).size).toBe(5);
        expect(first.position).toBeGreaterThanOrEqual(positions[0] ?? 0);
        expect(first.position).toBeLessThan(positions[1] ?? 0);
        expect(second.position).toBeGreaterThanOrEqual(positions[1] ?? 0);
        expect(occupancy?.position).toBeGreaterThanOrEqual(positions[1] ?? 0);
        expect(occupancy?.position).toBeLessThan(positions[2] ?? 0);
        expect(listed.position).toBeGreaterThanOrEqual(positions[1] ?? 0);
        expect(listed.position).toBeLessThan(positions[2] ?? 0);
        expect(third.position).toBeGreaterThanOrEqual(positions[4] ?? 0);
      });

      it('go to the topic they name', async () => {
        const watchers = watchTopic('1', 'ada');
        await broker.subscribe(watchers);
        await join('1.1', memberOf('ada'), { announceTo: watchers }, userTopic('1', 'ada'));
        await leave('1.1', userTopic('1', 'ada'));
        await inbox.until(watchers, 2);
        expect(inbox.texts(watchers)).toEqual(['+ada', '-ada']);
        expect(await announced()).toEqual([]);
      });

      it('are facts: of a coming the member as it is, of a going the user', async () => {
        const member = memberOf(`${decodeText(everyCharacter).slice(0, 100)}"\\ 🐦`, '{"name":"Ada \\"🐦\\""}');
        await join('1.1', member, { announceTo: room });
        await leave('1.1');
        const arrivals = await inbox.until(room, 2);
        expect(arrivals.map(({ message }) => decodeTransition(message.payload))).toEqual([
          { type: 'member-added', member },
          { type: 'member-removed', userId: member.userId },
        ]);
      });

      it('are not made where there is no member', async () => {
        await join('1.1', undefined, { announceTo: room });
        await leave('1.1');
        expect(await announced()).toEqual([]);
      });

      it('are not needed for a transition', async () => {
        expect(await join('1.1', memberOf('ada'))).toMatchObject({ memberAdded: true });
        expect(await leave('1.1')).toMatchObject({ memberRemoved: true });
        expect(await announced()).toEqual([]);
      });
    });

    describe('at once', () => {
      it('finds one first and one last among many connections of one user', async () => {
        const ids = socketIds(60);
        const ada = memberOf('ada');
        const joins = await Promise.all(
          ids.map((id, index) => join(id, ada, { announceTo: room }, room, storeAt(index))),
        );
        expect(joins.filter((answer) => !answer.wasOccupied)).toHaveLength(1);
        expect(joins.filter((answer) => answer.memberAdded)).toHaveLength(1);
        expect(joins.map((answer) => answer.connectionCount).sort((a, b) => a - b)).toEqual(ids.map((_, i) => i + 1));
        const leaves = await Promise.all(ids.map((id, index) => leave(id, room, storeAt(index + 1))));
        expect(leaves.every((answer) => answer.wasThere)).toBe(true);
        expect(leaves.filter((answer) => answer.isVacated)).toHaveLength(1);
        expect(leaves.filter((answer) => answer.memberRemoved)).toHaveLength(1);
        expect(await announced()).toEqual(['+ada', '-ada']);
      });

      it('counts a socket id once, however often it asks', async () => {
        const joins = await Promise.all(
          socketIds(20).map((_, index) => join('1.1', memberOf('ada'), {}, room, storeAt(index))),
        );
        expect(joins.filter((answer) => answer.memberAdded)).toHaveLength(1);
        expect(joins.every((answer) => answer.connectionCount === 1)).toBe(true);
        const leaves = await Promise.all(socketIds(20).map((_, index) => leave('1.1', room, storeAt(index))));
        expect(leaves.filter((answer) => answer.wasThere)).toHaveLength(1);
      });

      it('announces transitions in the order in which they happened', async () => {
        const users = ['ada', 'bob', 'cay', 'dan'];
        let transitions = 0;
        // Each user has three connections that come and go, all of them at once; each connection waits for itself.
        const lives = users.flatMap((user) =>
          [0, 1, 2].map(async (tab) => {
            const socketId = `${users.indexOf(user) + 1}.${tab + 1}`;
            const at = storeAt(tab);
            for (let round = 0; round < 25; round++) {
              const came = await join(socketId, memberOf(user), { announceTo: room }, room, at);
              if (came.memberAdded) transitions++;
              const went = await leave(socketId, room, at);
              if (went.memberRemoved) transitions++;
            }
          }),
        );
        await Promise.all(lives);
        const texts = await announced();
        expect(texts).toHaveLength(transitions);
        for (const user of users) {
          const own = texts.filter((text) => text.slice(1) === user);
          expect(own.length).toBeGreaterThan(1);
          expect(own).toEqual(own.map((_, index) => (index % 2 === 0 ? `+${user}` : `-${user}`)));
          expect(own.at(-1)).toBe(`-${user}`);
        }
        expect(await membersIn(room)).toEqual([]);
        expect(await occupancyOf(room)).toEqual({ connectionCount: 0, userCount: 0 });
        expect((await store.channels('1', '')).size).toBe(0);
      });
    });

    describe('reading', () => {
      it('answers occupancies topic by topic, in order, empty ones too', async () => {
        await join('1.1', memberOf('ada'));
        await join('1.2', memberOf('ada'));
        await join('1.3', undefined, {}, plain);
        expect(await store.occupancies([plain, end, room, plain])).toMatchObject([
          { connectionCount: 1, userCount: 0 },
          { connectionCount: 0, userCount: 0 },
          { connectionCount: 2, userCount: 1 },
          { connectionCount: 1, userCount: 0 },
        ]);
        expect(await store.occupancies([])).toEqual([]);
      });

      it('lists the occupied channels of one app by prefix', async () => {
        await join('1.1', memberOf('ada'));
        await join('1.2', memberOf('ada'));
        await join('1.1', undefined, {}, plain);
        await join('1.1', undefined, {}, channelTopic('11', 'of-app-11'));
        await join('1.1', undefined, {}, channelTopic('2', 'plain-2'));
        const roomOccupancy = { connectionCount: 2, userCount: 1 };
        expect(Object.fromEntries(await store.channels('1', ''))).toEqual({
          'presence-room': roomOccupancy,
          plain: { connectionCount: 1, userCount: 0 },
        });
        expect([...(await store.channels('1', 'presence-'))]).toEqual([['presence-room', roomOccupancy]]);
        expect((await store.channels('1', 'presence-room-')).size).toBe(0);
        expect((await store.channels('1', 'room')).size).toBe(0);
        expect((await store.channels('3', '')).size).toBe(0);
        expect([...(await store.channels('2', '')).keys()]).toEqual(['plain-2']);
      });

      it('takes a prefix as letters, not as a pattern', async () => {
        await join('1.1', undefined, {}, plain);
        for (const prefix of ['*', '?', '[p]', '.*', 'p*', '^', ':', '~']) {
          expect((await store.channels('1', prefix)).size).toBe(0);
        }
      });

      it('lists no channel that was left by all', async () => {
        await join('1.1', undefined, {}, plain);
        await join('1.2', undefined, {}, plain);
        await leave('1.1', plain);
        expect((await store.channels('1', '')).get('plain')).toEqual({ connectionCount: 1, userCount: 0 });
        await leave('1.2', plain);
        expect((await store.channels('1', '')).size).toBe(0);
      });

      it('[US9] lists no user channel and nothing internal', async () => {
        await join('1.1', undefined, {}, channelTopic('1', '#server-to-user-ada'));
        await join('1.1', memberOf('ada'), {}, userTopic('1', 'ada'));
        await join('1.1', undefined, {}, watchTopic('1', 'ada'));
        for (const prefix of ['', '#', '#server-to-user-', '~', '~user:']) {
          expect((await store.channels('1', prefix)).size).toBe(0);
        }
        expect(await occupancyOf(userTopic('1', 'ada'))).toEqual({ connectionCount: 1, userCount: 1 });
      });
    });

    if (nodes === 1) return;

    it('says the same on every node', async () => {
      await join('1.1', memberOf('ada', '{"on":1}'), {}, room, storeAt(0));
      const second = await join('1.2', memberOf('ada', '{"on":2}'), {}, room, storeAt(1));
      expect(second).toMatchObject({ wasOccupied: true, memberAdded: false, connectionCount: 2 });
      expect(second.members).toEqual([memberOf('ada', '{"on":1}')]);
      expect(await membersIn(room, storeAt(1))).toEqual(await membersIn(room, storeAt(0)));
      expect(await storeAt(1).channels('1', '')).toEqual(await storeAt(0).channels('1', ''));
      expect(await storeAt(1).occupancies([room])).toEqual(await storeAt(0).occupancies([room]));
    });
  });
}
