import { FakeClock, MemoryBroker } from '@starling/adapters/memory';
import { type ControlMessage, controlTopic } from '@starling/ports';
import { expect, it } from 'vitest';
import { BrokerControlBus, Hub } from './index.ts';

async function controlBusOf() {
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
  const controlBus = new BrokerControlBus({ broker, hub, observer });
  await controlBus.start();
  return { controlBus, broker, problems };
}

const changed: ControlMessage = { kind: 'app-changed', appId: '1', version: 7 };

it('gives every control message to all who read, the one who posted it too, until they end it', async () => {
  const { controlBus } = await controlBusOf();
  const first: ControlMessage[] = [];
  const second: ControlMessage[] = [];
  const end = controlBus.listen((controlMessage) => first.push(controlMessage));
  controlBus.listen((controlMessage) => second.push(controlMessage));
  await controlBus.post(changed);
  end();
  await controlBus.post({ ...changed, version: 8 });
  expect(first).toEqual([changed]);
  expect(second).toEqual([changed, { ...changed, version: 8 }]);
});

it('reports what is no control message, and goes on reading', async () => {
  const { controlBus, broker, problems } = await controlBusOf();
  const read: ControlMessage[] = [];
  controlBus.listen((controlMessage) => read.push(controlMessage));
  await broker.publish(controlTopic, { kind: 'event', payload: Buffer.from('{') });
  await controlBus.post(changed);
  expect(problems).toEqual(['a control message to all nodes cannot be read']);
  expect(read).toEqual([changed]);
});
