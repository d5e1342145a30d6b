import { describe, expect, test } from 'vitest';
import { realClocks } from './clocks.ts';
import { habitFaults } from './habits.ts';
import { code, readSources } from './source.ts';

test('what may read a clock is there, and reads one', () => {
  const files = new Map(readSources(['.ts', '.js']).map(({ path, text }) => [path, code(text, 'blank')]));
  const idle = (paths: Iterable<string>, pattern: RegExp) =>
    [...paths].filter((path) => !pattern.test(files.get(path) ?? ''));
  expect(idle(realClocks.keys(), /\bDate\b|\bperformance\b/)).toEqual([]);
});

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
    ['services/core/src/hub.ts', '  const now = Date.now();', 'the wall clock'],
    ['services/core/src/hub.ts', '  const now = new Date();', 'the wall clock'],
    ['sdk/protocol/src/names.ts', '  return Math.random();', 'time and chance'],
    ['services/api/src/app.ts', 'const at = Date.now();', 'the wall clock'],
    ['services/adapters/src/memory/broker.ts', 'const at = new Date();', 'the wall clock'],
    ['services/adapters/src/memory/broker.ts', 'const at = +new Date;', 'the wall clock'],
    ['sdk/client/src/tokens.ts', 'const text = Date();', 'the wall clock'],
    ['services/runtime/src/workers.ts', 'const read = Date.now;', 'the wall clock'],
    ['services/control/src/use.ts', 'const { now } = Date;', 'the wall clock'],
    ['services/adapters/src/redis/feed.ts', 'const at = performance.now();', 'the monotonic clock'],
    ['services/transports/src/ws/ws.ts', 'const at = process.hrtime.bigint();', 'the monotonic clock'],
    ['services/adapters/src/redis/reconciler.ts', 'const at = this.#deps.clock.now();', 'now()'],
    ['services/core/src/outbox.ts', 'this.stalledAt = flusher.clock.now();', 'now()'],
    ['services/api/src/app.ts', 'const { now } = deps.clock;', 'now()'],
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
    ['services/adapters/src/system-clock.ts', 'return Date.now();'],
    ['services/adapters/src/redis/feed.ts', 'const at = this.#deps.clock.elapsed();'],
    ['services/adapters/src/redis/feed.ts', 'const date = new Date(atMs); const key = toDate(1);'],
    ['services/adapters/src/redis/feed.test.ts', 'const at = Date.now() + performance.now();'],
    ['services/runtime/src/workers.ts', 'const at = performance.now();'],
    ['services/control/src/use.ts', 'const at = new Date(clock.now());'],
    ['services/core/src/token.ts', 'verify(app, text, clock.now());'],
    ['infra/bench/run.ts', 'const at = Date.now();'],
    ['services/api/src/app.ts', '// TODO(ab, 2026-01-31): remove when Node 20 is gone'],
    ['services/api/src/app.ts', 'const test = x.only;'],
  ])('not in %s: %s', (path, text) => {
    expect(habitFaults([{ path, text }])).toEqual([]);
  });
});
