import { expect, it } from 'vitest';
import { isNestedDeeper } from './nesting.ts';

const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);

it.each([
  [nested(32), 32, false],
  [nested(33), 32, true],
  ['['.repeat(33), 32, true],
  [`{"a":${nested(31)}}`, 32, false],
  [`{"a":${nested(32)}}`, 32, true],
  [`[${nested(31)},${nested(31)}]`, 32, false],
  [JSON.stringify(['['.repeat(1_000)]), 32, false],
  [JSON.stringify(['"['.repeat(1_000)]), 32, false],
  [JSON.stringify(['\\"['.repeat(1_000), '\\']), 32, false],
  [`["\\\\",${nested(32)}]`, 32, true],
  [`["\\\\\\"",${nested(32)}]`, 32, true],
  [`["${'['.repeat(100)}`, 32, false],
  ['', 0, false],
  ['[]', 0, true],
  ['1', 0, false],
])('[FR8] tells nested text from flat: %j deeper than %i: %s', (text, depth, expected) => {
  expect(isNestedDeeper(text, depth)).toBe(expected);
});

it('[FR8] agrees with a parse, whatever the JSON', ({ task: _ }) => {
  const depthOf = (value: unknown): number =>
    typeof value !== 'object' || value === null
      ? 0
      : 1 + Math.max(0, ...Object.entries(value).flatMap(([, item]) => [depthOf(item)]));
  let seed = 7;
  const next = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return seed % below;
  };
  const make = (depth: number): unknown => {
    if (depth === 0 || next(5) === 0) return ['"', '\\', '[{', ']}', '\\"', 7, null, true, 'é\u2028'][next(9)];
    const items = Array.from({ length: next(4) }, () => make(depth - 1));
    return next(2) === 0 ? items : Object.fromEntries(items.map((item, index) => [`"{${index}\\`, item]));
  };
  for (let round = 0; round < 3_000; round++) {
    const value = make(6);
    const text = JSON.stringify(value, null, next(3));
    const depth = depthOf(value);
    expect(isNestedDeeper(text, depth), text).toBe(false);
    if (depth > 0) expect(isNestedDeeper(text, depth - 1), text).toBe(true);
  }
});
