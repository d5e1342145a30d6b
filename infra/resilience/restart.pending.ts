import { describe, expect, test } from 'vitest';
import { expectBackWithin, openStarling, openWitnesses, seeThemBack } from './restart.ts';

/** Five seconds are promised after SIGTERM; after a kill pusher-js may pay its own timer of 15 s before. Each twice. */
const cases = [
  { signal: 'SIGTERM', limitMs: 10_000 },
  { signal: 'SIGKILL', limitMs: 40_000 },
] as const;

describe.each(['ws', 'all'] as const)('clients with the transports "%s"', (transports) => {
  test.each(cases)('come back to a lone process that gets $signal and has its successor at once', async (each) => {
    const program = openStarling();
    const cwd = program.makeFolder();
    const first = await program.start({ cwd });
    const env = { STARLING_PORT: new URL(first.url).port };
    const witnesses = await openWitnesses(first, transports);
    const beganAtMs = Date.now();
    first.child.kill(each.signal);
    const ended = await first.ended;
    const endedAtMs = Date.now();
    const second = await program.start({ cwd, env });
    const took = `ended after ${endedAtMs - beganAtMs} ms, successor ready ${Date.now() - endedAtMs} ms later`;
    const title = `start alone, ${each.signal}, transports ${transports}: ${took}`;
    const figures = await seeThemBack(title, witnesses, each.limitMs);
    if (each.signal === 'SIGTERM') expect(ended).toBe(0);
    expect(second.child.exitCode).toBe(null);
    expectBackWithin(figures, each.limitMs);
  });
});
