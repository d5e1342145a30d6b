import { expect, test } from 'vitest';
import { parseCursor, toPage } from './page.ts';

const rows = [
  { at: 1, id: 'a' },
  { at: 1, id: 'b' },
  { at: 2, id: 'c' },
];
const pageOf = (limit: number) =>
  toPage(
    'things',
    limit,
    rows,
    ({ at, id }) => [at, id],
    ({ id }) => id,
  );

test('a page names the place where the next begins, and the last none', () => {
  const first = pageOf(2);
  expect(first.items).toEqual(['a', 'b']);
  expect(parseCursor('things', ['number', 'string'], first.nextCursor ?? '')).toEqual({ ok: true, value: [1, 'b'] });
  expect(pageOf(3)).toEqual({ items: ['a', 'b', 'c'], nextCursor: null });
});

const cursor = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

test.each([
  ['what is no JSON', 'nonsense'],
  ['a cursor of another list', cursor(['others', 1, 'b'])],
  ['one too long', cursor(['things', 1, 'b', 2])],
  ['one of other kinds', cursor(['things', '1', 'b'])],
  ['a number that is none', '["things",1e400,"b"]'],
  ['a text that Postgres cannot take', cursor(['things', 1, 'b\0'])],
  ['an object', cursor({ length: 3, 0: 'things', 1: 1, 2: 'b' })],
])('%s is refused', (_name, text) => {
  expect(parseCursor('things', ['number', 'string'], text)).toMatchObject({
    ok: false,
    refusal: { code: 'fields_invalid', fields: { cursor: expect.any(String) } },
  });
});
