import { FakeClock } from '@starling/adapters/memory';
import { expect, test } from 'vitest';
import { Turns } from './turns.ts';

/** Requests that take a millisecond each, in the order in which they ran; a turn of the loop is over when a test says so. */
function openTurns() {
  const clock = new FakeClock();
  const ran: string[] = [];
  let soon: (() => void)[] = [];
  const turns = new Turns(clock, (run) => soon.push(run));
  return {
    clock,
    ran,
    turns,
    send: (app: string, count: number, tookMs = 1) =>
      Array.from({ length: count }, () =>
        turns.run(app, async () => {
          clock.advance(tookMs);
          ran.push(app);
          return app;
        }),
      ),
    nextTurn: async () => {
      const due = soon;
      soon = [];
      ran.length = 0;
      for (const run of due) run();
      await new Promise((resolve) => setImmediate(resolve));
    },
    isQuiet: () => soon.length === 0,
  };
}

test('[LI19] signed requests that come at once run for so much time of a turn of the loop, the others in later turns', async () => {
  const { ran, send, nextTurn, isQuiet } = openTurns();
  const all = send('app', 25);
  expect(ran).toHaveLength(10);
  await nextTurn();
  expect(ran).toHaveLength(10);
  await nextTurn();
  expect(ran).toHaveLength(5);
  expect(await Promise.all(all)).toHaveLength(25);
  await nextTurn();
  expect(isQuiet()).toBe(true);
  send('app', 3);
  expect(ran).toHaveLength(3);
});

test('[LI19] of those that wait the apps go round: one that sent a thousand waits for its own', async () => {
  const { ran, send, nextTurn } = openTurns();
  send('flood', 1_000);
  send('calm', 2);
  send('other', 1);
  await nextTurn();
  expect(ran.slice(0, 6)).toEqual(['flood', 'calm', 'other', 'flood', 'calm', 'flood']);
  send('calm', 1);
  await nextTurn();
  expect(ran.slice(0, 3)).toEqual(['flood', 'calm', 'flood']);
});

test('[LI19] a request that takes longer than a turn runs alone in it', async () => {
  const { ran, send, nextTurn } = openTurns();
  send('app', 3, 50);
  expect(ran).toHaveLength(1);
  await nextTurn();
  expect(ran).toHaveLength(1);
  await nextTurn();
  expect(ran).toHaveLength(1);
});

test('[LI19] what a request does between waits that end at once belongs to its turn', async () => {
  const { clock, ran, turns, send, nextTurn } = openTurns();
  send('app', 10);
  const inSteps = async () => {
    for (let step = 0; step < 50; step++) {
      await undefined;
      clock.advance(1);
    }
    ran.push('steps');
  };
  for (let count = 0; count < 3; count++) void turns.run('app', inSteps);
  await nextTurn();
  expect(ran).toEqual(['steps']);
});

test('a request that fails costs no other its turn', async () => {
  const { ran, turns, send, nextTurn } = openTurns();
  send('app', 10);
  const failing = turns.run('app', () => Promise.reject(new Error('planned')));
  send('app', 1);
  const failed = expect(failing).rejects.toThrow('planned');
  await nextTurn();
  await failed;
  expect(ran).toEqual(['app']);
});
