/** What every SocketWriter is asked to prove, over real connections. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { Random } from '../../../infra/testing/random.ts';
import type { SocketWriter } from './socket-writer.ts';

/** Both ends of one connection. */
export class Wire {
  /** The end that is written to. */
  readonly server: Socket;
  readonly client: Socket;
  /** What became of the server's end, if it failed. */
  error: NodeJS.ErrnoException | null = null;
  readonly #chunks: Buffer[] = [];
  #length = 0;
  #wake: () => void = () => {};

  constructor(server: Socket, client: Socket) {
    this.server = server;
    this.client = client;
    server.on('error', (err: NodeJS.ErrnoException) => {
      this.error = err;
    });
    // The client's errors are ends like others: tests look at what came before.
    for (const event of ['end', 'close', 'error']) client.on(event, () => this.#wake());
    client.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#length += chunk.length;
      this.#wake();
    });
  }

  get received(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  /** Resolves with all that has come once it is that long, or once nothing more can come. */
  async receive(length: number, limitMs = 5_000): Promise<Buffer> {
    const deadline = AbortSignal.timeout(limitMs);
    while (this.#length < length && !this.client.readableEnded && !this.client.destroyed) {
      await new Promise<void>((resolve, reject) => {
        this.#wake = resolve;
        deadline.onabort = () => reject(new Error(`Had ${this.#length} of ${length} bytes after ${limitMs} ms`));
      });
    }
    deadline.onabort = null;
    return this.received;
  }
}

/** A listening server, and wires to it that are cut after each test. */
export class Exchange {
  readonly #server: Server = createServer();
  readonly #wires: Wire[] = [];

