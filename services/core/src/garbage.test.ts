/** Bytes that no node of ours wrote, on everything that a node reads from the broker. */
import {
  type BrokerMessage,
  type ControlMessage,
  channelTopic,
  controlTopic,
  debugTopic,
  parseControlMessage,
  parseNodeReport,
  probeTopic,
  type Topic,
  userTopic,
  watchTopic,
} from '@starling/ports';
import { reportOf } from '@starling/ports/contract';
import { expect, it } from 'vitest';
import { fuzzInTurn, type Random, seedsOf } from '../../../infra/testing/random.ts';
import { parseDebugEntry } from './debug.ts';
import { BrokerControlBus, type DebugEntry, DebugTap, DebugWatch, inspectChannel } from './index.ts';
import { createWorld } from './world.test-kit.ts';

async function nodeThatReads() {
  const world = createWorld();
  const { broker, clock, hub } = world;
  const defects: unknown[] = [];
  const observer = {
    notes: false,
    note: () => {},
    problem: (what: string) => void world.problems.push({ what }),
    defect: (kind: string, err: unknown) => void defects.push([kind, err]),
  };
  const controlBus = new BrokerControlBus({ broker, hub, observer });
  await controlBus.start();
  const controlMessages: ControlMessage[] = [];
  controlBus.listen((controlMessage) => controlMessages.push(controlMessage));
  new DebugTap(observer, { clock, nodeId: 'node' }).start({ broker, controlBus });
  const entries: DebugEntry[] = [];
  await new DebugWatch({ hub, controlBus, clock, observer }).watch('1001', (entry) => void entries.push(entry));
  return { ...world, controlBus, controlMessages, entries, defects };
}

it.each(['null', '0', '"x"', '[]', '{}', '{"kind":null}', '{"kind":"app-changed"}', '{', ''])(
  '[OP13] a control message %s is told and dropped, and the next is read',
  async (text) => {
    const { broker, controlBus, controlMessages, problems } = await nodeThatReads();
    controlMessages.length = 0;
    await broker.publish(controlTopic, { kind: 'event', payload: Buffer.from(text) });
    expect(problems.map(({ what }) => what)).toEqual(['a control message to all nodes cannot be read']);
    await controlBus.post({ kind: 'app-changed', appId: '1', version: 7 });
    expect(controlMessages).toEqual([{ kind: 'app-changed', appId: '1', version: 7 }]);
  },
);

it('[OP13] passes over a control message of a newer node in silence, and over fields that it does not know', async () => {
  const { broker, controlMessages, problems } = await nodeThatReads();
  controlMessages.length = 0;
  const say = (controlMessage: object) =>
    broker.publish(controlTopic, { kind: 'event', payload: Buffer.from(JSON.stringify(controlMessage)) });
  await say({ kind: 'app-renamed', name: { any: 'thing' } });
  await say({ kind: 'app-watched', appId: '5', reason: 'new' });
  expect(controlMessages).toEqual([{ kind: 'app-watched', appId: '5' }]);
  expect(problems).toEqual([]);
});

it('[OP12] a reader of control messages that throws costs no other reader its message', async () => {
  const { controlBus, controlMessages, defects } = await nodeThatReads();
  controlMessages.length = 0;
  controlBus.listen(() => {
    throw new Error('read');
  });
  const last: ControlMessage[] = [];
  controlBus.listen((controlMessage) => last.push(controlMessage));
  await controlBus.post({ kind: 'app-watched', appId: '1' });
  expect([controlMessages.length, last.length, defects.length]).toEqual([1, 1, 1]);
});

it('[OP13] a message is not larger, nor deeper, than one of ours can be', () => {
  const controlMessage = (extra: unknown) => Buffer.from(JSON.stringify({ kind: 'app-watched', appId: '1', extra }));
  expect(parseControlMessage(controlMessage('x'.repeat(100)))).toMatchObject({ kind: 'app-watched' });
  expect(parseControlMessage(controlMessage('x'.repeat(5_000)))).toBe('malformed');
  const accessChanged = (userId: unknown) =>
    parseControlMessage(Buffer.from(JSON.stringify({ kind: 'access-changed', userId })));
  expect(accessChanged('usr_1')).toEqual({ kind: 'access-changed', userId: 'usr_1' });
  expect(accessChanged(null)).toEqual({ kind: 'access-changed', userId: null });
  for (const userId of [7, 'x'.repeat(65), undefined, {}]) expect(accessChanged(userId)).toBe('malformed');
  const pit = `${'['.repeat(40)}${']'.repeat(40)}`;
  expect(parseControlMessage(Buffer.from(`{"kind":"app-watched","appId":"1","extra":${pit}}`))).toBe('malformed');
  const entry = { at: 1, nodeId: 'n', what: 'w', data: 'x'.repeat(70_000) };
  expect(parseDebugEntry(Buffer.from(JSON.stringify(entry)))).toBeUndefined();
});

it('[OP13] a report of a node is read whole, or not at all', () => {
  const whole = reportOf('a', {
    apps: [{ appId: '1', connections: 1, subscriptions: 2, minutes: [], keyUses: { k: 3 } }],
  });
  expect(parseNodeReport(JSON.stringify(whole))).toEqual(whole);
  const wrong = [
    null,
    [],
    { ...whole, nodeId: 7 },
    { ...whole, connections: -1 },
    { ...whole, parts: 'edge' },
    { ...whole, apps: null },
    { ...whole, apps: [null] },
    { ...whole, apps: [{ ...whole.apps[0], minutes: [{}] }] },
    { ...whole, apps: [{ ...whole.apps[0], keyUses: [] }] },
  ];
  for (const report of wrong) expect(parseNodeReport(JSON.stringify(report))).toBeUndefined();
});

