import { describe, expect, test } from 'vitest';
import { habitFaults } from './habits.ts';
import { readSources } from './source.ts';

test('the house keeps its habits', () => {
  expect(habitFaults(readSources(['.ts', '.tsx', '.mjs', '.js']))).toEqual([]);
});

describe('planted faults', () => {
  test.each([
    ['services/api/src/app.ts', 'const port = process.env.PORT;', 'process.env'],
    ['services/api/src/app.ts', "const port = process['env'];", 'process.env'],
    ['services/api/src/app.ts', 'const { env } = process;', 'process.env'],
    ['services/api/src/app.ts', 'let count = 0;', 'a module has no variables'],
    ['services/api/src/app.ts', 'export let count = 0;', 'a module has no variables'],
    ['services/core/src/hub.ts', '  setTimeout(f, 1);', 'time and chance'],
    ['services/core/src/hub.ts', '  const now = Date.now();', 'time and chance'],
    ['services/core/src/hub.ts', '  const now = new Date();', 'time and chance'],
    ['sdk/protocol/src/names.ts', '  return Math.random();', 'time and chance'],
    ['services/api/src/app.ts', '// TODO: later', 'what is unfinished'],
    ['README.md', 'FIXME', 'what is unfinished'],
    ['services/api/src/app.test.ts', "test.only('x', f);", 'only the one test'],
    ['services/api/src/app.test.ts', "describe.skip('x', f);", 'only the one test'],
  ])('in %s: %s', (path, text, fault) => {
    expect(habitFaults([{ path, text: `\n${text}` }])).toEqual([expect.stringMatching(`^${path}:2: ${fault}`)]);
  });

  test.each([
    ['services/runtime/src/config.ts', 'process.env.PORT'],
    ['infra/testing/a.ts', 'process.env.PORT'],
    ['services/api/src/app.ts', '  let count = 0;'],
    ['services/api/src/app.test.ts', 'let count = 0;'],
    ['services/api/src/app.ts', '// process.env is not read here'],
    ['services/api/src/app.ts', "const text = 'process.env';"],
    ['services/core/src/hub.test.ts', '  setTimeout(f, 1);'],
    ['services/core/src/hub.ts', '  return new Date(now);'],
    ['services/adapters/src/system-clock.ts', '  setTimeout(f, 1);'],
    ['services/api/src/app.ts', '// TODO(ab, 2026-01-31): remove when Node 20 is gone'],
    ['services/api/src/app.ts', 'const test = x.only;'],
  ])('not in %s: %s', (path, text) => {
    expect(habitFaults([{ path, text }])).toEqual([]);
  });
});
