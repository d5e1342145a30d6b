import { expect, test } from 'vitest';
import { type MemoryReading, openMemoryGauge, readMemory } from './memory.ts';

function gaugeOf(changes: Partial<MemoryReading> = {}) {
  const reading = { heapUsedBytes: 100, heapLimitBytes: 1_000, residentBytes: 100, residentLimitBytes: 4_000 };
  const state: { -readonly [Name in keyof MemoryReading]: number } = { ...reading, ...changes };
  const time = { ms: 0, reads: 0 };
  const read = () => {
    time.reads++;
    return { ...state };
  };
  const gauge = openMemoryGauge(1, read, () => time.ms);
  return { gauge, state, time };
}

test('[LI12] tells that the heap, or the container, is nearly full, and that it is over only when there is room again', () => {
  for (const [name, limit, shortAt] of [
    ['heapUsedBytes', 1_000, 0.85],
    ['residentBytes', 4_000, 0.92],
  ] as const) {
    const { gauge, state, time } = gaugeOf();
    const isShortAt = (part: number) => {
      state[name] = limit * part;
      time.ms += 100;
      return gauge.isShort();
    };
    expect([shortAt - 0.01, shortAt + 0.01, shortAt - 0.05, shortAt - 0.08, shortAt - 0.05].map(isShortAt)).toEqual([
      false,
      true,
      true,
      false,
      false,
    ]);
  }
});

test('reads no more often than memory can run out', () => {
  const { gauge, time } = gaugeOf();
  const before = time.reads;
  for (let asked = 0; asked < 1_000; asked++) gauge.isShort();
  expect(time.reads - before).toBe(1);
});

test('[LI12] goes by the heap, or by what the container leaves beside it, whichever is less', () => {
  expect(gaugeOf().gauge.limitBytes).toBe(1_000);
  expect(gaugeOf({ residentLimitBytes: 1_000 }).gauge.limitBytes).toBe(750);
});

test('reads this process, and divides the container among those who share it', () => {
  const [one, four] = [readMemory(1), readMemory(4)];
  expect(one.heapUsedBytes).toBeGreaterThan(1_000_000);
  expect(one.heapLimitBytes).toBeGreaterThan(one.heapUsedBytes);
  expect(one.residentLimitBytes).toBeGreaterThan(one.residentBytes);
  expect(four.residentLimitBytes).toBe(one.residentLimitBytes / 4);
});
