import { describe, expect, test } from 'vitest';
import { expectBackWithin, openStarling, openWitnesses, seeThemBack } from './restart.ts';

/**
 * A second or two is usual, and five are promised. On a machine so busy that the successor does not open its port within a
 * second, pusher-js pays its own timer of 15 s; before the order of the stop was this, it took 28, and some never returned.
 */
const limitMs = 25_000;

describe('clients', () => {
  test.each([
    { transports: 'ws', signal: 'SIGTERM' },
    { transports: 'ws', signal: 'SIGKILL' },
    { transports: 'all', signal: 'SIGTERM' },
  ] as const)('[CL5] [OP21] come back to a lone process that gets $signal, by transports $transports', async (each) => {
    const { transports, signal } = each;
    const program = openStarling();
    const cwd = program.makeFolder();
    const first = await program.start({ cwd });
    const env = { STARLING_PORT: new URL(first.url).port };
    const witnesses = await openWitnesses(first, transports);
    const beganAtMs = Date.now();
    first.child.kill(signal);
    const ended = await first.ended;
    const endedAtMs = Date.now();
    const second = await program.start({ cwd, env });
    const took = `ended after ${endedAtMs - beganAtMs} ms, successor ready ${Date.now() - endedAtMs} ms later`;
    const title = `start alone, ${signal}, transports ${transports}: ${took}`;
    const figures = await seeThemBack(title, witnesses, limitMs);
    if (signal === 'SIGTERM') expect(ended).toBe(0);
    expect(second.child.exitCode).toBe(null);
    expectBackWithin(figures, limitMs);
  });
});
