import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { EchoSession } from '../echo-server.test-kit.ts';
import { InboundScheduler } from '../inbound-scheduler.ts';
import { defaultSseLimits, SseStream } from './sse-stream.ts';

test('[WS14] [SS3] the channels of an address are subscribed some in each turn of the event loop', async () => {
  const channels = Array.from({ length: 600 }, (_, index) => `channel-${index}`);
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
  let soon: (() => void)[] = [];
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
  const texts = () => sessions[0]?.texts.length ?? 0;
  expect(texts()).toBeGreaterThan(0);
  expect(texts()).toBeLessThan(300);
  for (let turn = 0; turn < 10; turn++) for (const run of soon.splice(0)) run();
  expect(sessions[0]?.texts).toEqual(channels.map((channel) => `{"subscribe":"${channel}"}`));
  expect(defects).toEqual([]);
  soon = [];
});
