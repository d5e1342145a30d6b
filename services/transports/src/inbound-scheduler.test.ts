import { describe, expect, test } from 'vitest';
import { InboundScheduler, type InboundWork } from './inbound-scheduler.ts';

function make(unitsPerTurn: number) {
  const later: Array<() => void> = [];
  const defects: unknown[] = [];
  const handled: string[] = [];
  const observer = { defect: (_kind: string, err: unknown) => void defects.push(err) };
  const scheduler = new InboundScheduler(observer, unitsPerTurn, (run) => void later.push(run));
  const endTurn = (): boolean => {
    const due = later.splice(0);
    for (const run of due) run();
    return due.length > 0;
  };
  /** So many portions of so many units, beside the one for each. */
  class Work implements InboundWork {
    isScheduled = false;
    readonly failures: unknown[] = [];
    readonly name: string;
    portions: number;
    readonly units: number;
    constructor(name: string, portions: number, units = 0) {
      this.name = name;
      this.portions = portions;
      this.units = units;
    }
    get hasWork(): boolean {
      return this.portions > 0;
    }
    handlePortion(): void {
      this.portions--;
      handled.push(this.name);
      scheduler.charge(this.units);
    }
    fail(err: unknown): void {
      this.portions = 0;
      this.failures.push(err);
    }
  }
  return { scheduler, endTurn, handled, defects, Work };
}

describe('InboundScheduler', () => {
  test('[WS14] handles so many units in one turn, of one as of all, and each by turns', () => {
    const { scheduler, endTurn, handled, Work } = make(4);
    scheduler.schedule(new Work('a', 6));
    expect(handled.join('')).toBe('aaaa');
    scheduler.schedule(new Work('b', 3));
    scheduler.schedule(new Work('c', 1));
    expect(handled).toHaveLength(4);
    endTurn();
    expect(handled.join('').slice(4)).toBe('abca');
    endTurn();
    expect(handled.join('').slice(8)).toBe('bb');
    endTurn();
    expect(endTurn()).toBe(false);
  });

  test('[WS14] ends a turn after what is expensive', () => {
    const { scheduler, endTurn, handled, Work } = make(4);
    scheduler.schedule(new Work('x', 3, 100));
    scheduler.schedule(new Work('y', 1));
    expect(handled.join('')).toBe('x');
    endTurn();
    // The line goes on where it stopped.
    expect(handled.join('')).toBe('xx');
    endTurn();
    expect(handled.join('')).toBe('xxyx');
  });

  test('[OP12] what one throws costs only that one', () => {
    const { scheduler, endTurn, handled, defects, Work } = make(10);
    const bad = new Work('bad', 3);
    bad.handlePortion = () => {
      throw new Error('a fault');
    };
    const worse = new Work('worse', 3);
    worse.handlePortion = bad.handlePortion;
    worse.fail = () => {
      worse.portions = 0;
      throw new Error('a second fault');
    };
    for (const work of [bad, worse, new Work('good', 2)]) scheduler.schedule(work);
    while (endTurn());
    expect(handled).toEqual(['good', 'good']);
    expect(bad.failures).toHaveLength(1);
    expect(defects).toEqual([new Error('a second fault')]);
  });
});
