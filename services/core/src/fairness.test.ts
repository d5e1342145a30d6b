import { FakeClock } from '@starling/adapters/memory';
import { later } from '@starling/ports';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Fairness, refuseOverShare } from './fairness.ts';
import { Traffic } from './traffic.ts';
import { createWorld, TestPeer, testApp } from './world.test-kit.ts';

function startedFairness(clock = new FakeClock(), traffic = new Traffic()) {
  const loop = { lateMs: 0 };
  const end = new Fairness({ traffic, clock }, 200).start(() => loop.lateMs);
  onTestFinished(end);
  /** Each app does so many milliseconds' worth, unless it is refused on the way, and a second goes by. Tells what each got to do. */
  const second = (asked: Readonly<Record<string, number>>) => {
    const done = Object.entries(asked).map(([app, units]) => {
      let count = 0;
      while (count < units && refuseOverShare(traffic.of(app), 'rate_limited') === null) {
        traffic.of(app).spent(1);
        count++;
      }
      return [app, count];
    });
    clock.advance(1_000);
    return Object.fromEntries(done);
  };
  return { clock, traffic, loop, second, end };
}

describe('fairness between apps', () => {
  it('[LI8] refuses nobody anything while the event loop is on time', () => {
    const { loop, second } = startedFairness();
    loop.lateMs = 199;
    const asked = { flood: 100_000, small: 10 };
    for (let seconds = 0; seconds < 5; seconds++) expect(second(asked)).toEqual(asked);
  });

  it('[LI8] cuts the greediest to half of all work while the loop is late, and the small notice nothing', () => {
    const { loop, second, traffic } = startedFairness();
    loop.lateMs = 200;
    const small = Object.fromEntries(Array.from({ length: 10 }, (_, index) => [`small-${index}`, 100]));
    expect(second({ flood: 10_000, ...small })).toEqual({ flood: 10_000, ...small });
    expect(second({ flood: 10_000, ...small })).toEqual({ flood: 4_500, ...small });
    expect(traffic.of('flood').shareRefusals).toBe(1);
    expect(refuseOverShare(traffic.of('small-1'), 'rate_limited')).toBeNull();
  });

  it('[LI8] cuts two that flood to one level, and never below an equal part for each', () => {
    const { loop, second } = startedFairness();
    loop.lateMs = 500;
    second({ one: 6_000, other: 5_000, small: 1_000 });
    expect(second({ one: 6_000, other: 5_000, small: 3_000 })).toEqual({ one: 4_000, other: 4_000, small: 3_000 });
    const equal = { one: 1_000, other: 1_000, small: 1_000 };
    second(equal);
    for (let seconds = 0; seconds < 3; seconds++) expect(second(equal)).toEqual(equal);
  });

  it('[LI8] leaves an app alone that is alone, and everybody when it was nobody’s work', () => {
    const { loop, second, traffic } = startedFairness();
    loop.lateMs = 500;
    for (let seconds = 0; seconds < 3; seconds++) expect(second({ flood: 9_000 })).toEqual({ flood: 9_000 });
    for (const app of ['1', '2']) traffic.of(app).connections++;
    second({});
    second({});
    expect(second({ 1: 10, 2: 10 })).toEqual({ 1: 10, 2: 10 });
  });

  it('[LI8] releases what it took a tenth at a time, and forgets it when nobody misses it', () => {
    const { loop, second } = startedFairness();
    loop.lateMs = 300;
    second({ flood: 9_000, small: 1_000 });
    loop.lateMs = 0;
    // In whole steps of a millisecond, the last of which may begin before the share is used up.
    for (const flood of [5_000, 5_500, 6_050]) {
      expect([flood, flood + 1]).toContain(second({ flood: 9_000, small: 1_000 })['flood']);
    }
    second({ flood: 10 });
    expect(second({ flood: 9_000 })).toEqual({ flood: 9_000 });
  });

  it('lifts all cuts when it ends', () => {
    const { loop, second, traffic, end, clock } = startedFairness();
    loop.lateMs = 300;
    second({ flood: 10_000, small: 10 });
    end();
    expect(traffic.of('flood').isOverShare).toBe(false);
    expect(clock.timerCount).toBe(0);
  });

  it('[LI8] refuses handshakes and publishes of the app that floods, with when to come back, and none of another', async () => {
    const world = createWorld();
    const key = { key: 'small-key', secret: 'small-secret', isEnabled: true };
    world.appStore.put({ ...testApp, id: '2002', keys: [key] });
    const { loop } = startedFairness(world.clock, world.traffic);
    const flood = await world.connectWith({ cap: { '*': ['publish'] } });
    const small = await world.connect({ key: 'small-key' });
    loop.lateMs = 300;
    world.traffic.of('1001').spent(10_000);
    world.clock.advance(1_000);
    world.traffic.of('1001').spent(10_000);

    const event = { channels: ['room'], name: 'e', data: '' };
    flood.say({ event: 'starling:publish', data: { id: '1', ...event } });
    await world.settle();
    expect(flood.take()[0]).toMatchObject({
      event: 'starling:publish_error',
      data: { id: '1', code: 'rate_limited', retry_after: 1, limit: { remaining: 0, reset: 1 } },
    });
    const refused = await world.connect({}, new TestPeer());
    expect(refused.closedWith).toMatchObject({ code: 4100, reason: expect.stringContaining('try again in 1 s') });
    expect(Buffer.byteLength(refused.closedWith?.reason ?? '')).toBeLessThanOrEqual(123);
    expect((await world.connect({ key: 'small-key' })).closedWith).toBeNull();
    expect(await world.subscribe(small, 'room')).toHaveLength(1);
    expect(world.traffic.of('1001').shareRefusals).toBe(2);
    expect(world.traffic.of('2002').shareRefusals).toBe(0);
  });

  it('[LI16] counts to an app the time that its frames, its deliveries and its part of the writing took', async () => {
    const world = createWorld();
    const key = { key: 'small-key', secret: 'small-secret', isEnabled: true };
    world.appStore.put({ ...testApp, id: '2002', keys: [key] });
    const [one, other] = [await world.connect(), await world.connect({ key: 'small-key' })];
    await world.subscribe(one, 'room');
    await world.subscribe(other, 'room');
    const spentBy = (appId: string) => world.traffic.of(appId).spentMs;
    const before = [spentBy('1001'), spentBy('2002')];
    expect(before).toEqual([0.2, 0.2]);

    // A clock that goes on by a millisecond with each look at it: one for each piece of work.
    let ms = world.clock.elapsed();
    world.clock.elapsed = () => {
      ms = later(ms, 1);
      return ms;
    };
    one.say({ event: 'pusher:ping', data: {} });
    expect(spentBy('1001')).toBe(1.2);
    await world.broker.publish('1001:room' as never, { kind: 'event', payload: Buffer.from('{"event":"e"}') });
    expect(spentBy('1001')).toBe(2.2);
    world.clock.flush();
    // The frames were all of the one app.
    expect(spentBy('1001')).toBe(3.2);
    expect(spentBy('2002')).toBe(0.2);
  });

  it('[LI16] divides the writing by frames, and is not led astray by a clock that was read wrongly', async () => {
    const world = createWorld();
    const key = { key: 'small-key', secret: 'small-secret', isEnabled: true };
    world.appStore.put({ ...testApp, id: '2002', keys: [key] });
    for (let count = 0; count < 3; count++) await world.subscribe(await world.connect(), 'room');
    await world.subscribe(await world.connect({ key: 'small-key' }), 'room');
    const parts = ['1001', '2002'].map((appId) => world.traffic.of(appId));
    for (const appId of ['1001', '2002']) {
      await world.broker.publish(`${appId}:room` as never, { kind: 'event', payload: Buffer.from('{"event":"e"}') });
    }
    const before = parts.map(({ spentMs }) => spentMs);
    let ms = world.clock.elapsed();
    world.clock.elapsed = () => {
      ms = later(ms, 8);
      return ms;
    };
    world.clock.flush();
    expect(parts.map(({ spentMs }, index) => Math.round(spentMs - (before[index] ?? 0)))).toEqual([6, 2]);
    for (const wrong of [-5, Number.NaN]) parts[0]?.spent(wrong);
    expect(parts[0]?.spentMs).toBeLessThan(100);
  });
});
