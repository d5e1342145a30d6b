import { expect, test } from 'vitest';
import { Metrics, mergeMetrics, type TrafficCounts } from './metrics.ts';

const counts = (over: Partial<TrafficCounts> = {}): TrafficCounts => ({
  connections: 0,
  subscriptions: 0,
  connectionsOpened: 0,
  framesIn: 0,
  requestsIn: 0,
  receivedBytes: 0,
  published: 0,
  clientEvents: 0,
  delivered: 0,
  deliveredBytes: 0,
  shareRefusals: 0,
  refusals: new Map(),
  ...over,
});

test('[OP2] shows connections, subscriptions, messages in and out and refusals by rule, per app', async () => {
  const metrics = new Metrics();
  metrics.watchTraffic({
    unknownApp: counts({ refusals: new Map([['app_unknown', 4]]) }),
    byApp: () =>
      new Map([
        ['7', counts({ connections: 2, subscriptions: 3, published: 5, delivered: 15, framesIn: 9 })],
        ['8', counts({ refusals: new Map([['auth_signature', 1]]) })],
      ]),
  });
  const text = await metrics.read();
  expect(text).toContain('starling_connections{app="7"} 2');
  expect(text).toContain('starling_subscriptions{app="7"} 3');
  expect(text).toContain('starling_published_total{app="7"} 5');
  expect(text).toContain('starling_delivered_total{app="7"} 15');
  expect(text).toContain('starling_frames_received_total{app="7"} 9');
  expect(text).toContain('starling_refused_total{app="8",code="auth_signature"} 1');
  expect(text).toContain('starling_refused_total{app="",code="app_unknown"} 4');
  expect(text).toMatch(/^nodejs_eventloop_lag_seconds /m);
  expect(text).toMatch(/^process_resident_memory_bytes /m);
});

test('reads the counts anew each time, and never adds them to those of the last read', async () => {
  const metrics = new Metrics();
  let now = counts({ connections: 5, delivered: 10 });
  metrics.watchTraffic({ unknownApp: counts(), byApp: () => new Map([['7', now]]) });
  await metrics.read();
  now = counts({ connections: 1, delivered: 12 });
  const text = await metrics.read();
  expect(text).toContain('starling_connections{app="7"} 1');
  expect(text).toContain('starling_delivered_total{app="7"} 12');
});

test('two of them in one process do not share anything', async () => {
  const [one, other] = [new Metrics(), new Metrics()];
  one.watchTraffic({ unknownApp: counts(), byApp: () => new Map([['7', counts({ connections: 5 })]]) });
  expect(await other.read()).not.toContain('starling_connections');
});

test('reads a number anew each time: a gauge, or a counter by its name', async () => {
  const metrics = new Metrics();
  const now = { up: 1, cuts: 3 };
  metrics.watchNumber('starling_link_up', 'Whether', () => now.up);
  metrics.watchNumber('starling_link_cuts_total', 'How often', () => now.cuts);
  await metrics.read();
  Object.assign(now, { up: 0, cuts: 4 });
  const text = await metrics.read();
  expect(text).toMatch(/^# TYPE starling_link_up gauge\nstarling_link_up 0$/m);
  expect(text).toMatch(/^# TYPE starling_link_cuts_total counter\nstarling_link_cuts_total 4$/m);
});

test('[OP10] shows the numbers of several processes side by side, each with its own label and none left out', async () => {
  const all = [1, 2].map((worker) => {
    const metrics = new Metrics({ worker: String(worker) });
    metrics.watchTraffic({
      unknownApp: counts(),
      byApp: () => new Map([['7', counts({ connections: 10 * worker, delivered: 5 })]]),
    });
    return metrics;
  });
  const text = await mergeMetrics(await Promise.all(all.map((each) => each.snapshot())));
  expect(text).toContain('starling_connections{app="7",worker="1"} 10\nstarling_connections{app="7",worker="2"} 20\n');
  expect(text).toContain('starling_delivered_total{app="7",worker="2"} 5\n');
  expect(text.match(/^# TYPE starling_connections gauge$/gm)).toHaveLength(1);
  const namesIn = (part: string) => new Set([...part.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
  expect(namesIn(text)).toEqual(namesIn((await all[0]?.read()) ?? ''));
});
