import { expect, it } from 'vitest';
import { type Lane, Turns } from './turns.ts';

const [known, stranger] = (['known', 'stranger'] as const).map(
  (kind) =>
    (name: string): Lane => ({ kind, name }),
) as [(name: string) => Lane, (name: string) => Lane];

/** Turns whose work ends when it is told to; the first is under way, so that all that come later wait. */
function start() {
  const turns = new Turns();
  const begun: string[] = [];
  const ends: Array<() => void> = [];
  const refused: Array<{ readonly name: string; readonly code: unknown }> = [];
  const ask = (lane: Lane): void => {
    turns
      .run(lane, () => {
        begun.push(lane.name);
        return new Promise<void>((resolve) => ends.push(resolve));
      })
      .catch((err: { code: unknown }) => refused.push({ name: lane.name, code: err.code }));
  };
  ask(known('first'));
  return {
    begun,
    refused,
    ask,
    /** Ends what is under way, again and again, until nothing waits. */
    drain: async () => {
      for (let end = ends.shift(); end !== undefined; end = ends.shift()) {
        end();
        // What comes next begins in the turns of the microtasks that follow.
        await new Promise(setImmediate);
      }
    },
  };
}

it('[AU20] lets few wait from one place', async () => {
  const { ask, begun, refused, drain } = start();
  for (let each = 0; each < 10; each++) ask(stranger('one place'));
  ask(stranger('another'));
  await drain();
  expect(refused).toEqual(Array.from({ length: 6 }, () => ({ name: 'one place', code: 'rate_limited' })));
  expect(begun).toEqual(['first', 'one place', 'another', 'one place', 'one place', 'one place']);
});

it('[AU20] gives known people every second turn, however many strangers wait', async () => {
  const { ask, begun, refused, drain } = start();
  for (let place = 0; place < 100; place++) ask(stranger(`place ${place}`));
  for (const name of ['ada', 'bob']) ask(known(name));
  await drain();
  expect(begun.slice(0, 5)).toEqual(['first', 'place 0', 'ada', 'place 1', 'bob']);
  expect(begun.filter((name) => name.startsWith('place'))).toHaveLength(64);
  expect(refused).toHaveLength(36);
  expect(refused[0]).toEqual({ name: 'place 64', code: 'unavailable' });
});

it('[AU20] makes room for somebody new where others have more than one turn to wait for', async () => {
  const { ask, begun, refused, drain } = start();
  for (let each = 0; each < 64; each++) ask(stranger(`place ${each % 16}`));
  ask(stranger('somebody new'));
  await drain();
  expect(begun).toContain('somebody new');
  expect(begun).toHaveLength(65);
  expect(refused).toEqual([{ name: 'place 0', code: 'unavailable' }]);
});

it('goes on after work that failed', async () => {
  const turns = new Turns();
  await expect(turns.run(known('a'), () => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
  expect(await turns.run(known('a'), async () => 7)).toBe(7);
});
