import { expect, it } from 'vitest';
import { every } from './every.ts';

/** Time that stands still until it is told to go on. */
function stopped() {
  const pending: Array<{ readonly delayMs: number; readonly run: () => void }> = [];
  const clock = {
    after(delayMs: number, run: () => void) {
      const entry = { delayMs, run };
      pending.push(entry);
      return () => void (pending.includes(entry) && pending.splice(pending.indexOf(entry), 1));
    },
  };
  return {
    clock,
    delays: () => pending.map(({ delayMs }) => delayMs),
    /** Runs what waits now; true: something did. */
    goOn(): boolean {
      const entry = pending.shift();
      entry?.run();
      return entry !== undefined;
    },
  };
}

/** What awaits, each time, what the one before it has resolved. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await Promise.resolve();
}

const never = () => expect.unreachable('nothing failed');

it('runs after each pause, and asks how long the pause is', () => {
  const { clock, delays, goOn } = stopped();
  const ran: number[] = [];
  let pauseMs = 10;
  const end = every(
    clock,
    () => pauseMs++,
    () => ran.push(ran.length),
    never,
  );
  expect(ran).toEqual([]);
  for (const delayMs of [10, 11, 12]) {
    expect(delays()).toEqual([delayMs]);
    goOn();
  }
  expect(ran).toEqual([0, 1, 2]);
  void end();
  expect(delays()).toEqual([]);
});

it('begins no run while one is under way', async () => {
  const { clock, delays, goOn } = stopped();
  const runs: Array<() => void> = [];
  void every(clock, 10, () => new Promise<void>((resolve) => runs.push(resolve)), never);
  goOn();
  await settle();
  expect(runs).toHaveLength(1);
  expect(delays()).toEqual([]);
  runs[0]?.();
  await settle();
  expect(delays()).toEqual([10]);
});

it.each([
  [
    'throws',
    (err: Error | undefined) => {
      if (err !== undefined) throw err;
    },
  ],
  [
    'rejects',
    async (err: Error | undefined) => {
      if (err !== undefined) throw err;
    },
  ],
])('[OP12] goes on when a run %s, and tells it once until one goes well', async (_how, finish) => {
  const { clock, goOn } = stopped();
  const [first, second, third] = [new Error('first'), new Error('second'), new Error('third')];
  const outcomes = [first, second, undefined, third];
  const told: unknown[] = [];
  void every(
    clock,
    10,
    () => finish(outcomes.shift()),
    (err) => told.push(err),
  );
  while (outcomes.length > 0) {
    expect(goOn()).toBe(true);
    await settle();
  }
  expect(told).toEqual([first, third]);
  expect(goOn()).toBe(true);
});

it('its end waits for the run under way, and no other follows', async () => {
  const { clock, delays, goOn } = stopped();
  const runs: Array<() => void> = [];
  const end = every(clock, 10, () => new Promise<void>((resolve) => runs.push(resolve)), never);
  goOn();
  let isOver = false;
  const ended = end().then(() => {
    isOver = true;
  });
  await settle();
  expect(isOver).toBe(false);
  runs[0]?.();
  await ended;
  expect(delays()).toEqual([]);
  expect(runs).toHaveLength(1);
});
