import { describe, expect, test } from 'vitest';
import { defaultMost } from './socket-bounds.ts';

describe('[OP16] how many connections a process holds', () => {
  test.each([
    [1_024, 960],
    [65_536, 62_259],
    [1_048_576, 996_147],
    [20, 16],
  ])('with %i open files allowed is %i', (openFiles, most) => {
    expect(defaultMost(openFiles)).toBe(most);
  });
});
