import { type BrokerMessage, channelTopic, type Topic } from '@starling/ports';
import { brokerContract } from '@starling/ports/contract';
import { describe, expect, it } from 'vitest';
import { MemoryBroker } from './broker.ts';
import { FakeClock } from './fake-clock.ts';

brokerContract('MemoryBroker', 1, async () => {
  const clock = new FakeClock();
  return {
    nodes: [new MemoryBroker(clock)],
    advance: async (durationMs) => clock.advance(durationMs),
    stepWall: (byMs) => clock.stepWall(byMs),
    close: async () => undefined,
  };
});

const news = channelTopic('1', 'news');
const sport = channelTopic('1', 'sport');
const event = (text: string): BrokerMessage => ({ kind: 'event', payload: Buffer.from(text) });
const listenTo = (broker: MemoryBroker): string[] => {
  const texts: string[] = [];
  broker.listen((_topic, message) => texts.push(Buffer.from(message.payload).toString()));
  return texts;
};

describe('MemoryBroker', () => {
  it('does everything at the call, before anyone awaits', () => {
    const broker = new MemoryBroker(new FakeClock());
    const texts = listenTo(broker);
    void broker.subscribe(news);
    void broker.publish(news, event('one'));
    expect(texts).toEqual(['one']);
    void broker.unsubscribe(news);
    void broker.publish(news, event('two'));
    expect(texts).toEqual(['one']);
  });

  it('delivers what is published during a delivery after it, before the first publish returns', () => {
    const broker = new MemoryBroker(new FakeClock());
    const steps: string[] = [];
    broker.listen((topic) => {
      steps.push(`${topic} begins`);
      if (topic === news) void broker.publish(sport, event(''));
      steps.push(`${topic} ends`);
    });
    void broker.subscribe(news);
    void broker.subscribe(sport);
    void broker.publish(news, event(''));
    expect(steps).toEqual(['1:news begins', '1:news ends', '1:sport begins', '1:sport ends']);
  });

  it('has one receiver', () => {
    const broker = new MemoryBroker(new FakeClock());
    const end = broker.listen(() => undefined);
    expect(() => broker.listen(() => undefined)).toThrow('one receiver');
    end();
    broker.listen(() => undefined);
  });

  it('drops an app’s oldest retained messages past its bound, and no other app’s', async () => {
    const broker = new MemoryBroker(new FakeClock(), { retainedBytesPerApp: 10 * 1_512 });
    const topics = (appId: string): Topic[] => Array.from({ length: 20 }, (_, i) => channelTopic(appId, `cache-${i}`));
    const kept = async (appId: string): Promise<boolean[]> =>
      Promise.all(topics(appId).map(async (topic) => (await broker.retained(topic)) !== undefined));
    const payload = new Uint8Array(1_000);
    await broker.publish(channelTopic('2', 'cache-0'), { kind: 'event', payload }, { retainSeconds: 1_800 });
    for (const topic of topics('1')) await broker.publish(topic, { kind: 'event', payload }, { retainSeconds: 1_800 });
    expect(await kept('1')).toEqual(topics('1').map((_, index) => index >= 10));
    expect((await kept('2'))[0]).toBe(true);
  });

  it('forgets the oldest message ids of an app that uses too many, and no others', async () => {
    const broker = new MemoryBroker(new FakeClock(), { messageIdsPerApp: 2 });
    const heard: string[] = [];
    broker.listen((topic) => heard.push(topic));
    const [one, two] = [channelTopic('1', 'a'), channelTopic('2', 'a')];
    const publish = (topic: Topic, id: string) =>
      broker.publish(topic, { kind: 'event', payload: new Uint8Array() }, { idempotencyKey: id });
    await broker.subscribe(one);
    await broker.subscribe(two);
    await publish(two, 'a');
    for (const id of ['a', 'b', 'c', 'b', 'c', 'a']) await publish(one, id);
    await publish(two, 'a');
    expect(heard).toEqual([two, one, one, one, one]);
  });

  it('counts a replaced message once, and takes it for the newest', async () => {
    const broker = new MemoryBroker(new FakeClock(), { retainedBytesPerApp: 2 * 1_512 });
    const keep = (topic: Topic): Promise<unknown> =>
      broker.publish(topic, { kind: 'event', payload: new Uint8Array(1_000) }, { retainSeconds: 1_800 });
    const [a, b, c] = [channelTopic('1', 'cache-a'), channelTopic('1', 'cache-b'), channelTopic('1', 'cache-c')];
    await keep(a);
    await keep(b);
    for (let time = 0; time < 50; time++) await keep(a);
    expect(await broker.retained(b)).toBeDefined();
    await keep(c);
    expect(await broker.retained(a)).toBeDefined();
    expect(await broker.retained(b)).toBeUndefined();
    expect(await broker.retained(c)).toBeDefined();
  });

  it('does not keep one message larger than the bound', async () => {
    const broker = new MemoryBroker(new FakeClock(), { retainedBytesPerApp: 1_000 });
    await broker.publish(news, { kind: 'event', payload: new Uint8Array(2_000) }, { retainSeconds: 60 });
    expect(await broker.retained(news)).toBeUndefined();
  });

  it('keeps bytes of its own, not a view of a buffer that others use', async () => {
    const broker = new MemoryBroker(new FakeClock());
    const shared = Buffer.from('....kept....');
    await broker.publish(news, { kind: 'event', payload: shared.subarray(4, 8) }, { retainSeconds: 60 });
    shared.fill(0);
    const retained = await broker.retained(news);
    expect(Buffer.from(retained?.message.payload ?? []).toString()).toBe('kept');
    expect(retained?.message.payload.buffer.byteLength).toBe(4);
  });

  it('releases the memory of what has expired, and then stops looking', async () => {
    const clock = new FakeClock();
    const broker = new MemoryBroker(clock);
    await broker.publish(news, event('a'), { retainSeconds: 90 });
    await broker.publish(sport, event('b'), { retainSeconds: 150 });
    expect(clock.timerCount).toBe(1);
    clock.advance(120_000);
    expect(await broker.retained(news)).toBeUndefined();
    expect(await broker.retained(sport)).toBeDefined();
    expect(clock.timerCount).toBe(1);
    clock.advance(60_000);
    expect(clock.timerCount).toBe(0);
  });
});

