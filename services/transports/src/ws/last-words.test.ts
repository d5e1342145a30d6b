/** What a peer sends last, in one piece with its close or with what breaks the protocol, and what becomes of the answers. */
import { tokenOf } from '@starling/ports/contract';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EchoServer } from '../echo-server.test-kit.ts';
import { type Engine, event, startEngine } from '../engine.test-kit.ts';
import { clientFrame, closePayload, deflatedFrame, deflateOffer, opcodes, RawClient } from './raw-client.test-kit.ts';

const close = clientFrame(closePayload(1000, 'bye'), { opcode: opcodes.close });
const crowd = 40;

describe('[WS13] what came before the end is answered before our close leaves', () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await startEngine({ compresses: true, closeTimeoutMs: 10_000 });
  });
  afterAll(() => engine.stop());

  const ends: ReadonlyArray<[string, Buffer, number]> = [
    ['its close', close, 1000],
    ['an unmasked frame', clientFrame('{}', { isMasked: false }), 1002],
    ['bad UTF-8', clientFrame(Buffer.from([0xff])), 1007],
    ['a message over the limit', clientFrame('x'.repeat(70_000)), 1009],
    ['a binary message', clientFrame('', { opcode: opcodes.binary }), 1003],
  ];

  /** Asks for what is answered now, what the broker answers later, and a pong; with its end behind it, all in one piece. */
  async function ask(end: Buffer, code: number, isCompressed: boolean): Promise<void> {
    const iat = Math.floor(Date.now() / 1_000);
    const token = tokenOf(
      { alg: 'HS256', kid: 'key' },
      { sub: 'u', cap: { '*': ['publish'] }, iat, exp: iat + 60 },
      'secret',
    );
    const client = await engine.open(`/app/key?protocol=7&token=${token}`, isCompressed ? deflateOffer : {});
    expect(await event(client)).toBe('pusher:connection_established');
    expect(await event(client)).toBe('starling:auth_success');
    const frame = (command: unknown): Buffer =>
      isCompressed ? deflatedFrame(JSON.stringify(command)) : clientFrame(JSON.stringify(command));
    const publish = { id: '1', channels: ['elsewhere'], name: 'last', data: 'words' };
    client.send(
      Buffer.concat([
        frame({ event: 'pusher:subscribe', data: { channel: 'one' } }),
        frame({ event: 'starling:publish', data: publish }),
        clientFrame('ping', { opcode: opcodes.ping }),
        frame({ event: 'pusher:ping' }),
        end,
      ]),
    );
    const seen: string[] = [];
    for (;;) {
      const { opcode, payload } = await client.frame(10_000);
      if (opcode === opcodes.close) {
        expect(payload.readUInt16BE(0)).toBe(code);
        break;
      }
      seen.push(opcode === opcodes.text ? JSON.parse(payload.toString()).event : payload.toString());
    }
    const answers = ['ping', 'pusher:pong', 'pusher_internal:subscription_succeeded', 'starling:publish_ack'];
    expect(seen.sort()).toEqual(code === 1003 ? [...answers, 'pusher:error'].sort() : answers);
    client.send(close);
    await client.ended(10_000);
  }

  for (const isCompressed of [false, true]) {
    it.each(ends)(`behind %s${isCompressed ? ', compressed' : ''}`, async (_what, end, code) => {
      const other = await engine.subscribed('elsewhere');
      await ask(end, code, isCompressed);
      expect(await event(other)).toBe('last');
      await Promise.all(Array.from({ length: crowd }, () => ask(end, code, isCompressed)));
      for (let each = 0; each < crowd; each++) expect(await event(other)).toBe('last');
      other.destroy();
    });
  }

  it('[SP6] what came before a connection was reset is carried out', async () => {
    const other = await engine.subscribed('elsewhere');
    const clients = await Promise.all(Array.from({ length: crowd }, () => engine.subscribed('private')));
    expect(clients).toHaveLength(crowd);
    for (const client of clients) {
      client.send(clientFrame('{"event":"pusher:subscribe","data":{"channel":"left"}}'));
      client.socket.destroy();
    }
    await engine.publish('after', '{}', 'elsewhere');
    expect(await event(other)).toBe('after');
    other.destroy();
  });
});

