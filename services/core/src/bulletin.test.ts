import { FakeClock, MemoryBroker } from '@starling/adapters/memory';
import { bulletinTopic, type Notice } from '@starling/ports';
import { expect, it } from 'vitest';
import { BrokerBulletin, Hub } from './index.ts';

async function bulletinOf() {
  const problems: string[] = [];
  const observer = {
    notes: false,
    note: () => {},
    problem: (what: string) => void problems.push(what),
    defect: (kind: string) => void problems.push(kind),
  };
  const clock = new FakeClock();
  const broker = new MemoryBroker(clock);
  const hub = new Hub({ broker, clock, observer, nodeId: 'node' });
  hub.start();
  const bulletin = new BrokerBulletin({ broker, hub, observer });
  await bulletin.start();
  return { bulletin, broker, problems };
}

const changed: Notice = { kind: 'app-changed', appId: '1', version: 7 };

it('gives every notice to all who read, the one who posted it too, until they end it', async () => {
  const { bulletin } = await bulletinOf();
  const first: Notice[] = [];
  const second: Notice[] = [];
  const end = bulletin.listen((notice) => first.push(notice));
  bulletin.listen((notice) => second.push(notice));
  await bulletin.post(changed);
  end();
  await bulletin.post({ ...changed, version: 8 });
  expect(first).toEqual([changed]);
  expect(second).toEqual([changed, { ...changed, version: 8 }]);
});

it('reports what is no notice, and goes on reading', async () => {
  const { bulletin, broker, problems } = await bulletinOf();
  const read: Notice[] = [];
  bulletin.listen((notice) => read.push(notice));
  await broker.publish(bulletinTopic, { kind: 'event', payload: Buffer.from('{') });
  await bulletin.post(changed);
  expect(problems).toEqual(['a notice to all nodes cannot be read']);
  expect(read).toEqual([changed]);
});
