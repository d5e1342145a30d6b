import { expect, test } from 'vitest';
import { mutated, mutationsOf } from './mutations.ts';

const source = `import { a && b } from 'c';
/** Not a && b. */
export interface A {
  readonly isOpen: true;
}
export function f(count: number): string {
  // Not here: a < b.
  if (count < 3 && text !== 'a && b') return;
  this.#open.delete(count);
  return 'x';
}
`;

test('code is changed, one place at a time, and neither comments, types, imports nor strings', () => {
  expect(mutationsOf(source).map(({ line, after }) => `${line}: ${after.trim()}`)).toEqual([
    "8: if (count < 3 && text === 'a && b') return;",
    "8: if (count < 3 || text !== 'a && b') return;",
    "8: if (count <= 3 && text !== 'a && b') return;",
    "8: if (!count < 3 && text !== 'a && b') return;",
    "8: if (count < 3 && text !== 'a && b') ;",
    '9: ;',
  ]);
});

test('a mutation changes one line', () => {
  const [first] = mutationsOf(source);
  const changed = mutated(source, first ?? expect.unreachable());
  const lines = changed.split('\n').filter((line, index) => line !== source.split('\n')[index]);
  expect(lines).toEqual(["  if (count < 3 && text === 'a && b') return;"]);
});
