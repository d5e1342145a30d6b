/**
 * What every transport must do, whatever its dialect: mounted with a bare conversation that sends back what it is sent,
 * with one client and with many in the same turn.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { EchoServer, type EchoSession } from './echo-server.test-kit.ts';

/** One client of the transport, by hand. */
export interface ContractClient {
  /** One text message; resolves when it is on its way. */
  send(text: string): Promise<void>;
  /** All text messages that came. */
  readonly received: readonly string[];
  /** Resolves when the conversation is over for the client. */
  readonly closed: Promise<void>;
  /** Ends as a client should. */
  leave(): void;
  /** Is gone without a word. */
  vanish(): void;
}

export interface ContractTransport {
  readonly name: string;
  /** Opens a conversation with the app `key`, the origin `http://page.example` and the token `token`. */
  connect(port: number): Promise<ContractClient>;
}

const counts = [1, 64] as const;
const wait = { timeout: 10_000 };

export function describeTransport({ name, connect }: ContractTransport): void {
  describe(`a transport: ${name}`, () => {
    let server: EchoServer;
    beforeEach(async () => {
      server = new EchoServer();
      await server.start();
    });
    afterEach(async () => {
      await server.app.close();
      expect(server.problems).toEqual([]);
    });

    /** Clients and their sessions, in no order. An event stream opens with the first message that it is told. */
    async function open(count: number): Promise<{ clients: ContractClient[]; sessions: readonly EchoSession[] }> {
      const connecting = Promise.all(Array.from({ length: count }, () => connect(server.port)));
      await vi.waitFor(() => expect(server.sessions).toHaveLength(count), wait);
      for (const session of server.sessions) session.send('hello');
      const clients = await connecting;
      await vi.waitFor(() => expect(clients.every(({ received }) => received.includes('hello'))).toBe(true), wait);
      return { clients, sessions: server.sessions };
    }

    describe.each(counts)('%i at once', (count) => {
      test('[TR1] tells the conversation where it was opened, from where, and by what token', async () => {
        const { sessions } = await open(count);
        for (const { connectRequest, token } of sessions) {
          expect(connectRequest).toMatchObject({
            key: 'key',
            origin: 'http://page.example',
            address: '127.0.0.1',
            isTls: false,
          });
          expect(token).toBe('token');
        }
      });

      test('[TR1] brings messages whole and in order, each way', async () => {
        const { clients } = await open(count);
        const texts = ['one', '{"two":"é 🐦"}', 'x'.repeat(20_000), 'last'];
        await Promise.all(
          clients.map(async (client) => {
            for (const text of texts) await client.send(text);
          }),
        );
        await vi.waitFor(() => {
          for (const { received } of clients) expect(received.slice(1)).toEqual(texts);
        }, wait);
      });

      test('[TR2] ends the conversation once, when the client leaves', async () => {
        const { clients, sessions } = await open(count);
        for (const client of clients) client.leave();
        await vi.waitFor(() => expect(sessions.map(({ ends }) => ends)).toEqual(sessions.map(() => 1)), wait);
      });

      test('[TR2] ends the conversation once, when the client is gone without a word', async () => {
        const { clients, sessions } = await open(count);
        for (const client of clients) client.vanish();
        await vi.waitFor(() => expect(sessions.map(({ ends }) => ends)).toEqual(sessions.map(() => 1)), wait);
      });

      test('[TR2] closes when the conversation says so, after all that was written; what comes then goes nowhere', async () => {
        const { clients, sessions } = await open(count);
        for (const session of sessions) {
          session.send('goodbye');
          session.transport.close(4100, 'over');
          session.transport.close(4100, 'over');
          session.send('too late');
          session.transport.probe();
        }
        await Promise.all(clients.map(({ closed }) => closed));
        for (const client of clients) expect(client.received).toEqual(['hello', 'goodbye']);
        await vi.waitFor(() => expect(sessions.map(({ ends }) => ends)).toEqual(sessions.map(() => 1)), wait);
        for (const { transport } of sessions) {
          transport.write(transport.codec.frame(Buffer.from('nobody')));
          expect(transport.bufferedBytes).toBe(0);
        }
      });

      test('[TR2] tells all to come back when the server stops, and does not stop before they are gone', async () => {
        const { clients, sessions } = await open(count);
        await server.app.close();
        await Promise.all(clients.map(({ closed }) => closed));
        expect(sessions.map(({ refusals }) => refusals)).toEqual(sessions.map(() => ['going_away']));
        expect(sessions.map(({ ends }) => ends)).toEqual(sessions.map(() => 1));
      });

      test('[TR3] takes a probe for answered when the peer lives', async () => {
        const { sessions } = await open(count);
        const before = sessions.map(({ touches }) => touches);
        for (const { transport } of sessions) transport.probe();
        await vi.waitFor(() => {
          for (const [index, { touches }] of sessions.entries()) expect(touches).toBeGreaterThan(before[index] ?? 0);
        }, wait);
      });
    });
  });
}
