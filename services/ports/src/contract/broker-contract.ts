/** What every broker must do. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type Broker,
  channelTopic,
  probeTopic,
  type RetainedMessage,
  type Topic,
  userTopic,
  watchTopic,
} from '../index.ts';
import { decodeText, eventOf, everyCharacter, Inbox, oddNames } from './inbox.ts';

export interface BrokerFixture {
  /** As many as the suite was told, each fresh and nobody's receiver yet, all over one empty world. */
  readonly nodes: readonly Broker[];
  /** Lets so much time pass for what is retained: moves a fake clock, or waits where the store has a time of its own. */
  advance(durationMs: number): Promise<void>;
  /** Sets the wall clock of every node on, or back. No time passes. */
  stepWall(byMs: number): void;
  close(): Promise<void>;
}

const news = channelTopic('1', 'news');
const sport = channelTopic('1', 'sport');
const end = channelTopic('1', 'end');
const textOf = (retained: RetainedMessage | undefined): string | undefined =>
  retained && decodeText(retained.message.payload);
const numbers = (count: number): string[] => Array.from({ length: count }, (_, index) => String(index));

/** Two nodes add what only two can show: that they reach one another. */
export function brokerContract(name: string, nodes: 1 | 2, make: () => Promise<BrokerFixture>): void {
  describe(`${name} as a broker`, () => {
    let fixture: BrokerFixture;
    let broker: Broker;
    let inbox: Inbox;

    beforeEach(async () => {
      fixture = await make();
      expect(fixture.nodes).toHaveLength(nodes);
      broker = fixture.nodes[0] as Broker;
      inbox = new Inbox(broker);
    });
    afterEach(() => fixture.close());

    /** A message that must not come would have come before this one. */
    const reachTheEnd = async (): Promise<void> => {
      await broker.subscribe(end);
      await broker.publish(end, eventOf('end'));
      await inbox.until(end, 1);
    };

    describe('message ids', () => {
      const arrivedIn = async (topic: Topic): Promise<string[]> => {
        await reachTheEnd();
        return inbox.texts(topic);
      };

      it('publishes one message of an id on a topic, and each that has no id', async () => {
        await broker.subscribe(news);
        await broker.subscribe(sport);
        await broker.publish(news, eventOf('first'), { idempotencyKey: 'a' });
        await broker.publish(news, eventOf('repeat'), { idempotencyKey: 'a' });
        await broker.publish(news, eventOf('other id'), { idempotencyKey: 'b' });
        await broker.publish(sport, eventOf('other topic'), { idempotencyKey: 'a' });
        await broker.publish(news, eventOf('no id'));
        await broker.publish(news, eventOf('no id'));
        expect(await arrivedIn(news)).toEqual(['first', 'other id', 'no id', 'no id']);
        expect(await arrivedIn(sport)).toEqual(['other topic']);
      });

      it('keeps the first of an id as the last event, retained or not when it is repeated', async () => {
        await broker.subscribe(news);
        await broker.publish(news, eventOf('first'), { idempotencyKey: 'a', retainSeconds: 60 });
        await broker.publish(news, eventOf('repeat'), { idempotencyKey: 'a', retainSeconds: 60 });
        await broker.publish(news, eventOf('repeat'), { idempotencyKey: 'a' });
        expect(textOf(await broker.retained(news))).toBe('first');
        expect(await arrivedIn(news)).toEqual(['first']);
      });

      it('publishes one of many of an id at once', async () => {
        await broker.subscribe(news);
        const all = fixture.nodes.flatMap((node) =>
          numbers(20).map((text) => node.publish(news, eventOf(text), { idempotencyKey: 'a' })),
        );
        await Promise.all(all);
        expect(await arrivedIn(news)).toHaveLength(1);
      });

      it('takes odd ids apart', async () => {
        await broker.subscribe(news);
        for (const id of oddNames) await broker.publish(news, eventOf(id), { idempotencyKey: id });
        expect(await arrivedIn(news)).toEqual(oddNames);
      });
    });

    describe('delivery', () => {
      it('brings a subscribed topic its messages, byte for byte', async () => {
        const payload = everyCharacter;
        await broker.subscribe(news);
        await broker.publish(news, { kind: 'event', payload });
        const [arrival] = await inbox.until(news, 1);
        expect([...(arrival?.message.payload ?? [])]).toEqual([...payload]);
        expect(arrival?.message.kind).toBe('event');
      });

      it('brings an empty payload and one of a megabyte', async () => {
        const large = new Uint8Array(1_048_576).fill(0x78);
        await broker.subscribe(news);
        await broker.publish(news, { kind: 'event', payload: new Uint8Array() });
        await broker.publish(news, { kind: 'event', payload: large });
        const arrivals = await inbox.until(news, 2);
        expect(arrivals[0]?.message.payload.byteLength).toBe(0);
        expect(Buffer.compare(arrivals[1]?.message.payload ?? new Uint8Array(), large)).toBe(0);
      });

      it('leaves the header as it was: the kind, and whom to spare or nobody', async () => {
        await broker.subscribe(news);
        await broker.publish(news, { kind: 'terminate', payload: new Uint8Array() });
        await broker.publish(news, eventOf('to all'));
        await broker.publish(news, eventOf('to all but one', '123456.654321'));
        const arrivals = await inbox.until(news, 3);
        expect(arrivals.map(({ message }) => message.kind)).toEqual(['terminate', 'event', 'event']);
        expect(arrivals.map(({ message }) => message.except)).toEqual([undefined, undefined, '123456.654321']);
      });

      it('keeps the order of what is published one after another', async () => {
        await broker.subscribe(news);
        for (const text of numbers(200)) await broker.publish(news, eventOf(text));
        await inbox.until(news, 200);
        expect(inbox.texts(news)).toEqual(numbers(200));
      });

      it('keeps the order of calls that do not wait for one another', async () => {
        await broker.subscribe(news);
        await broker.subscribe(sport);
        const calls = numbers(500).flatMap((text) =>
          [news, sport].map((topic) => broker.publish(topic, eventOf(text))),
        );
        await Promise.all(calls);
        for (const topic of [news, sport]) {
          await inbox.until(topic, 500);
          expect(inbox.texts(topic)).toEqual(numbers(500));
        }
      });

      it('brings each message once when many are published at once', async () => {
        await broker.subscribe(news);
        await Promise.all(numbers(200).map((text) => broker.publish(news, eventOf(text))));
        await inbox.until(news, 200);
        await reachTheEnd();
        expect(inbox.texts(news).sort()).toEqual(numbers(200).sort());
      });

      it('brings nothing of a topic from before its subscribe, and everything from after', async () => {
        await broker.publish(news, eventOf('before'));
        await broker.subscribe(news);
        await broker.publish(news, eventOf('after'));
        await inbox.until(news, 1);
        expect(inbox.texts(news)).toEqual(['after']);
      });

      it('brings nothing of a topic after its unsubscribe, until it is subscribed again', async () => {
        await broker.subscribe(news);
        await broker.publish(news, eventOf('first'));
        await inbox.until(news, 1);
        await broker.unsubscribe(news);
        await broker.publish(news, eventOf('missed'));
        await broker.subscribe(news);
        await broker.publish(news, eventOf('second'));
        await inbox.until(news, 2);
        expect(inbox.texts(news)).toEqual(['first', 'second']);
      });

      it('takes a second subscribe and a second unsubscribe of a topic for the first', async () => {
        await broker.unsubscribe(news);
        await broker.subscribe(news);
        await broker.subscribe(news);
        await broker.publish(news, eventOf('once'));
        await inbox.until(news, 1);
        await broker.unsubscribe(news);
        await broker.publish(news, eventOf('never'));
        await broker.unsubscribe(news);
        await reachTheEnd();
        expect(inbox.texts(news)).toEqual(['once']);
      });

      it('accepts a publish that nobody receives', async () => {
        await broker.publish(news, eventOf('unheard'));
        await reachTheEnd();
        expect(inbox.arrivals).toHaveLength(1);
      });

      it('tells topics apart: of other apps, with longer names, internal ones', async () => {
        const topics: Topic[] = [
          channelTopic('1', 'a'),
          channelTopic('11', 'a'),
          channelTopic('1', 'a.b'),
          channelTopic('1', 'A'),
          channelTopic('1', 'aa'),
          userTopic('1', 'a'),
          watchTopic('1', 'a'),
          probeTopic('a'),
        ];
        for (const topic of topics) await broker.subscribe(topic);
        for (const topic of topics) await broker.publish(topic, eventOf(`for ${topic}`));
        for (const topic of topics) await inbox.until(topic, 1);
        await reachTheEnd();
        for (const topic of topics) expect(inbox.texts(topic)).toEqual([`for ${topic}`]);
      });

      it('takes every user id as a name and none as a pattern', async () => {
        for (const id of oddNames) await broker.subscribe(userTopic('1', id));
        await broker.publish(userTopic('1', 'plain'), eventOf('to nobody here'));
        for (const id of oddNames) await broker.publish(userTopic('1', id), eventOf(id));
        for (const id of oddNames) await inbox.until(userTopic('1', id), 1);
        await reachTheEnd();
        expect(inbox.arrivals).toHaveLength(oddNames.length + 1);
        for (const id of oddNames) expect(inbox.texts(userTopic('1', id))).toEqual([id]);
      });

      it('is silent after the listening has ended', async () => {
        await broker.subscribe(news);
        await broker.publish(news, eventOf('heard'));
        await inbox.until(news, 1);
        inbox.close();
        await broker.publish(news, eventOf('unheard'));
        const second = new Inbox(broker);
        await broker.publish(news, eventOf('heard by the second'));
        await broker.subscribe(end);
        await broker.publish(end, eventOf('end'));
        await second.until(end, 1);
        expect(inbox.texts(news)).toEqual(['heard']);
        // What nobody listened to may still have been on its way.
        expect(second.texts(news).at(-1)).toBe('heard by the second');
      });
    });

    describe('retaining', () => {
      it('has nothing for a topic that retained nothing', async () => {
        expect(await broker.publish(news, eventOf('passing'))).toBeUndefined();
        expect(await broker.retained(news)).toBeUndefined();
      });

      it('keeps the last message, subscribed or not, with its header and the seconds it has left', async () => {
        await broker.publish(news, eventOf('old'), { retainSeconds: 60 });
        await broker.publish(news, eventOf('new', '1.2'), { retainSeconds: 60 });
        const retained = await broker.retained(news);
        expect(retained?.message.kind).toBe('event');
        expect(retained?.message.except).toBe('1.2');
        expect(textOf(retained)).toBe('new');
        expect(retained?.ttlSeconds).toBeGreaterThanOrEqual(59);
        expect(retained?.ttlSeconds).toBeLessThanOrEqual(60);
      });

      it('returns every character of the payload', async () => {
        const payload = everyCharacter;
        await broker.publish(news, { kind: 'event', payload }, { retainSeconds: 60 });
        const retained = await broker.retained(news);
        expect([...(retained?.message.payload ?? [])]).toEqual([...payload]);
      });

      it('delivers a retained message with the position under which it is kept', async () => {
        await broker.subscribe(news);
        const position = await broker.publish(news, eventOf('kept'), { retainSeconds: 60 });
        const [arrival] = await inbox.until(news, 1);
        const retained = await broker.retained(news);
        expect(arrival?.message.position).toBeGreaterThan(0);
        expect(position).toBe(arrival?.message.position);
        expect(retained?.message.position).toBe(arrival?.message.position);
      });

      it('gives no position to a message that is not retained, and does not keep it', async () => {
        await broker.subscribe(news);
        await broker.publish(news, eventOf('kept'), { retainSeconds: 60 });
        await broker.publish(news, eventOf('passing'));
        const arrivals = await inbox.until(news, 2);
        expect(arrivals[1]?.message.position).toBeUndefined();
        expect(textOf(await broker.retained(news))).toBe('kept');
      });

      it('gives each retained message of a topic a greater position, in the order of arrival', async () => {
        await broker.subscribe(news);
        await Promise.all(numbers(100).map((text) => broker.publish(news, eventOf(text), { retainSeconds: 60 })));
        const arrivals = await inbox.until(news, 100);
        const positions = arrivals.map(({ message }) => message.position ?? Number.NaN);
        expect(new Set(positions).size).toBe(100);
        expect(positions).toEqual([...positions].sort((a, b) => a - b));
        const retained = await broker.retained(news);
        expect(retained?.message.position).toBe(positions.at(-1));
        expect(retained?.message.payload).toEqual(arrivals.at(-1)?.message.payload);
      });

      it('forgets after the time given, and counts positions on from there', async () => {
        await broker.publish(news, eventOf('short'), { retainSeconds: 1 });
        const before = await broker.retained(news);
        expect(before?.ttlSeconds).toBe(1);
        await fixture.advance(1_001);
        expect(await broker.retained(news)).toBeUndefined();
        await broker.publish(news, eventOf('again'), { retainSeconds: 60 });
        const after = await broker.retained(news);
        expect(after?.message.position).toBeGreaterThan(before?.message.position ?? Number.NaN);
      });

      it.each([-3_600_000, 3_600_000])('[CK1] does not notice a wall clock set by %i ms', async (byMs) => {
        await broker.subscribe(news);
        await broker.publish(news, eventOf('kept'), { retainSeconds: 1, idempotencyKey: 'a' });
        fixture.stepWall(byMs);
        expect(await broker.retained(news)).toMatchObject({ ttlSeconds: 1 });
        await broker.publish(news, eventOf('repeat'), { idempotencyKey: 'a' });
        await reachTheEnd();
        expect(inbox.texts(news)).toEqual(['kept']);
        await fixture.advance(1_001);
        expect(await broker.retained(news)).toBeUndefined();
      });

      it('counts the time anew with each retained message', async () => {
        await broker.publish(news, eventOf('short'), { retainSeconds: 1 });
        await broker.publish(news, eventOf('long'), { retainSeconds: 60 });
        await fixture.advance(1_001);
        const retained = await broker.retained(news);
        expect(textOf(retained)).toBe('long');
        expect(retained?.ttlSeconds).toBeLessThanOrEqual(59);
        expect(retained?.ttlSeconds).toBeGreaterThanOrEqual(57);
      });

      it('keeps each topic its own', async () => {
        await broker.publish(news, eventOf('news'), { retainSeconds: 60 });
        await broker.publish(sport, eventOf('sport'), { retainSeconds: 60 });
        expect(textOf(await broker.retained(news))).toBe('news');
        expect(textOf(await broker.retained(sport))).toBe('sport');
        expect(await broker.retained(channelTopic('2', 'news'))).toBeUndefined();
      });
    });

    if (nodes === 1) return;

    describe('two nodes', () => {
      let other: Broker;
      let otherInbox: Inbox;

      beforeEach(() => {
        other = fixture.nodes[1] as Broker;
        otherInbox = new Inbox(other);
      });

      it('reach each other and themselves, once each', async () => {
        await Promise.all([broker.subscribe(news), other.subscribe(news)]);
        await broker.publish(news, eventOf('from one'));
        await other.publish(news, eventOf('from two'));
        await Promise.all([inbox.until(news, 2), otherInbox.until(news, 2)]);
        await reachTheEnd();
        expect(inbox.texts(news).sort()).toEqual(['from one', 'from two']);
        expect(otherInbox.texts(news).sort()).toEqual(['from one', 'from two']);
      });

      it('receive what they subscribed to and nothing else', async () => {
        await broker.subscribe(news);
        await other.subscribe(sport);
        await broker.publish(sport, eventOf('sport'));
        await other.publish(news, eventOf('news'));
        await Promise.all([inbox.until(news, 1), otherInbox.until(sport, 1)]);
        expect(inbox.texts(sport)).toEqual([]);
        expect(otherInbox.texts(news)).toEqual([]);
      });

      it('keep receiving when the other unsubscribes', async () => {
        await Promise.all([broker.subscribe(news), other.subscribe(news)]);
        await other.unsubscribe(news);
        await other.publish(news, eventOf('still'));
        await inbox.until(news, 1);
        expect(otherInbox.texts(news)).toEqual([]);
      });

      it('see one order of what is published one after another, now by one and now by the other', async () => {
        await Promise.all([broker.subscribe(news), other.subscribe(news)]);
        const texts = numbers(100);
        for (const [index, text] of texts.entries()) await (index % 2 ? other : broker).publish(news, eventOf(text));
        await Promise.all([inbox.until(news, 100), otherInbox.until(news, 100)]);
        expect(inbox.texts(news)).toEqual(texts);
        expect(otherInbox.texts(news)).toEqual(texts);
      });

      it('share what is retained, and its positions', async () => {
        await Promise.all([broker.subscribe(news), other.subscribe(news)]);
        const published = numbers(50).map((text, index) =>
          (index % 2 ? other : broker).publish(news, eventOf(text), { retainSeconds: 60 }),
        );
        await Promise.all(published);
        const [here, there] = await Promise.all([inbox.until(news, 50), otherInbox.until(news, 50)]);
        const positions = here.map(({ message }) => message.position ?? Number.NaN);
        expect(new Set(positions).size).toBe(50);
        expect(positions).toEqual([...positions].sort((a, b) => a - b));
        expect(there.map(({ message }) => message.position)).toEqual(positions);
        expect(await other.retained(news)).toEqual(await broker.retained(news));
        expect((await other.retained(news))?.message.position).toBe(positions.at(-1));
      });
    });
  });
}
