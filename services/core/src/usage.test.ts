import type { WallMs } from '@starling/ports';
import { expect, it } from 'vitest';
import { Traffic } from './index.ts';
import { UsageMeter } from './usage.ts';

const minute = 60_000;
const at = (ms: number) => ms as WallMs;
const none = { peakConnections: 0, messagesIn: 0, bytesIn: 0, messagesOut: 0, bytesOut: 0, refused: 0 };

it('counts what happened since the last read to the minute of this one', () => {
  const traffic = new Traffic();
  const meter = new UsageMeter(traffic);
  const app = traffic.of('1');
  app.opened();
  app.framesIn += 2;
  app.requestsIn += 3;
  app.receivedBytes += 40;
  app.delivered += 5;
  app.deliveredBytes += 60;
  app.refused('internal');
  app.refused('rate_limited');
  const first = { at: 0, peakConnections: 1, messagesIn: 5, bytesIn: 40, messagesOut: 5, bytesOut: 60, refused: 2 };
  expect(meter.read(at(10_000))).toEqual([{ appId: '1', connections: 1, subscriptions: 0, minutes: [first] }]);
  app.delivered += 7;
  expect(meter.read(at(20_000))[0]?.minutes).toEqual([{ ...first, messagesOut: 12 }]);
  app.delivered += 1;
  expect(meter.read(at(minute))[0]?.minutes).toEqual([
    { ...first, messagesOut: 12 },
    { ...none, at: minute, peakConnections: 1, messagesOut: 1 },
  ]);
  expect(meter.read(at(2 * minute))[0]?.minutes.map((each) => each.at)).toEqual([minute, 2 * minute]);
});

it('knows the most connections of each minute, though they are gone when it looks', () => {
  const traffic = new Traffic();
  const meter = new UsageMeter(traffic);
  const app = traffic.of('1');
  const peaks = (nowMs: number) => meter.read(at(nowMs))[0]?.minutes.map(({ peakConnections }) => peakConnections);
  for (let index = 0; index < 3; index++) app.opened();
  for (let index = 0; index < 2; index++) app.closed();
  expect(peaks(0)).toEqual([3]);
  expect(peaks(30_000)).toEqual([3]);
  app.opened();
  app.closed();
  expect(peaks(minute)).toEqual([3, 2]);
});

it('tells when each key was used last, for as long as that is news', () => {
  const traffic = new Traffic();
  const meter = new UsageMeter(traffic);
  const app = traffic.of('1');
  app.opened();
  app.keyUses.set('old', 10_000);
  app.keyUses.set('new', 70_000);
  expect(meter.read(at(75_000))[0]?.keyUses).toEqual({ old: 10_000, new: 70_000 });
  expect(meter.read(at(150_000))[0]?.keyUses).toEqual({ new: 70_000 });
  expect(meter.read(at(300_000))[0]).not.toHaveProperty('keyUses');
});

it('leaves out apps of which there is nothing to say, and forgets their minutes', () => {
  const traffic = new Traffic();
  const meter = new UsageMeter(traffic);
  traffic.of('1').delivered++;
  traffic.of('2');
  expect(meter.read(at(0)).map(({ appId }) => appId)).toEqual(['1']);
  expect(meter.read(at(minute))).toHaveLength(1);
  expect(meter.read(at(2 * minute))).toEqual([]);
  traffic.of('1').delivered++;
  expect(meter.read(at(3 * minute))[0]?.minutes).toEqual([{ ...none, at: 3 * minute, messagesOut: 1 }]);
});

it('counts nothing twice when the clock is set back', () => {
  const traffic = new Traffic();
  const meter = new UsageMeter(traffic);
  const app = traffic.of('1');
  app.delivered = 1;
  meter.read(at(10 * minute));
  app.delivered = 3;
  expect(meter.read(at(minute))[0]?.minutes).toEqual([{ ...none, at: minute, messagesOut: 2 }]);
});
