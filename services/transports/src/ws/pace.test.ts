/** How much is handled in one turn of the event loop, and how long others wait: counted in frames, never in time. */
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EchoServer } from '../echo-server.test-kit.ts';
import { defaultUnitsPerTurn } from '../inbound-scheduler.ts';
import { clientFrame, deflatedFrame, deflateOffer, RawClient } from './raw-client.test-kit.ts';

let server: EchoServer;
const clients: RawClient[] = [];
beforeEach(async () => {
  server = new EchoServer({}, {}, { compresses: true });
  await server.start();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  await server.app.close();
});

async function open(count: number, headers: Record<string, string> = {}): Promise<RawClient[]> {
  const opened: RawClient[] = [];
  for (let each = 0; each < count; each++) opened.push(await RawClient.open(server.port, '/app/key', headers));
  clients.push(...opened);
  return opened;
}

/** The most frames that came to sessions in one turn, until so many have come in all. */
async function mostInOneTurn(total: number, send: () => void): Promise<number> {
  let [turn, all, most] = [0, 0, 0];
  let isOver = false;
  const next = (): void => {
    most = Math.max(most, turn);
    turn = 0;
    if (!isOver) setImmediate(next);
  };
  setImmediate(next);
  await new Promise<void>((resolve) => {
    for (const session of server.sessions) {
      session.receive = () => {
        turn++;
        if (++all === total) resolve();
      };
    }
    send();
  });
  isOver = true;
  return Math.max(most, turn);
}

const repeated = (bytes: Buffer, count: number): Buffer => Buffer.concat(Array.from({ length: count }, () => bytes));

describe('[WS14] in one turn', () => {
  const tiny = repeated(clientFrame(''), 5_000);

  it.each([1, 20])('few of the tiny frames are handled that %i connections sent in one piece', async (count) => {
    const all = await open(count);
    const most = await mostInOneTurn(count * 5_000, () => {
      for (const client of all) client.send(tiny);
    });
    // A portion that was begun is ended, and counting by turns may see the end of one and the beginning of the next.
    expect(most).toBeLessThanOrEqual(2 * (defaultUnitsPerTurn + 683));
    expect(most).toBeGreaterThan(50);
  });

  it.each([1, 20])('[WS15] few large messages of %i connections are inflated', async (count) => {
    const all = await open(count, deflateOffer);
    const bombs = repeated(deflatedFrame('x'.repeat(60_000)), 100);
    const most = await mostInOneTurn(count * 100, () => {
      for (const client of all) client.send(bombs);
    });
    expect(most).toBeLessThanOrEqual(2 * (1 + Math.ceil(defaultUnitsPerTurn / 59)));
  });

  it('a small message waits for one portion of each of those that flood, not for the floods', async () => {
    const flooding = await open(20);
    const [polite] = await open(1);
    const session = server.session;
    let before = 0;
    for (const each of server.sessions) if (each !== session) each.receive = () => void before++;
    for (const client of flooding) client.send(tiny);
    // The floods have begun to be handled.
    const first = server.sessions[0];
    await new Promise<void>((resolve) => {
      if (first === undefined) return;
      first.receive = () => {
        before++;
        resolve();
      };
    });
    const sentAt = before;
    const heard = once(session, 'receive').then(() => before - sentAt);
    polite?.send(clientFrame('hello'));
    // 100,000 frames are on their way. It passes the kernel and the loop in a few turns, and then waits for one round.
    expect(await heard).toBeLessThan(20_000);
  });
});
