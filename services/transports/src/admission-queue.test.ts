import { describe, expect, test } from 'vitest';
import { AdmissionQueue } from './admission-queue.ts';

function make(perTurn: number) {
  const later: Array<() => void> = [];
  const passed: number[] = [];
  const defects: unknown[] = [];
  const observer = { defect: (_kind: string, err: unknown) => void defects.push(err) };
  const queue = new AdmissionQueue(observer, perTurn, (run) => void later.push(run));
  const enter = (from: number, to: number) => {
    for (let each = from; each <= to; each++) expect(queue.enter(() => void passed.push(each))).toBe(true);
  };
  /** The end of a turn: runs what was asked for until now. Says whether there was anything. */
  const endTurn = () => {
    const due = later.splice(0);
    for (const run of due) run();
    return due.length > 0;
  };
  return { queue, enter, endTurn, passed, defects };
}

describe('AdmissionQueue', () => {
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
    const { queue, enter, endTurn, passed } = make(1);
    enter(0, 32_768);
    expect(queue.enter(() => passed.push(-1))).toBe(false);
    while (endTurn());
    expect(passed).toHaveLength(32_769);
    expect(passed.at(-1)).toBe(32_768);
  });

  test('opened, lets all through that wait, and what they bring', () => {
    const { queue, enter, passed } = make(2);
    enter(1, 2);
    queue.enter(() => enter(5, 6));
    enter(3, 4);
    queue.admitAll();
    expect(passed).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('[OP12] goes on behind one that throws, and tells of it', () => {
    const { queue, enter, endTurn, passed, defects } = make(2);
    const fault = new Error('a fault');
    const fail = () => {
      throw fault;
    };
    expect(queue.enter(fail)).toBe(true);
    enter(1, 1);
    expect(queue.enter(fail)).toBe(true);
    enter(2, 3);
    while (endTurn());
    expect(passed).toEqual([1, 2, 3]);
    queue.enter(fail);
    enter(4, 4);
    queue.enter(fail);
    enter(5, 6);
    queue.admitAll();
    expect(passed).toEqual([1, 2, 3, 4, 5, 6]);
    expect(defects).toEqual([fault, fault, fault, fault]);
  });
});