it('[OP13] an order to terminate, or no frame at all, sent to a channel does nothing to who is there', async () => {
  const world = createWorld();
  const peer = await world.connect();
  await world.subscribe(peer, 'room');
  const topic = channelTopic('1001', 'room');
  await world.broker.publish(topic, { kind: 'terminate', payload: new Uint8Array() });
  await world.broker.publish(topic, { kind: 'event', payload: new Uint8Array() });
  await world.broker.publish(topic, { kind: 'event', payload: Buffer.from('[1]') });
  await world.settle();
  expect(peer.take()).toEqual([]);
  expect(peer.closedWith).toBeNull();
  expect(world.problems).toHaveLength(3);
});

it('[OP13] a retained event that is none of ours is shown as no event', async () => {
  const { app, broker, presenceStore } = createWorld();
  const channel = { name: 'cache-room', kind: 'public', isCache: true, isEncrypted: false } as const;
  for (const text of ['null', '{}', '{"data":7}', '{']) {
    const payload = Buffer.from(text);
    await broker.publish(channelTopic(app.id, channel.name), { kind: 'event', payload }, { retainSeconds: 60 });
    const shown = await inspectChannel({ presenceStore, broker }, app, channel, new Set(['cache']));
    expect(shown).toMatchObject({ ok: true, value: { cache: null } });
  }
});

const kinds = ['event', 'transition', 'terminate'] as const satisfies ReadonlyArray<BrokerMessage['kind']>;

function garbage(random: Random): Uint8Array {
  const good = [
    '{"kind":"app-changed","appId":"1001","version":3}',
    '{"kind":"app-applied","appId":"1001","version":3,"nodeId":"n"}',
    '{"at":1,"nodeId":"n","what":"event","data":"x"}',
    '{"event":"e","channel":"room","data":"x"}',
  ];
  const kind = random.below(4);
  if (kind === 0) return random.bytes(40);
  if (kind === 1) return Buffer.from(random.json());
  return Buffer.from(kind === 2 ? random.mutate(random.pick(good)) : random.pick(good));
}

it('[OP13] whatever comes on whichever topic, nothing throws, and what is good is still delivered', async () => {
  await fuzzInTurn(seedsOf([], 30), async (random, given) => {
    const node = await nodeThatReads();
    const peer = await node.connect();
    await node.subscribe(peer, 'room');
    await node.signin(peer, { id: 'u', watchlist: ['v'] });
    const topics: Topic[] = [
      controlTopic,
      debugTopic('1001'),
      probeTopic('node'),
      channelTopic('1001', 'room'),
      watchTopic('1001', 'v'),
    ];
    for (let step = 0; step < 60; step++) {
      const kind = random.pick(kinds);
      const position = random.chance(0.5) ? undefined : random.pick([0, 1, -1, Number.NaN, Number.POSITIVE_INFINITY]);
      const message = { kind, payload: garbage(random), ...(position !== undefined && { position }) };
      given([message.kind, position, Buffer.from(message.payload).toString()]);
      await node.broker.publish(random.pick(topics), message);
    }
    await node.settle();
    expect(node.defects).toEqual([]);
    expect(peer.closedWith).toBeNull();
    peer.raw.length = 0;
    await node.broker.publish(channelTopic('1001', 'room'), {
      kind: 'event',
      payload: Buffer.from('{"event":"good"}'),
    });
    await node.broker.publish(userTopic('1001', 'u'), { kind: 'terminate', payload: new Uint8Array() });
    await node.settle();
    expect(peer.raw[0]).toBe('{"event":"good"}');
    expect(peer.closedWith?.code).toBe(4009);
    await node.hub.probe(1_000);
  });
});

it('[OP13] a fuzzed report is read as one, or as none', async () => {
  await fuzzInTurn(seedsOf([], 300), async (random, given) => {
    const good = JSON.stringify(
      reportOf('a', { apps: [{ appId: '1', connections: 1, subscriptions: 2, minutes: [] }] }),
    );
    const text = given(random.chance(0.5) ? random.mutate(good) : random.json());
    const report = parseNodeReport(text);
    // What core and control do with it: they add up, and name.
    for (const { appId, connections } of report?.apps ?? [])
      expect([typeof appId, typeof connections]).toEqual(['string', 'number']);
  });
});

it('[LI11] topics that linger after their last subscriber left are bounded', async () => {
  const subscribed = new Set<unknown>();
  const world = createWorld({
    wrapBroker: (broker) =>
      new Proxy(broker, {
        get: (target, name) => {
          if (name === 'subscribe') return async (topic: Topic) => void subscribed.add(topic);
          if (name === 'unsubscribe') return async (topic: Topic) => void subscribed.delete(topic);
          const value = Reflect.get(target, name);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      }),
  });
  for (let count = 0; count < 6; count++) {
    const peer = await world.connect();
    for (let index = 0; index < 1_000; index++) {
      const data = { channel: `room-${count}-${index}` };
      peer.say({ event: 'pusher:subscribe', data });
      peer.say({ event: 'pusher:unsubscribe', data });
      if (index % 50 === 0) await world.settle();
    }
  }
  await world.settle();
  expect(subscribed.size).toBeGreaterThan(4_000);
  expect(subscribed.size).toBeLessThanOrEqual(5_000);
});
