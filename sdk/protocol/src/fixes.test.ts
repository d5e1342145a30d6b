import { describe, expect, it } from 'vitest';
import { fixes, type Problem, problems } from './index.ts';

const numbered = Object.entries(problems as Record<string, Problem>).flatMap(([code, { number }]) =>
  number === null ? [] : [{ code, number }],
);

describe('what to do about a problem', () => {
  it.each(numbered)('is said for $number, which $code has', ({ number }) => {
    expect(fixes[number]?.fix).toMatch(/^[A-Z].*\.$/);
  });

  it('is named as the row, where only one has the number', () => {
    for (const { code, number } of numbered) {
      if (numbered.filter((each) => each.number === number).length === 1) expect(fixes[number]?.code).toBe(code);
    }
  });
});
