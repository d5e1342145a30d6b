import { FakeClock, MemoryBroker, MemoryRateLimiter } from '@starling/adapters/memory';
import { type BrokerMessage, channelTopic, defaultAppLimits, type Topic, userTopic } from '@starling/ports';
import { appOf } from '@starling/ports/contract';
import { parseChannelName } from '@starling/protocol';
import { beforeEach, describe, expect, test } from 'vitest';
import { type PublishCommand, publish, terminateConnections } from './publish.ts';
import { Traffic } from './traffic.ts';

const app = appOf('3', { limits: { ...defaultAppLimits, publishesPerSecond: 5 } });

function command(name: string, data: string, except?: string): PublishCommand {
  const channel = parseChannelName(name);
  if (!channel.ok) throw new Error(channel.refusal.message);
  return { event: 'e', channel: channel.value, data, ...(except === undefined ? {} : { except }) };
}

describe('publish', () => {
  let clock: FakeClock;
  let broker: MemoryBroker;
  let traffic: Traffic;
  let deps: Parameters<typeof publish>[0];
  let delivered: Array<{ topic: Topic; message: BrokerMessage }>;

  beforeEach(() => {
    clock = new FakeClock();
    broker = new MemoryBroker(clock);
    traffic = new Traffic();
    deps = {
      broker,
      rateLimiter: new MemoryRateLimiter(clock),
      traffic,
      observer: { notes: false, note: () => {} },
      clock,
    };
    delivered = [];
    broker.listen((topic, message) => delivered.push({ topic, message }));
  });

  test('[RE7] hands the broker the frame that clients get, encoded, with the socket to leave out', async () => {
    await broker.subscribe(channelTopic('3', 'a'));
    expect(await publish(deps, app, [command('a', '{"x":1}', '1.2')])).toEqual({ ok: true, value: undefined });
    const [{ topic, message } = { topic: '', message: undefined }] = delivered;
    expect(topic).toBe('3:a');
    expect(Buffer.from(message!.payload).toString()).toBe('{"event":"e","channel":"a","data":"{\\"x\\":1}"}');
    expect(message).toMatchObject({ kind: 'event', except: '1.2' });
  });

  test('[LI16] counts to the app what it takes to send, on both sides of a wait, and not twice what deliverers count', async () => {
    const send = broker.publish.bind(broker);
    broker.publish = async (...given) => {
      clock.advance(5);
      // Whoever delivers in this process has counted that.
      traffic.of('3').spent(2);
      return send(...given);
    };
    await publish(deps, app, [command('a', '')]);
    expect(traffic.of('3').spentMs).toBe(5);
    const known = { ...command('a', ''), idempotencyKey: 'once' };
    await publish(deps, app, [command('a', ''), known, command('b', '')]);
    expect(traffic.of('3').spentMs).toBe(20);
  });

  test('[RE18] takes from the budget one for each message, or nothing at all', async () => {
    await broker.subscribe(channelTopic('3', 'a'));
    const six = Array.from({ length: 6 }, () => command('a', ''));
    expect(await publish(deps, app, six)).toMatchObject({ ok: false, refusal: { code: 'rate_limited' } });
    expect((await publish(deps, app, six.slice(1))).ok).toBe(true);
    expect(await publish(deps, app, six.slice(5))).toMatchObject({ ok: false, refusal: { code: 'rate_limited' } });
    expect((await publish(deps, { ...app, id: '4' }, six.slice(1))).ok).toBe(true);
    expect(delivered).toHaveLength(5);
    expect(traffic.of('3').published).toBe(5);
    expect(traffic.of('4').published).toBe(5);
  });

  test('[RE10] nothing to publish takes no budget', async () => {
    const none = { ...app, limits: { ...app.limits, publishesPerSecond: 0 } };
    expect((await publish(deps, none, [])).ok).toBe(true);
  });

  test('[CA1] retains on cache channels of every kind, and on no others', async () => {
    const names = ['cache-a', 'private-cache-a', 'presence-cache-a', 'private-encrypted-cache-a', 'a-cache-'];
    await publish(
      deps,
      app,
      names.map((name) => command(name, 'x')),
    );
    const retained = await Promise.all(names.map((name) => broker.retained(channelTopic('3', name))));
    expect(retained.map((kept) => kept?.ttlSeconds)).toEqual([1_800, 1_800, 1_800, 1_800, undefined]);
  });

  test('a broker that fails rejects, counts nothing, and leaves no rejection unheard', async () => {
    const failing = { publish: () => Promise.reject(new Error('gone')) };
    const commands = [command('a', ''), command('b', ''), command('a', '')];
    await expect(publish({ ...deps, broker: failing }, app, commands)).rejects.toThrow('gone');
    expect(traffic.of('3').published).toBe(0);
  });

  test("[US4] a terminate goes to the user's own topic", async () => {
    await broker.subscribe(userTopic('3', 'u:1'));
    await terminateConnections(deps, app, 'u:1');
    expect(delivered).toEqual([
      { topic: userTopic('3', 'u:1'), message: { kind: 'terminate', payload: new Uint8Array() } },
    ]);
  });
});
