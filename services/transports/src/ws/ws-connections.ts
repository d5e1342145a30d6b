/** WebSocket conversations: what the peer sends goes to its session, what the session writes goes to the peer. */
import type { Socket } from 'node:net';
import type { ConnectRequest } from '@starling/core';
import { type SocketWriter, StreamSocketWriter } from '@starling/fanout';
import type { Codec, Fanout, Observer, Transport } from '@starling/ports';
import { type Dialect, limits, problems } from '@starling/protocol';
import WebSocket, { type RawData } from 'ws';
import { AdmissionQueue } from '../admission-queue.ts';
import type { Conversation, Conversations } from '../conversation.ts';
import { InboundScheduler } from '../inbound-scheduler.ts';
import { TextCodec } from './codec.ts';
import { DeflateCodec, PacedInflater } from './deflate.ts';
import { replaceInflater } from './library-internals.ts';
import { type PacedOwner, PacedSocket } from './paced-socket.ts';

export interface WsLimits {
  /** Of one message, whether it comes in one frame or in many. A session may take less: see `Conversation`. */
  readonly maxMessageBytes: number;
  /** Of one message. Each costs memory beside its bytes, also an empty one. */
  readonly maxFragments: number;
  /** How many pieces one frame may come in before it is whole: each costs memory beside its bytes. */
  readonly maxPieces: number;
  /** How long a peer may take to answer our close, or to read what waits for it then. */
  readonly closeTimeoutMs: number;
  /** How long the answer to an opening handshake may take, and its reading. */
  readonly handshakeTimeoutMs: number;
}

export const defaultWsLimits: WsLimits = {
  maxMessageBytes: 131_072,
  maxFragments: 256,
  maxPieces: 4_096,
  closeTimeoutMs: 5_000,
  handshakeTimeoutMs: 10_000,
};

export interface WsDeps {
  readonly sessions: Conversations;
  readonly observer: Observer;
  readonly limits?: Partial<WsLimits>;
  /** How frames get to many sockets at once; one by one when not given. */
  readonly writer?: SocketWriter;
  /** Whether peers that offer permessage-deflate get it; not when not given. */
  readonly compresses?: boolean;
}

/** Of one dialect: what its conversations are framed by, which have agreed on compression and which have not. */
export interface WsCodecs {
  readonly plain: Codec;
  readonly deflated: Codec;
}

export function wsCodecs(dialect: Dialect): WsCodecs {
  return { plain: new TextCodec(dialect), deflated: new DeflateCodec(dialect) };
}

/** What the library answers a handshake on: to be opened with what comes of it. */
export interface Accepted {
  readonly ws: WebSocket;
  readonly stream: PacedSocket;
  /** What came with the handshake. */
  readonly head: Buffer;
}

/** All that are open, and what they have in common. */
export class WsConnections implements Fanout {
  readonly sessions: WsDeps['sessions'];
  readonly observer: Observer;
  readonly limits: WsLimits;
  readonly admission: AdmissionQueue;
  readonly inbound: InboundScheduler;
  readonly #open = new Set<WsConnection>();
  readonly #writer: SocketWriter;
  /** Of one call of `write`, used again in the next. */
  readonly #sockets: Array<Socket | null> = [];
  #onLast: (() => void) | null = null;

  constructor(deps: WsDeps) {
    this.sessions = deps.sessions;
    this.observer = deps.observer;
    this.limits = { ...defaultWsLimits, ...deps.limits };
    this.admission = new AdmissionQueue(deps.observer);
    this.inbound = new InboundScheduler(deps.observer);
    this.#writer = deps.writer ?? new StreamSocketWriter();
  }

  /** A stream for the library to answer the handshake on. */
  streamOn(socket: Socket): PacedSocket {
    return new PacedSocket(socket, this.inbound, this.limits.closeTimeoutMs);
  }

  open(accepted: Accepted, socket: Socket, codecs: WsCodecs, connectRequest: ConnectRequest, token?: string): void {
    const connection = new WsConnection(accepted, socket, codecs, this);
    this.#open.add(connection);
    connection.open(accepted.head, connectRequest, token);
  }

