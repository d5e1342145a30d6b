import { msSince } from '@starling/ports';
import { clockContract } from '@starling/ports/contract';
import { describe, expect, it } from 'vitest';
import { FakeClock } from './fake-clock.ts';

clockContract('FakeClock', () => {
  const clock = new FakeClock();
  return { clock, drive: (durationMs) => clock.advance(durationMs) };
});

describe('FakeClock', () => {
  it('shows each callback the moment it was due, and the test the moment it moved to', () => {
    const clock = new FakeClock(1_000);
    const seen: number[] = [];
    clock.after(30, () => seen.push(clock.now()));
    clock.after(10, () => {
      seen.push(clock.now());
      clock.after(10, () => seen.push(clock.now()));
    });
    clock.advance(100);
    expect(seen).toEqual([1_010, 1_020, 1_030]);
    expect(clock.now()).toBe(1_100);
    expect(clock.timerCount).toBe(0);
  });

  it('sets its wall clock alone: no time passes, and nothing runs', () => {
    const clock = new FakeClock(1_000_000);
    const start = clock.elapsed();
    let runs = 0;
    clock.after(10, () => runs++);
    for (const byMs of [3_600_000, -7_200_000]) clock.stepWall(byMs);
    expect(clock.now()).toBe(1_000_000 - 3_600_000);
    expect(clock.elapsed()).toBe(start);
    expect(runs).toBe(0);
    clock.advance(10);
    expect(runs).toBe(1);
    expect(msSince(start, clock)).toBe(10);
    expect(clock.now()).toBe(1_000_010 - 3_600_000);
  });

  it('runs those due together in the order in which they were asked for', () => {
    const clock = new FakeClock();
    const order: string[] = [];
    for (const name of ['a', 'b', 'c']) clock.after(5, () => order.push(name));
    clock.advance(5);
    expect(order).toEqual(['a', 'b', 'c']);
  });

  it('leaves alone what is not yet due', () => {
    const clock = new FakeClock();
    let hasRun = false;
    clock.after(10, () => {
      hasRun = true;
    });
    clock.advance(9);
    expect(hasRun).toBe(false);
    clock.advance(1);
    expect(hasRun).toBe(true);
  });

  it('runs on a flush what was asked to run soon, and what that asks for', () => {
    const clock = new FakeClock();
    const order: string[] = [];
    clock.soon(() => {
      order.push('outer');
      clock.soon(() => order.push('inner'));
    });
    expect(order).toEqual([]);
    clock.flush();
    expect(order).toEqual(['outer', 'inner']);
  });

  it('lets a cancel during an advance count', () => {
    const clock = new FakeClock();
    let hasRun = false;
    const cancel = clock.after(20, () => {
      hasRun = true;
    });
    clock.after(10, cancel);
    clock.advance(100);
    expect(hasRun).toBe(false);
  });

  it('ends a test whose callbacks never end', () => {
    const clock = new FakeClock();
    const again = (): void => {
      clock.after(0, again);
    };
    again();
    expect(() => clock.advance(1)).toThrow('keeps setting itself');
  });
});
