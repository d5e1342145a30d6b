import { describe, expect, test } from 'vitest';
import { Turnstile } from './turnstile.ts';

function make(perTurn: number) {
  const later: Array<() => void> = [];
  const passed: number[] = [];
  const turnstile = new Turnstile(perTurn, (run) => void later.push(run));
  const enter = (from: number, to: number) => {
    for (let each = from; each <= to; each++) expect(turnstile.enter(() => void passed.push(each))).toBe(true);
  };
  /** The end of a turn: runs what was asked for until now. Says whether there was anything. */
  const endTurn = () => {
    const due = later.splice(0);
    for (const run of due) run();
    return due.length > 0;
  };
  return { turnstile, enter, endTurn, passed };
}

describe('Turnstile', () => {
  test('lets few through at once', () => {
    const { enter, passed } = make(3);
    enter(1, 3);
    expect(passed).toEqual([1, 2, 3]);
  });

  test('[OP11] lets so many through in each turn, in order, whoever comes meanwhile behind them', () => {
    const { enter, endTurn, passed } = make(3);
    enter(1, 7);
    expect(passed).toEqual([1, 2, 3]);
    endTurn();
    expect(passed).toEqual([1, 2, 3, 4, 5, 6]);
    enter(8, 9);
    expect(passed).toHaveLength(6);
    endTurn();
    expect(passed).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    endTurn();
    expect(endTurn()).toBe(false);
    enter(10, 12);
    expect(passed).toHaveLength(12);
  });

  test('counts what comes at the beginning of a turn together with what had waited for it', () => {
    const { enter, endTurn, passed } = make(3);
    enter(1, 5);
    endTurn();
    expect(passed).toHaveLength(5);
    enter(6, 8);
    expect(passed).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('refuses what comes when too many wait, and keeps those', () => {
    const { turnstile, enter, endTurn, passed } = make(1);
    enter(0, 32_768);
    expect(turnstile.enter(() => passed.push(-1))).toBe(false);
    while (endTurn());
    expect(passed).toHaveLength(32_769);
    expect(passed.at(-1)).toBe(32_768);
  });

  test('opened, lets all through that wait, and what they bring', () => {
    const { turnstile, enter, passed } = make(2);
    enter(1, 2);
    turnstile.enter(() => enter(5, 6));
    enter(3, 4);
    turnstile.open();
    expect(passed).toEqual([1, 2, 3, 4, 5, 6]);
  });
});