  closed(connection: WsConnection): void {
    this.#open.delete(connection);
    if (this.#open.size === 0) this.#onLast?.();
  }

  write(transports: readonly WsConnection[], frames: readonly Uint8Array[], count: number): void {
    const sockets = this.#sockets;
    for (let i = 0; i < count; i++) sockets[i] = transports[i]?.openSocket ?? null;
    this.#writer.write(sockets, frames, count, (err, index) =>
      this.#failed(err, index === null ? null : transports[index]),
    );
    for (let i = 0; i < count; i++) if (sockets[i] !== null) transports[i]?.awaitFlush();
    sockets.fill(null, 0, count);
  }

  /** Tells every peer to come back elsewhere. Resolves when all are gone, at the latest after the close timeout. */
  async closeAll(): Promise<void> {
    if (this.#open.size === 0) return;
    const gone = new Promise<void>((resolve) => {
      this.#onLast = resolve;
    });
    for (const connection of [...this.#open]) connection.goAway();
    const patience = setTimeout(() => {
      for (const connection of [...this.#open]) connection.cut();
    }, goodbyeLimitMs);
    await gone;
    clearTimeout(patience);
  }

  #failed(err: unknown, connection: WsConnection | null | undefined): void {
    if (connection == null) this.observer.defect('connection', err);
    else connection.fail(err);
  }
}

/** Of messages that are not whole, what is not counted: most come whole, or in two pieces. */
const freeUntoldBytes = 8_192;
/** Of a control frame from a client: two bytes, and the mask. */
const controlHeaderBytes = 6;
/** When the server stops, for the answers to its closes: who does not read must not hold it up. */
const goodbyeLimitMs = 1_500;
const nothing = Buffer.alloc(0);
const encoder = new TextEncoder();

/** Where the library's socket keeps its connection: the listeners, shared by all, find their way by it. */
const connectionOf = Symbol('connection');
type Owned = WebSocket & { [connectionOf]?: WsConnection };

/**
 * One connection. `ws` reads, and writes control frames; data frames go straight to the TCP socket, already framed, from
 * `write` here or, for many at once, from the fan-out. They cannot cut into each other: the library's sender queues only
 * behind data frames that it compresses, and is given none. So it hands every frame whole to its stream in the call that
 * makes it, which writes it whole, just as `write` does; and the fan-out goes past the socket's queue only while that is
 * empty.
 *
 * Its life is one pair: `open`, and `#closed`, once, however it ends. Nothing that is called from outside throws.
 *
 * There may be tens of thousands, most of them idle: an idle one has no closure, no timer and no buffer of its own.
 */
export class WsConnection implements Transport, PacedOwner {
  readonly codec: Codec;
  readonly #ws: WebSocket;
  readonly #stream: PacedSocket;
  readonly #socket: Socket;
  readonly #connections: WsConnections;
  #session: Conversation | null = null;
  readonly #inflater: PacedInflater | null;
  #isFlushAwaited = false;
  /** What the peer sent last is why the connection ends; nothing behind it is heard. */
  #hasRefused = false;
  #isClosed = false;
  /** What the session knows of `holds`. */
  #arriving = 0;
  /** What the last ping held that found the socket's buffer full. */
  #owedPong: Buffer | null = null;

  constructor({ ws, stream }: Accepted, socket: Socket, codecs: WsCodecs, connections: WsConnections) {
    this.#ws = ws;
    this.#stream = stream;
    this.#socket = socket;
    this.#connections = connections;
    if (ws.extensions === '') {
      this.codec = codecs.plain;
      this.#inflater = null;
    } else {
      this.codec = codecs.deflated;
      this.#inflater = new PacedInflater(ws, stream, connections.inbound, () => this.messageBytes);
      replaceInflater(ws, this.#inflater);
    }
    (ws as Owned)[connectionOf] = this;
    ws.on('message', onMessage);
    ws.on('ping', onPing);
    ws.on('pong', onPong);
    ws.on('error', onError);
    ws.on('close', onClose);
  }

  open(head: Buffer, connectRequest: ConnectRequest, token: string | undefined): void {
    try {
      this.#session = this.#connections.sessions.open(this, connectRequest, token);
      this.#stream.start(this, head);
    } catch (err) {
      this.fail(err);
    }
  }

  /** Code of ours threw: what state the connection is in nobody knows, so it ends here, and only it. */
  fail(err: unknown): void {
    this.#connections.observer.defect('connection', err);
    this.#stream.destroy();
    this.#closed();
  }

  // ── To the peer ────────────────────────────────────────────────────────────────────────────────────────────────

  get fanout(): Fanout {
    return this.#connections;
  }

  get bufferedBytes(): number {
    const { writableLength } = this.#socket;
    // Of a corked socket the kernel has not been offered anything yet.
    return writableLength > 0 && this.#socket.writableCorked > 0 ? 0 : writableLength;
  }

  write(frames: Uint8Array): void {
    try {
      if (!this.#stream.isOpen) return;
      this.#socket.write(frames);
      this.awaitFlush();
    } catch (err) {
      this.fail(err);
    }
  }

  /** The socket while data frames may be written to it: none may follow a close frame. */
  get openSocket(): Socket | null {
    return this.#stream.isOpen ? this.#socket : null;
  }

  probe(): void {
    try {
      if (!this.#isTalking) return;
      this.#ws.ping();
      this.awaitFlush();
    } catch (err) {
      this.fail(err);
    }
  }

  close(code: number, reason: string): void {
    try {
      // From here the library counts the time, and destroys the stream with all it holds when the peer does not answer.
      if (this.#isTalking) this.#ws.close(code, cutReason(reason));
    } catch (err) {
      this.fail(err);
    }
  }

  /** The server stops. */
  goAway(): void {
    try {
      this.#session?.refuse('going_away');
    } catch (err) {
      this.fail(err);
    }
  }

  /** Whatever the peer has not read yet. */
  cut(): void {
    this.#stream.destroy();
  }

  /** Neither side has begun to close. */
  get #isTalking(): boolean {
    return this.#ws.readyState === WebSocket.OPEN;
  }

  /**
   * Asks to be told when what the kernel did not take is gone. An empty write comes behind all of it and has a callback.
   * The 'drain' event would not do: it comes only for a buffer that was above the high-water mark.
   */
  awaitFlush(): void {
    if (this.#isFlushAwaited || this.#socket.writableLength === 0) return;
    // These may be the first frames, which the answer to the handshake has waited for.
    this.#socket.uncork();
    if (this.#socket.writableLength === 0) return;
    this.#isFlushAwaited = true;
    this.#socket.write(nothing, () => this.#flushed());
  }

  #flushed(): void {
    this.#isFlushAwaited = false;
    try {
      if (!this.#stream.isOpen) return;
      if (this.#owedPong !== null && this.#socket.writableLength === 0 && this.#isTalking) {
        this.#ws.pong(this.#owedPong);
        this.#owedPong = null;
      }
      if (this.#socket.writableLength > 0) this.awaitFlush();
      else this.#session?.drained();
    } catch (err) {
      this.fail(err);
    }
  }

  // ── From the peer ──────────────────────────────────────────────────────────────────────────────────────────────

  /** Of one message, as it is after inflating. */
  get messageBytes(): number {
    const { maxMessageBytes } = this.#connections.limits;
    return Math.min(maxMessageBytes, this.#session?.messageBytes ?? maxMessageBytes);
  }

  /** Of messages that are not whole yet. */
  holds(bytes: number): void {
    const held = bytes > freeUntoldBytes ? bytes : 0;
    if (held === this.#arriving || !this.#isTalking) return;
    this.#arriving = held;
    this.#session?.arriving(held);
  }

  received(data: RawData, isBinary: boolean): void {
    // What follows it in the same portion counts with the next one.
    this.#stream.untold = 0;
    if (this.#arriving !== 0) this.holds(0);
    // A Buffer, by the library's default binary type; its UTF-8 has been checked.
    const message = data as Buffer;
    this.#connections.inbound.charge(1 + message.length / 1_024);
    if (!this.#isTalking || this.#hasRefused) return;
    if (isBinary) this.#refuseBinary();
    else if (message.length > this.messageBytes) this.#refuseSize();
    else this.#session?.receive(message.toString(), this.#inflater?.workBytes || message.length);
  }

  /** The session says so itself and closes, so that what the peer asked for before has to be answered first. */
  #refuseBinary(): void {
    this.#hasRefused = true;
    this.#stream.whenAnswered(() => this.#session?.refuse('binary_message'));
  }

  #refuseSize(): void {
    const { number, text } = problems.message_too_large;
    this.#ws.close(number, text);
    this.brokeProtocol(new RangeError(text));
  }

  /**
   * Pongs for a peer that does not read must not pile up: while something waits, only the latest ping is remembered,
   * which RFC 6455, 5.5.3 allows.
   */
  pinged(data: Buffer): void {
    this.#connections.inbound.charge(1);
    this.#told(data);
    if (!this.#isTalking || this.#hasRefused) return;
    this.#session?.touch();
    // It may have been one too many.
    if (!this.#isTalking) return;
    // A copy: the data is a view of a whole chunk from the network.
    if (this.bufferedBytes > 0) this.#owedPong = Buffer.from(data);
    else this.#ws.pong(data);
    this.awaitFlush();
  }

  ponged(data: Buffer): void {
    this.#connections.inbound.charge(1);
    this.#told(data);
    if (this.#isTalking) this.#session?.touch();
  }

  /** A control frame, which may stand between the fragments of a message: these are held on. */
  #told(data: Buffer): void {
    this.#stream.untold = Math.max(0, this.#stream.untold - controlHeaderBytes - data.length);
  }

  /** The peer broke the protocol; the library has sent the close with the code that says how. Nothing to look into. */
  brokeProtocol(err: Error): void {
    const { observer } = this.#connections;
    if (observer.notes) {
      observer.note('websocket failed', { address: this.#socket.remoteAddress, reason: err.message });
    }
  }

  // ── The end ────────────────────────────────────────────────────────────────────────────────────────────────────

  answered(): Promise<void> | null {
    return this.#session?.answered() ?? null;
  }

  /** To end our side too is what costs when thousands are cut at once. */
  peerEnded(): void {
    this.#inOrder(() => {
      this.#closed();
      this.#stream.endReading();
    });
  }

  /** The stream is gone: nothing is left to be done but to leave. */
  ended(): void {
    if (!this.#isClosed) this.#inOrder(() => this.#closed());
  }

  /** Ends go in one line with handshakes: who comes behind may need the place that this one leaves. */
  #inOrder(run: () => void): void {
    const end = (): void => {
      try {
        run();
      } catch (err) {
        this.fail(err);
      }
    };
    // Where there is no room to wait it ends now: nothing may stay half closed.
    if (!this.#connections.admission.enter(end)) end();
  }

  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    try {
      this.#session?.ended();
    } catch (err) {
      this.#connections.observer.defect('connection', err);
      this.#stream.destroy();
    }
    this.#connections.closed(this);
  }
}

/** Listens for all connections alike, and costs no more than the one whose event threw. */
function shared<Args extends readonly unknown[]>(
  run: (connection: WsConnection, ...args: Args) => void,
): (this: Owned, ...args: Args) => void {
  return function (this: Owned, ...args: Args) {
    const connection = this[connectionOf];
    if (connection === undefined) return;
    try {
      run(connection, ...args);
    } catch (err) {
      connection.fail(err);
    }
  };
}

const onMessage = shared((connection, data: RawData, isBinary: boolean) => connection.received(data, isBinary));
const onPing = shared((connection, data: Buffer) => connection.pinged(data));
const onPong = shared((connection, data: Buffer) => connection.ponged(data));
const onError = shared((connection, err: Error) => connection.brokeProtocol(err));
const onClose = shared((connection) => connection.ended());

/** As many whole characters as a close frame has room for. */
function cutReason(reason: string): Buffer {
  const room = Buffer.allocUnsafe(limits.closeReasonBytes);
  return room.subarray(0, encoder.encodeInto(reason, room).written);
}
