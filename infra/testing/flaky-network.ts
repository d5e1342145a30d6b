/** Stands between clients and a server, and does to each connection what bad networks do, as a seed has it. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import type { Random } from './random.ts';

/** What becomes of one connection; as long as it is flaky, none is fine. */
type Fate = 'fine' | 'refused' | 'cut' | 'silent';

const fates: readonly Fate[] = ['refused', 'cut', 'cut', 'cut', 'cut', 'silent'];

export class FlakyNetwork {
  readonly #server: Server;
  readonly #random: Random;
  readonly #sockets = new Set<Socket>();
  #isFlaky = true;
  /** What has been done, for the message of a test that fails. */
  readonly done: Fate[] = [];

  private constructor(server: Server, random: Random) {
    this.#server = server;
    this.#random = random;
  }

  static async open(targetPort: number, random: Random): Promise<FlakyNetwork> {
    const server = createServer({ pauseOnConnect: true });
    const network = new FlakyNetwork(server, random);
    server.on('connection', (near) => network.#join(near, targetPort));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return network;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Cuts what there is, and from now on does nothing but pass bytes on. */
  mend(): void {
    this.#isFlaky = false;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async close(): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await once(this.#server, 'close');
  }

  #join(near: Socket, targetPort: number): void {
    const fate = this.#isFlaky ? this.#random.pick(fates) : 'fine';
    this.done.push(fate);
    if (fate === 'refused') {
      near.resetAndDestroy();
      return;
    }
    const far = connect({ host: '127.0.0.1', port: targetPort, noDelay: true });
    near.setNoDelay(true);
    // Some end within the handshake, some in the middle of a frame, some after a while.
    let bytesLeft = fate === 'fine' ? Number.POSITIVE_INFINITY : this.#random.between(50, 2_500);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(from);
      from.on('data', (bytes) => {
        if (bytesLeft <= 0) return;
        const passed = bytes.subarray(0, Math.min(bytes.length, bytesLeft));
        bytesLeft -= bytes.length;
        // One after another, however long each takes: TCP keeps its order.
        from.pause();
        const delayMs = this.#isFlaky ? this.#random.between(0, 15) : 0;
        setTimeout(() => {
          to.write(passed);
          from.resume();
          if (bytesLeft <= 0 && fate === 'cut') near.resetAndDestroy();
        }, delayMs);
      });
      // A connection that fails takes its other half with it, and that is all there is to do.
      from.on('error', () => to.destroy());
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      from.resume();
    }
  }
}
