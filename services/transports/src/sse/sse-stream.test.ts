import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { EchoSession } from '../echo-server.test-kit.ts';
import { InboundScheduler } from '../inbound-scheduler.ts';
import { defaultSseLimits, SseStream } from './sse-stream.ts';

/** A stream of a conversation that sends back what it is sent; a turn of the event loop is over when a test says so. */
async function openStream(channels: readonly string[] = []) {
  const connectRequest = {
    key: 'key',
    protocol: undefined,
    client: undefined,
    version: undefined,
    origin: undefined,
    address: '127.0.0.1',
    isTls: false,
  };
  const defects: unknown[] = [];
  const observer = {
    notes: false,
    note: () => {},
    problem: () => {},
    defect: (...args: unknown[]) => defects.push(args),
  };
  const soon: (() => void)[] = [];
  const inbound = new InboundScheduler(observer, 512, (run) => soon.push(run));
  const sessions: EchoSession[] = [];
  const stream = new SseStream({
    id: 'id',
    response: new ServerResponse(new IncomingMessage(new Socket())),
    connectRequest,
    token: undefined,
    channels,
    conversations: {
      open: (transport, request) => {
        const session = new EchoSession(transport, request);
        sessions.push(session);
        session.send('{"connected":"1.2"}');
        return session;
      },
    },
    inbound,
    limits: defaultSseLimits,
    observer,
    onEnd: () => {},
  });
  stream.open();
  await undefined;
  const endTurn = () => {
    for (const run of soon.splice(0)) run();
  };
  return { stream, endTurn, texts: () => sessions[0]?.texts ?? [], defects };
}

test('[WS14] [SS3] the channels of an address are subscribed some in each turn of the event loop', async () => {
  const channels = Array.from({ length: 600 }, (_, index) => `channel-${index}`);
  const { endTurn, texts, defects } = await openStream(channels);
  expect(texts().length).toBeGreaterThan(0);
  expect(texts().length).toBeLessThan(300);
  for (let turn = 0; turn < 10; turn++) endTurn();
  expect(texts()).toEqual(channels.map((channel) => `{"subscribe":"${channel}"}`));
  expect(defects).toEqual([]);
});

test('[TR2] [SS3] a stream that is told to close takes no more messages, not even those that wait for their turn', async () => {
  const { stream, endTurn, texts } = await openStream(Array.from({ length: 600 }, (_, index) => `channel-${index}`));
  const count = texts().length;
  expect(stream.receive('{"ping":1}')).toBe(true);
  stream.close(4100, 'over');
  expect(stream.receive('{"ping":2}')).toBe(false);
  for (let turn = 0; turn < 10; turn++) endTurn();
  expect(texts()).toHaveLength(count);
});
