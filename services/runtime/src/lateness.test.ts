import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openLateness } from './lateness.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A loop that is held up: its clock goes on, and its timers do not run. */
function heldLoop() {
  let heldMs = 0;
  const lateness = openLateness(() => performance.now() + heldMs);
  return {
    lateness,
    hold: (durationMs: number) => {
      heldMs += durationMs;
    },
  };
}

test('is nothing while every timer runs when it is due', () => {
  const { lateness } = heldLoop();
  vi.advanceTimersByTime(1_000);
  expect(lateness.read()).toBe(0);
  expect(lateness.read()).toBe(0);
  lateness.close();
  expect(vi.getTimerCount()).toBe(0);
});

test('is the mean of how late they ran, and is forgotten once told', () => {
  const { lateness, hold } = heldLoop();
  vi.advanceTimersByTime(50);
  hold(300);
  vi.advanceTimersByTime(50);
  vi.advanceTimersByTime(50);
  expect(lateness.read()).toBe(100);
  vi.advanceTimersByTime(500);
  expect(lateness.read()).toBe(0);
  lateness.close();
});

test('counts what is overdue when it is asked, so that one long turn is not lost', () => {
  const { lateness, hold } = heldLoop();
  vi.advanceTimersByTime(10);
  hold(1_040);
  expect(lateness.read()).toBe(1_000);
  vi.advanceTimersByTime(100);
  expect(lateness.read()).toBe(0);
  lateness.close();
});
