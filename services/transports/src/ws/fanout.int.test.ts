import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { openSocketWriter } from '@starling/fanout';
import { afterAll, describe, expect, it } from 'vitest';
import { buildNativeFanout } from '../../../../infra/testing/native-fanout.ts';
import { EchoServer } from '../echo-server.test-kit.ts';
import { proveFanout } from './fanout.test-kit.ts';
import { RawClient } from './raw-client.test-kit.ts';
import type { WsConnection } from './ws-connections.ts';

const built = buildNativeFanout();
afterAll(() => built.remove());

describe('the native fan-out', () => {
  proveFanout(() => {
    const writer = openSocketWriter('auto', built.file);
    expect(writer.path).toBe('native');
    return writer;
  });
});

describe('a connection whose kernel buffer is full to the last byte, with nothing in the stream', () => {
  it('says that it has emptied, also when all that waited was a probe', async () => {
    const server = new EchoServer();
    await server.start();
    const client = await RawClient.open(server.port);
    client.socket.pause();
    const { session } = server;
    const { openSocket } = session.transport as WsConnection;
    fill(openSocket as Socket & { _handle: { fd: number } });
    expect(session.transport.bufferedBytes).toBe(0);
    session.transport.probe();
    expect(session.transport.bufferedBytes).toBeGreaterThan(0);
    const drained = session.next('drained');
    client.socket.resume();
    await drained;
    client.destroy();
    await server.app.close();
  });

  function fill({ _handle: { fd } }: { readonly _handle: { readonly fd: number } }): void {
    const native = createRequire(import.meta.url)(built.file);
    for (const piece of [Buffer.alloc(100_000), Buffer.alloc(1)]) {
      const outcome = Int32Array.of(fd);
      while ((outcome[0] ?? -1) >= 0) {
        outcome[0] = fd;
        native.write(outcome, Int32Array.of(1), [piece], 1);
      }
    }
  }
});