  async start(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  async open(): Promise<Wire> {
    const accepted = once(this.#server, 'connection', { signal: AbortSignal.timeout(5_000) });
    const client = connect((this.#server.address() as AddressInfo).port, '127.0.0.1');
    const [server] = (await accepted) as [Socket];
    const wire = new Wire(server, client);
    this.#wires.push(wire);
    return wire;
  }

  async openMany(count: number): Promise<Wire[]> {
    const wires = [];
    for (let i = 0; i < count; i++) wires.push(await this.open());
    return wires;
  }

  cut(): void {
    for (const { server, client } of this.#wires.splice(0)) {
      server.destroy();
      client.destroy();
    }
  }

  stop(): void {
    this.cut();
    this.#server.close();
  }
}

/** More than the kernel keeps for a peer that does not read, on a machine with any usual settings. */
const floodBytes = 24_000_000;

export function descriptorOf(socket: Socket): number {
  return (socket as Socket & { _handle?: { fd: number } | null })._handle?.fd ?? -1;
}

/** Where nothing may be thrown. */
export function unexpected(err: unknown): never {
  throw err;
}

/** Registers the tests; to be called in a `describe`. */
export function proveSocketWriter(open: () => SocketWriter): void {
  const exchange = new Exchange();
  let writer: SocketWriter;
  beforeAll(async () => {
    writer = open();
    await exchange.start();
  });
  afterEach(() => exchange.cut());
  afterAll(() => exchange.stop());

  const toAll = (wires: readonly Wire[], frames: readonly Uint8Array[]): void =>
    writer.write(
      wires.map(({ server }) => server),
      frames,
      wires.length,
      unexpected,
    );
  const toOne = ({ server }: Wire, frame: Uint8Array): void => writer.write([server], [frame], 1, unexpected);
  const same = (wires: readonly Wire[], text: string): Uint8Array[] => {
    const frame = Buffer.from(text);
    return wires.map(() => frame);
  };

  it('gives every socket its frames, in order: one frame for all, one each, and runs of both', async () => {
    const wires = await exchange.openMany(200);
    const random = new Random(1);
    const expected = wires.map(() => '');
    for (let round = 0; round < 60; round++) {
      let shared = Buffer.from(`<shared ${round}>`);
      const frames = wires.map((_wire, index) => {
        if (random.chance(round % 3 === 0 ? 0 : 0.3)) shared = Buffer.from(`<${round} from ${index}>`);
        expected[index] += shared.toString();
        return shared;
      });
      toAll(wires, frames);
      if (random.chance(0.3)) await new Promise(setImmediate);
    }
    for (const [index, wire] of wires.entries()) {
      const all = expected[index] ?? '';
      expect((await wire.receive(all.length)).toString()).toBe(all);
    }
  });

  it('writes to no more than it is told to, and passes over null', async () => {
    const wires = await exchange.openMany(4);
    const sockets = wires.map(({ server }, index) => (index === 1 ? null : server));
    writer.write(sockets, same(wires, 'one'), 3, unexpected);
    toAll(wires, same(wires, 'two'));
    expect(await Promise.all(wires.map(async (wire) => (await wire.receive(3)).toString()))).toEqual([
      expect.stringMatching(/^one/),
      'two',
      expect.stringMatching(/^one/),
      'two',
    ]);
  });

  it('[OP12] tells what one write throws, and gives the others theirs', async () => {
    const wires = await exchange.openMany(5);
    const frames = same(wires, 'whole') as unknown[];
    frames[1] = 5;
    frames[3] = undefined;
    const broken = wires[4]?.server as Socket;
    broken.cork();
    broken.write('first ');
    broken.write = () => {
      throw new Error('a fault');
    };
    const defects: Array<[unknown, number | null]> = [];
    const sockets = wires.map(({ server }) => server);
    writer.write(sockets, frames as Uint8Array[], 5, (err, index) => defects.push([err, index]));
    for (const index of [0, 2]) expect((await wires[index]?.receive(5))?.toString()).toBe('whole');
    expect(defects.map(([err]) => err instanceof Error)).toEqual(defects.map(() => true));
    expect(defects.map(([, index]) => index).filter((index) => index !== null)).toEqual([1, 4]);
    // The next call is none the worse for it.
    toAll(wires.slice(0, 4), same(wires.slice(0, 4), 'again'));
    expect((await wires[1]?.receive(5))?.toString()).toBe('again');
  });

  it('keeps, in order, what a peer that has stopped reading cannot take, and holds up no one else', async () => {
    const stuck = await exchange.open();
    const others = await exchange.openMany(5);
    stuck.client.pause();
    const random = new Random(2);
    const flood = Buffer.from(Array.from({ length: 65_536 }, () => random.below(256)));
    const frames = Array.from({ length: Math.ceil(floodBytes / flood.length) }, () => flood);
    for (const frame of frames) toAll([stuck], [frame]);
    toAll([stuck, ...others], same([stuck, ...others], 'for all'));
    for (const other of others) expect((await other.receive(7)).toString()).toBe('for all');
    expect(stuck.server.writableLength).toBeGreaterThan(0);
    stuck.client.resume();
    const whole = Buffer.concat([...frames, Buffer.from('for all')]);
    expect((await stuck.receive(whole.length, 20_000)).equals(whole)).toBe(true);
    expect(stuck.server.writableLength).toBe(0);
  });

  it('never overtakes what the stream was given, nor is overtaken by it, whatever the reader does', async () => {
    const wire = await exchange.open();
    const random = new Random(3);
    const sent: Buffer[] = [];
    let corked = 0;
    for (let step = 0; step < 4_000; step++) {
      const bytes = Buffer.alloc(random.chance(0.02) ? random.between(1, 400_000) : random.between(1, 300), step % 251);
      sent.push(bytes);
      if (random.chance(0.4)) wire.server.write(bytes);
      else toOne(wire, bytes);
      if (random.chance(0.02)) {
        wire.server.cork();
        corked++;
      } else if (corked > 0 && random.chance(0.1)) {
        wire.server.uncork();
        corked--;
      }
      if (random.chance(0.01)) wire.client.pause();
      else if (random.chance(0.02)) wire.client.resume();
      if (random.chance(0.05)) await new Promise(setImmediate);
    }
    while (corked-- > 0) wire.server.uncork();
    wire.client.resume();
    const whole = Buffer.concat(sent);
    expect((await wire.receive(whole.length, 20_000)).equals(whole)).toBe(true);
  });

  it('writes nothing to a connection that got the number of one that is closed', async () => {
    const old = await exchange.openMany(8);
    toAll(old, same(old, 'while open'));
    const numbers = old.map(({ server }) => descriptorOf(server));
    for (const { server } of old) server.destroy();
    const fresh = [];
    // The system gives the lowest free number first; both ends of each new connection take one.
    for (let tries = 0; tries < 20 && fresh.length < 4; tries++) {
      const wire = await exchange.open();
      if (numbers.includes(descriptorOf(wire.server))) fresh.push(wire);
    }
    const [first, ...rest] = fresh;
    if (first === undefined) throw new Error('No number was used again');
    toAll([...old, ...rest], same([...old, ...rest], 'not for the first'));
    toOne(first, Buffer.from('for the first'));
    expect((await first.receive(13)).toString()).toBe('for the first');
    for (const wire of rest) expect((await wire.receive(17)).toString()).toBe('not for the first');
  });

  it('gives each connection its own and only that, while others close and open between the calls and during a turn', async () => {
    const random = new Random(4);
    let wires = await exchange.openMany(30);
    const gone: Wire[] = [];
    const expected = new Map<Wire, string>(wires.map((wire) => [wire, '']));
    const check = async (wire: Wire, isWhole: boolean): Promise<void> => {
      const all = expected.get(wire) ?? '';
      if (isWhole) expect((await wire.receive(all.length)).toString()).toBe(all);
      else expect(all.startsWith(wire.received.toString())).toBe(true);
    };
    for (let round = 0; round < 300; round++) {
      const closing = random.shuffle(wires).slice(0, random.below(3));
      for (const wire of closing) {
        const how = random.below(4);
        if (how === 0) wire.server.destroy();
        else if (how === 1) wire.client.resetAndDestroy();
        else if (how === 2) wire.server.resetAndDestroy();
        else wire.client.destroy();
      }
      wires = wires.filter((wire) => !closing.includes(wire));
      gone.push(...closing);
      const targets = random.shuffle([...wires, ...closing, ...gone.slice(-10)]).filter(() => random.chance(0.8));
      const shared = Buffer.from(`[${round}]`);
      const frames = targets.map((wire) => {
        const frame = random.chance(0.5) ? shared : Buffer.from(`(${round})`);
        expected.set(wire, `${expected.get(wire)}${frame}`);
        return frame;
      });
      toAll(targets, frames);
      if (random.chance(0.5)) await new Promise(setImmediate);
      while (wires.length < 30) {
        const wire = await exchange.open();
        expected.set(wire, '');
        wires.push(wire);
      }
    }
    for (const wire of wires) await check(wire, true);
    for (const wire of gone) await check(wire, false);
    expect(gone.length).toBeGreaterThan(100);
  });

  it('lets a socket whose peer has reset it end with its own error, and no other', async () => {
    const [before, broken, after] = [await exchange.open(), await exchange.open(), await exchange.open()];
    // What comes in is not read, so that only the write can find out.
    broken.server.pause();
    broken.client.resetAndDestroy();
    toAll([before, broken, after], same([before, broken, after], 'x'));
    const deadline = AbortSignal.timeout(5_000);
    while (!broken.server.destroyed) {
      deadline.throwIfAborted();
      toOne(broken, Buffer.from('y'));
      await new Promise(setImmediate);
    }
    await new Promise(setImmediate);
    expect(['ECONNRESET', 'EPIPE']).toContain(broken.error?.code);
    for (const other of [before, after]) {
      expect((await other.receive(1)).toString()).toBe('x');
      expect(other.error).toBeNull();
    }
  });

  it('sends nothing after the end of a socket', async () => {
    const wire = await exchange.open();
    wire.server.end('last');
    toOne(wire, Buffer.from('too late'));
    expect((await wire.receive(100)).toString()).toBe('last');
    expect(wire.error?.code).toBe('ERR_STREAM_WRITE_AFTER_END');
  });
}