describe('MemoryBroker, over all apps', () => {
  const topicOf = (app: number, index: number) => channelTopic(String(app), `cache-${index}`);

  it('[LI14] keeps no more retained messages than it may, and has room for the next app, however many fill it', async () => {
    const [clock, size] = [new FakeClock(), 1_512];
    const broker = new MemoryBroker(clock, { retainedBytes: 64 * size });
    const keptOf = async (app: number) => {
      const kept = await Promise.all(Array.from({ length: 100 }, (_, index) => broker.retained(topicOf(app, index))));
      return kept.filter((each) => each !== undefined).length;
    };
    for (let app = 1; app <= 4; app++) {
      for (let index = 0; index < 100; index++) {
        await broker.publish(topicOf(app, index), event('x'.repeat(1_000)), { retainSeconds: 60 });
      }
    }
    expect(await Promise.all([1, 2, 3, 4].map(keptOf))).toEqual([32, 16, 8, 4]);
    expect(await broker.retained(topicOf(1, 99))).toBeDefined();
    // What has run out, or belongs to no app any more, is room for the others.
    broker.forgetApp('1');
    for (let index = 0; index < 100; index++) {
      await broker.publish(topicOf(5, index), event('x'.repeat(1_000)), { retainSeconds: 60 });
    }
    expect(await keptOf(5)).toBe(18);
    clock.advance(180_000);
    for (let index = 0; index < 100; index++) {
      await broker.publish(topicOf(6, index), event('x'.repeat(1_000)), { retainSeconds: 60 });
    }
    expect(await keptOf(6)).toBe(32);
  });

  it('[LI14] remembers no more message ids than it may, the latest of each app', async () => {
    const broker = new MemoryBroker(new FakeClock(), { messageIds: 64 });
    const texts = listenTo(broker);
    for (const app of ['1', '2']) await broker.subscribe(channelTopic(app, 'news'));
    const publish = (app: string, id: number) =>
      broker.publish(channelTopic(app, 'news'), event(`${app} ${id}`), { idempotencyKey: String(id) });
    for (const app of ['1', '2']) for (let id = 0; id < 100; id++) await publish(app, id);
    texts.length = 0;
    for (let id = 99; id > 68; id--) await publish('1', id);
    for (let id = 99; id > 84; id--) await publish('2', id);
    expect(texts).toEqual([]);
    await publish('1', 10);
    expect(texts).toEqual(['1 10']);
  });
});
