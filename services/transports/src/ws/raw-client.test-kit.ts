/**
 * A WebSocket client for tests that sends whatever bytes it is told to, and takes only exactly what RFC 6455 lets a
 * server send. It shares no code with what it tests.
 */
import { createHash, randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';

export interface Answer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

export interface ServerFrame {
  readonly opcode: number;
  /** Of a compressed message, what it becomes. */
  readonly payload: Buffer;
  readonly isCompressed: boolean;
  /** The frame as it came, header included. */
  readonly wireBytes: number;
}

export interface FrameShape {
  readonly opcode?: number;
  readonly isFinal?: boolean;
  /** The three reserved bits, as a number from 0 to 7. */
  readonly reserved?: number;
  readonly isMasked?: boolean;
  /** Bytes of the length field: 1, 2 or 8. Without it the fewest that will do. */
  readonly lengthBytes?: 1 | 2 | 8;
  /** What the length field claims, if not the truth. */
  readonly claimedLength?: bigint;
}

export const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** One client frame, right in everything that `shape` does not say otherwise. */
export function clientFrame(payload: string | Uint8Array = '', shape: FrameShape = {}): Buffer {
  const data = Buffer.from(payload);
  const { opcode = opcodes.text, isFinal = true, reserved = 0, isMasked = true } = shape;
  const length = shape.claimedLength ?? BigInt(data.length);
  const lengthBytes = shape.lengthBytes ?? (length < 126n ? 1 : length < 65_536n ? 2 : 8);
  const head = Buffer.alloc(2 + (lengthBytes === 1 ? 0 : lengthBytes));
  head[0] = (isFinal ? 0x80 : 0) | (reserved << 4) | opcode;
  head[1] = (isMasked ? 0x80 : 0) | (lengthBytes === 1 ? Number(length) : lengthBytes === 2 ? 126 : 127);
  if (lengthBytes === 2) head.writeUInt16BE(Number(length), 2);
  if (lengthBytes === 8) head.writeBigUInt64BE(length, 2);
  if (!isMasked) return Buffer.concat([head, data]);
  const mask = randomBytes(4);
  return Buffer.concat([head, mask, data.map((byte, index) => byte ^ (mask[index % 4] ?? 0))]);
}

/** A header that offers compression. */
export const deflateOffer = { 'Sec-WebSocket-Extensions': 'permessage-deflate' } as const;

const emptyBlock = Buffer.from([0x00, 0x00, 0xff, 0xff]);

/** As RFC 7692, 7.2.1 has it: flushed, and without the empty block that the flush ends with. */
export function deflated(data: string | Uint8Array): Buffer {
  const bytes = deflateRawSync(data, { finishFlush: constants.Z_SYNC_FLUSH });
  if (!bytes.subarray(-4).equals(emptyBlock)) throw new Error('Not flushed');
  return bytes.subarray(0, -4);
}

/** A whole message, compressed. */
export function deflatedFrame(data: string | Uint8Array, shape: FrameShape = {}): Buffer {
  return clientFrame(deflated(data), { reserved: 4, ...shape });
}

export function closePayload(code: number, reason: string | Uint8Array = ''): Buffer {
  return Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(reason)]);
}

/** A handshake as text. A header given as null is left out; a list sends it several times. */
export function handshake(
  path: string,
  headers: Readonly<Record<string, string | readonly string[] | null>> = {},
  start: { readonly method?: string; readonly version?: string } = {},
): string {
  const all = {
    Host: '127.0.0.1',
    Upgrade: 'websocket',
    Connection: 'Upgrade',
    'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
    'Sec-WebSocket-Version': '13',
    ...headers,
  };
  const lines = Object.entries(all).flatMap(([name, value]) =>
    (value === null ? [] : [value].flat()).map((each) => `${name}: ${each}\r\n`),
  );
  return `${start.method ?? 'GET'} ${path} HTTP/${start.version ?? '1.1'}\r\n${lines.join('')}\r\n`;
}

