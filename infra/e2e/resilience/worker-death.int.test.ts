import { expect, onTestFinished, test } from 'vitest';
import type { Program } from '../../testing/program.ts';
import { RedisServer } from '../../testing/redis-server.ts';
import { eventually } from '../cluster/cluster.ts';
import { clientTable, figuresOf, longestAwayMs } from './figures.ts';
import { expectBackWithin, openStarling, openWitnesses, seeThemBack } from './restart.ts';

/** Five seconds are promised where the port is always held; twice that. */
const limitMs = 10_000;
/** Where it is not, a busy machine may make pusher-js pay its own timer of 15 s. */
const portlessLimitMs = 25_000;

async function openWithRedis(): Promise<{ program: Program; env: Record<string, string> }> {
  const redis = await RedisServer.start();
  onTestFinished(() => redis.remove());
  return { program: openStarling(), env: { REDIS_URL: redis.url } };
}

test('[OP9] clients of a worker that is killed come back soon, and those of the other never leave', async () => {
  const { program, env } = await openWithRedis();
  const starling = await program.start({ args: ['--workers', '2'], env });
  const witnesses = await openWitnesses(starling);
  const [, pid = ''] = /"worker":1,"pid":(\d+),"msg":"A worker is ready"/.exec(starling.stdout()) ?? [];
  process.kill(Number(pid), 'SIGKILL');
  await eventually('those it had are back', limitMs, async () => {
    const left = (await figuresOf(witnesses)).filter(({ absences }) => absences.length > 0);
    const isBack = left.every(({ absences }) => absences.every(({ toMs }) => toMs !== undefined));
    return (left.length > 0 && isBack) || `${left.length} have left`;
  });
  const figures = await figuresOf(witnesses);
  console.log(`two workers, one gets SIGKILL\n${clientTable(figures)}`);
  expect(longestAwayMs(figures)).toBeLessThan(limitMs);
  expect(figures.map(({ state }) => state)).toEqual(figures.map(() => 'connected'));
  expect(figures.some(({ absences }) => absences.length === 0)).toBe(true);
});

test('[CL5] clients come back where workers and all get SIGTERM and their successor at once', async () => {
  const { program, env } = await openWithRedis();
  const cwd = program.makeFolder();
  const first = await program.start({ cwd, args: ['--workers', '2'], env });
  const witnesses = await openWitnesses(first);
  first.child.kill('SIGTERM');
  expect(await first.ended).toBe(0);
  const again = { ...env, STARLING_PORT: new URL(first.url).port };
  await program.start({ cwd, args: ['--workers', '2'], env: again });
  const title = 'two workers, all get SIGTERM';
  expectBackWithin(await seeThemBack(title, witnesses, portlessLimitMs), portlessLimitMs);
});
