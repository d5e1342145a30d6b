/** What every clock must do: the machine's, and the one that tests move. */
import { describe, expect, it } from 'vitest';
import { type Clock, msSince } from '../index.ts';

export interface ClockFixture {
  readonly clock: Clock;
  /** Moves a fake clock so far; nothing for a clock that moves by itself. */
  drive(durationMs: number): void;
}

export function clockContract(name: string, make: () => ClockFixture): void {
  describe(`${name} as a clock`, () => {
    /** Resolves when `after` has run. */
    const passed = ({ clock, drive }: ClockFixture, delayMs: number): Promise<void> => {
      const run = new Promise<void>((resolve) => {
        clock.after(delayMs, resolve);
        // An unreferenced timer may be all that the process waits for.
        const alive = setTimeout(() => undefined, delayMs + 10_000);
        clock.after(delayMs, () => clearTimeout(alive));
      });
      drive(delayMs + 10);
      return run;
    };

    it('counts milliseconds since 1970', () => {
      const { clock } = make();
      expect(clock.now()).toBeGreaterThan(Date.UTC(2025, 0, 1));
      expect(clock.now()).toBeLessThan(Date.UTC(2125, 0, 1));
    });

    it('measures by a time of its own, which only goes on', async () => {
      const fixture = make();
      const { clock } = fixture;
      const start = clock.elapsed();
      // Taken for the time since 1970 it would be of long ago.
      expect(start).toBeGreaterThan(0);
      expect(start).toBeLessThan(Date.UTC(2000, 0, 1));
      await passed(fixture, 5);
      expect(msSince(start, clock)).toBeGreaterThanOrEqual(5);
    });

    it('runs once, and no sooner than asked', async () => {
      const fixture = make();
      const { clock } = fixture;
      for (const delayMs of [0, 1, 2, 3, 5, 8, 13, 20]) {
        const start = clock.elapsed();
        let runs = 0;
        let ranAfterMs = 0;
        clock.after(delayMs, () => {
          runs++;
          ranAfterMs = msSince(start, clock);
        });
        await passed(fixture, delayMs + 5);
        expect(runs).toBe(1);
        expect(ranAfterMs).toBeGreaterThanOrEqual(delayMs);
      }
    });

    it('runs nothing during the call, even without delay', async () => {
      const fixture = make();
      let hasRun = false;
      fixture.clock.after(0, () => {
        hasRun = true;
      });
      fixture.clock.after(-5, () => undefined);
      expect(hasRun).toBe(false);
      await passed(fixture, 5);
      expect(hasRun).toBe(true);
    });

    it('runs what is due earlier first', async () => {
      const fixture = make();
      const order: number[] = [];
      for (const delayMs of [30, 10, 20]) fixture.clock.after(delayMs, () => order.push(delayMs));
      await passed(fixture, 40);
      expect(order).toEqual([10, 20, 30]);
    });

    it('does not run what was cancelled; cancelling late or twice does nothing', async () => {
      const fixture = make();
      const ran: string[] = [];
      const cancelled = fixture.clock.after(5, () => ran.push('cancelled'));
      const kept = fixture.clock.after(5, () => ran.push('kept'));
      cancelled();
      cancelled();
      await passed(fixture, 15);
      kept();
      expect(ran).toEqual(['kept']);
    });

    it('does not run a delay of a month at once', async () => {
      const fixture = make();
      let hasRun = false;
      const cancel = fixture.clock.after(31 * 86_400_000, () => {
        hasRun = true;
      });
      await passed(fixture, 10);
      cancel();
      expect(hasRun).toBe(false);
    });

    it('runs soon what was asked to run soon: after this turn, in order, each once', async () => {
      const fixture = make();
      const order: string[] = [];
      fixture.clock.soon(() => order.push('first'));
      fixture.clock.soon(() => order.push('second'));
      order.push('this turn');
      await Promise.resolve();
      order.push('its promises');
      await passed(fixture, 5);
      expect(order).toEqual(['this turn', 'its promises', 'first', 'second']);
    });
  });
}
