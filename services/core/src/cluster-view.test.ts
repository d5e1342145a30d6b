import { FakeClock, MemoryNodeDirectory } from '@starling/adapters/memory';
import type { NodeDirectory } from '@starling/ports';
import { reportOf } from '@starling/ports/contract';
import { expect, it } from 'vitest';
import { ClusterView, Traffic } from './index.ts';

function clusterViewOf(
  wrap: (directory: NodeDirectory) => NodeDirectory = (directory) => directory,
  more: { readonly startedBy?: string } = {},
) {
  const clock = new FakeClock(1_000_000);
  const directory = new MemoryNodeDirectory(clock);
  const traffic = new Traffic();
  const problems: string[] = [];
  const observer = {
    notes: false,
    note: () => {},
    problem: (what: string) => void problems.push(what),
    defect: (kind: string) => void problems.push(kind),
  };
  const about = {
    nodeId: 'me',
    host: 'h',
    parts: ['edge'],
    version: '1',
    startedAt: 5,
    memoryBytes: () => 77,
    ...more,
  };
  const clusterView = new ClusterView({ directory: wrap(directory), traffic, clock, observer, about });
  /** Lets the answers that are there already be taken. */
  const settle = () => new Promise<void>((resolve) => setImmediate(resolve));
  return { clusterView, clock, directory, traffic, problems, settle };
}

it('tells of itself at once and every few seconds, and is gone when it stops', async () => {
  const { clusterView, clock, directory, traffic, settle } = clusterViewOf();
  traffic.of('1').opened();
  const stop = clusterView.start();
  await settle();
  const minute = {
    at: 960_000,
    peakConnections: 1,
    messagesIn: 0,
    bytesIn: 0,
    messagesOut: 0,
    bytesOut: 0,
    refused: 0,
  };
  const apps = [{ appId: '1', connections: 1, subscriptions: 0, minutes: [minute] }];
  const mine = {
    nodeId: 'me',
    host: 'h',
    parts: ['edge'],
    version: '1',
    startedAt: 5,
    uptimeSeconds: 0,
    memoryBytes: 77,
  };
  expect(await directory.nodes()).toEqual([{ ...mine, connections: 1, apps }]);
  expect(clusterView.nodes).toHaveLength(1);
  traffic.of('1').opened();
  // Not by the wall clock, which may be set.
  clock.stepWall(3_600_000);
  for (let time = 0; time < 10; time++) {
    clock.advance(5_500);
    await settle();
  }
  const [last] = await directory.nodes();
  expect(last?.connections).toBe(2);
  // As old as the last report, at most six seconds less.
  expect(last?.uptimeSeconds).toBeGreaterThanOrEqual(49);
  expect(last?.uptimeSeconds).toBeLessThanOrEqual(55);
  await stop();
  expect(await directory.nodes()).toEqual([]);
  clock.advance(60_000);
  await settle();
  expect(await directory.nodes()).toEqual([]);
});

it("adds up an app's connections on the others, and leaves out its own", async () => {
  const { clusterView, clock, directory, traffic, settle } = clusterViewOf();
  const on = (connections: number) => [{ appId: '1', connections, subscriptions: 0, minutes: [] }];
  traffic.of('1').opened();
  await directory.report(reportOf('a', { apps: on(3) }));
  await directory.report(reportOf('b', { apps: on(4) }));
  clusterView.start();
  await settle();
  expect(clusterView.connectionsElsewhere('1')).toBe(7);
  expect(clusterView.connectionsElsewhere('2')).toBe(0);
  clock.advance(15_000);
  await settle();
  clock.advance(5_500);
  await settle();
  expect(clusterView.connectionsElsewhere('1')).toBe(0);
});

it('says once that the directory is away, goes on trying, and knows nothing old', async () => {
  let isAway = false;
  const { clusterView, clock, directory, problems, settle } = clusterViewOf((inner) => ({
    report: async (report) => (isAway ? Promise.reject(new Error('away')) : inner.report(report)),
    remove: (nodeId) => inner.remove(nodeId),
    nodes: () => inner.nodes(),
  }));
  await directory.report(reportOf('a', { apps: [{ appId: '1', connections: 3, subscriptions: 0, minutes: [] }] }));
  clusterView.start();
  await settle();
  isAway = true;
  for (let time = 0; time < 4; time++) {
    clock.advance(5_500);
    await settle();
  }
  expect(problems).toHaveLength(1);
  expect(clusterView.nodes).toEqual([]);
  expect(clusterView.connectionsElsewhere('1')).toBe(0);
  isAway = false;
  clock.advance(5_500);
  await settle();
  expect(clusterView.nodes.map(({ nodeId }) => nodeId)).toContain('me');
});

it.each([
  { others: [], has: false },
  { others: [reportOf('edge', { parts: ['edge'] })], has: true },
  { others: [reportOf('api', { parts: ['api'] })], has: false },
  { others: [reportOf('stopping', { parts: ['edge'], isStopping: true })], has: false },
  { others: [reportOf('sibling', { parts: ['edge'], startedBy: 'us' })], has: false },
  { others: [reportOf('cousin', { parts: ['edge'], startedBy: 'them' })], has: true },
])('[CL5] knows whether another node takes its connections: $others.0.nodeId', async ({ others, has }) => {
  const { clusterView, directory } = clusterViewOf((inner) => inner, { startedBy: 'us' });
  for (const other of others) await directory.report(other);
  await clusterView.tellStopping();
  expect(await directory.nodes()).toContainEqual(expect.objectContaining({ nodeId: 'me', isStopping: true }));
  expect(await clusterView.hasSuccessor(1_000)).toBe(has);
});

it('[CL5] goes by what it knew where the directory does not answer whether another node takes its connections', async () => {
  let isAway = false;
  const never = new Promise<never>(() => {});
  const { clusterView, clock, directory, settle } = clusterViewOf((inner) => ({
    report: (report) => (isAway ? never : inner.report(report)),
    remove: (nodeId) => inner.remove(nodeId),
    nodes: () => (isAway ? never : inner.nodes()),
  }));
  await directory.report(reportOf('edge', { parts: ['edge'] }));
  clusterView.start();
  await settle();
  isAway = true;
  const asked = clusterView.hasSuccessor(1_000);
  clock.advance(1_000);
  expect(await asked).toBe(true);
  clock.advance(20_000);
  expect(clusterView.hadSuccessor).toBe(false);
});