export class RawClient {
  readonly socket: Socket;
  #buffer: Buffer = Buffer.alloc(0);
  /** Come in since, not yet joined to the buffer. */
  readonly #chunks: Buffer[] = [];
  #hasEnded = false;
  #isClosing = false;
  #hasDeflate = false;
  #wake: () => void = () => {};

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#wake();
    });
    const end = (): void => {
      this.#hasEnded = true;
      this.#wake();
    };
    socket.on('end', end);
    socket.on('close', end);
    // A reset by the server is an end like another; tests look at what came before it.
    socket.on('error', end);
  }

  static async connect(port: number): Promise<RawClient> {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new RawClient(socket);
  }

  /** Connects and shakes hands; throws unless the answer is exactly right. */
  static async open(
    port: number,
    path = '/app/key?protocol=7',
    headers: Readonly<Record<string, string>> = {},
  ): Promise<RawClient> {
    const client = await RawClient.connect(port);
    await client.shakeHands(path, headers);
    return client;
  }

  async shakeHands(path: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
    const nonce = randomBytes(16).toString('base64');
    this.send(handshake(path, { 'Sec-WebSocket-Key': nonce, ...headers }));
    const answer = await this.answer();
    const accept = createHash('sha1').update(`${nonce}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    if (answer.status !== 101) throw new Error(`Expected 101, got ${answer.status}: ${answer.body}`);
    if (answer.headers.get('sec-websocket-accept') !== accept) throw new Error('Wrong Sec-WebSocket-Accept');
    const extensions = answer.headers.get('sec-websocket-extensions');
    if (extensions !== undefined && headers['Sec-WebSocket-Extensions'] === undefined) {
      throw new Error(`Extensions that were not offered: ${extensions}`);
    }
    this.#hasDeflate = extensions?.split(';')[0] === 'permessage-deflate';
    return answer;
  }

  send(bytes: string | Uint8Array): void {
    this.socket.write(bytes);
  }

  /** Sends, and resolves when the kernel has the bytes and this process has had a turn to read them at the other end. */
  async sendAlone(bytes: string | Uint8Array): Promise<void> {
    await new Promise<void>((resolve) => this.socket.write(bytes, () => setImmediate(resolve)));
  }

  /** The next HTTP answer. */
  answer(limitMs = 3_000): Promise<Answer> {
    return this.#take('an HTTP answer', limitMs, () => {
      const end = this.#buffer.indexOf('\r\n\r\n');
      if (end < 0) return undefined;
      const [start = '', ...lines] = this.#buffer.subarray(0, end).toString('latin1').split('\r\n');
      const headers = new Map(
        lines.map((line) => {
          const colon = line.indexOf(':');
          return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
        }),
      );
      const status = Number(start.split(' ')[1]);
      const bodyEnd = end + 4 + (status === 101 ? 0 : Number(headers.get('content-length') ?? 0));
      if (this.#buffer.length < bodyEnd) return undefined;
      const body = this.#buffer.subarray(end + 4, bodyEnd).toString();
      this.#buffer = this.#buffer.subarray(bodyEnd);
      return { status, headers, body };
    });
  }

  /** The next frame; throws at the first bit a server must not send. */
  frame(limitMs = 3_000): Promise<ServerFrame> {
    return this.#take('a frame', limitMs, () => this.#parseFrame());
  }

  /** The next frame, which must be text. */
  async text(limitMs?: number): Promise<string> {
    return (await this.#expect(opcodes.text, limitMs)).toString();
  }

  async pong(limitMs?: number): Promise<string> {
    return (await this.#expect(opcodes.pong, limitMs)).toString();
  }

  /** The next frame, which must be a close. The code is null when the server gave none. */
  async close(limitMs?: number): Promise<{ readonly code: number | null; readonly reason: string }> {
    const payload = await this.#expect(opcodes.close, limitMs);
    if (payload.length === 0) return { code: null, reason: '' };
    const reason = new TextDecoder('utf-8', { fatal: true }).decode(payload.subarray(2));
    return { code: payload.readUInt16BE(0), reason };
  }

  /** The end of the TCP connection; throws when anything else comes before it. */
  async ended(limitMs = 3_000): Promise<void> {
    await this.#take('the end', limitMs, () => {
      if (this.#buffer.length > 0) throw new Error(`Bytes before the end: ${this.#buffer.toString('latin1')}`);
      return this.#hasEnded ? true : undefined;
    });
  }

  destroy(): void {
    this.socket.destroy();
  }

  async #expect(opcode: number, limitMs?: number): Promise<Buffer> {
    const frame = await this.frame(limitMs);
    if (frame.opcode === opcode) return frame.payload;
    throw new Error(`Expected opcode ${opcode}, got ${frame.opcode}: ${frame.payload.toString().slice(0, 200)}`);
  }

  #parseFrame(): ServerFrame | undefined {
    const buffer = this.#buffer;
    if (buffer.length > 0 && this.#isClosing) throw new Error('Bytes after the close frame');
    if (buffer.length < 2) return undefined;
    const [first = 0, second = 0] = buffer;
    const opcode = first & 0x0f;
    const isCompressed = first === 0xc1 && this.#hasDeflate;
    if ((first & 0xf0) !== 0x80 && !isCompressed)
      throw new Error(`FIN and no reserved bit expected, first byte is ${first}`);
    if (![opcodes.text, opcodes.close, opcodes.ping, opcodes.pong].some((known) => known === opcode)) {
      throw new Error(`Unexpected opcode ${opcode}`);
    }
    if (second >= 0x80) throw new Error('A server must not mask');
    const start = second < 126 ? 2 : second === 126 ? 4 : 10;
    if (buffer.length < start) return undefined;
    const length = second < 126 ? second : second === 126 ? buffer.readUInt16BE(2) : Number(buffer.readBigUInt64BE(2));
    if (second === 126 && length < 126) throw new Error(`Length ${length} in two bytes`);
    if (second === 127 && length < 65_536) throw new Error(`Length ${length} in eight bytes`);
    if (opcode >= 8 && length > 125) throw new Error(`A control frame of ${length} bytes`);
    if (buffer.length < start + length) return undefined;
    const sent = buffer.subarray(start, start + length);
    const payload = isCompressed ? inflated(sent) : sent;
    if (opcode === opcodes.text) new TextDecoder('utf-8', { fatal: true }).decode(payload);
    if (opcode === opcodes.close) {
      if (length === 1) throw new Error('Half a close code');
      this.#isClosing = true;
    }
    this.#buffer = buffer.subarray(start + length);
    return { opcode, payload, isCompressed, wireBytes: start + length };
  }

  async #take<T>(what: string, limitMs: number, parse: () => T | undefined): Promise<T> {
    const deadline = Date.now() + limitMs;
    for (;;) {
      if (this.#chunks.length > 0) this.#buffer = Buffer.concat([this.#buffer, ...this.#chunks.splice(0)]);
      const value = parse();
      if (value !== undefined) return value;
      if (this.#hasEnded) throw new Error(`The connection ended before ${what}`);
      const restMs = deadline - Date.now();
      if (restMs <= 0) throw new Error(`Waited ${limitMs} ms for ${what}, had ${this.#buffer.length} bytes`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, restMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

/** Takes what fits the window that was asked of the server, and no message that owes anything to one before it. */
function inflated(sent: Buffer): Buffer {
  return inflateRawSync(Buffer.concat([sent, emptyBlock]), { finishFlush: constants.Z_SYNC_FLUSH, windowBits: 13 });
}