describe('the end', () => {
  const server = new EchoServer({ closeTimeoutMs: 300 });
  const clients: RawClient[] = [];
  beforeAll(() => server.start());
  afterEach(() => {
    for (const client of clients.splice(0)) client.destroy();
    server.problems.length = 0;
  });
  afterAll(() => server.app.close());

  async function open(): Promise<{ client: RawClient; session: EchoServer['session'] }> {
    const client = await RawClient.open(server.port);
    clients.push(client);
    return { client, session: server.session };
  }

  it('[WS13] waits no longer for an answer than half of the time for a close', async () => {
    const { client, session } = await open();
    session.unanswered = new Promise(() => {});
    client.send(Buffer.concat([clientFrame('last'), close]));
    expect(await client.text()).toBe('last');
    expect((await client.close()).code).toBe(1000);
    await client.ended();
  });

  it('[WS13] lets events through while it waits', async () => {
    const { client, session } = await open();
    let answer = (): void => {};
    session.unanswered = new Promise((resolve) => {
      answer = resolve;
    });
    client.send(Buffer.concat([clientFrame('last'), close]));
    expect(await client.text()).toBe('last');
    session.send('an event');
    expect(await client.text()).toBe('an event');
    session.unanswered = null;
    answer();
    expect((await client.close()).code).toBe(1000);
    await client.ended();
  });

  describe('[OP12] a fault of ours ends the connection that met it, and no other', () => {
    const fault = (): never => {
      throw new Error('a fault');
    };
    const met: ReadonlyArray<[string, 'receive' | 'touch' | 'refuse' | 'drained' | 'answered', Buffer]> = [
      ['a message', 'receive', clientFrame('x')],
      ['a ping', 'touch', clientFrame('', { opcode: opcodes.ping })],
      ['a pong', 'touch', clientFrame('', { opcode: opcodes.pong })],
      ['a binary message', 'refuse', clientFrame('', { opcode: opcodes.binary })],
      ['a close', 'answered', close],
    ];
    it.each(met)('in handling %s, once and in 64 at the same moment', async (_what, method, bytes) => {
      const { client: other } = await open();
      for (const count of [1, 64]) {
        const all = await Promise.all(
          Array.from({ length: count }, async () => {
            const { client } = await open();
            return client;
          }),
        );
        const sessions = server.sessions.slice(-count);
        for (const session of sessions) session[method] = fault;
        for (const client of all) client.send(bytes);
        for (const client of all) await client.ended();
        expect(sessions.map(({ ends }) => ends)).toEqual(sessions.map(() => 1));
        expect(server.problems).toEqual(sessions.map(() => 'defect: connection'));
        server.problems.length = 0;
      }
      other.send(clientFrame('alive'));
      expect(await other.text()).toBe('alive');
    });

    it('in its end', async () => {
      const { client: other } = await open();
      const { client, session } = await open();
      const told = new Promise<void>((resolve) => {
        session.ended = () => {
          resolve();
          fault();
        };
      });
      client.destroy();
      await told;
      other.send(clientFrame('alive'));
      expect(await other.text()).toBe('alive');
      expect(server.problems).toEqual(['defect: connection']);
    });

    it('in opening its session', async () => {
      const { client: other } = await open();
      const push = server.sessions.push;
      server.sessions.push = fault;
      const client = await RawClient.connect(server.port);
      clients.push(client);
      await client.shakeHands('/app/key').catch(() => undefined);
      await client.ended();
      server.sessions.push = push;
      expect(server.problems).toEqual(['defect: connection']);
      other.send(clientFrame('alive'));
      expect(await other.text()).toBe('alive');
    });
  });
});
