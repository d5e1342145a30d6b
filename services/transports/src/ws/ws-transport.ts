/** One WebSocket conversation: what the peer sends goes to its session, what the session writes goes to the peer. */
import type { Socket } from 'node:net';
import type { Greeting, Session } from '@starling/core';
import { type SocketWriter, StreamSocketWriter } from '@starling/fanout';
import type { Codec, Fanout, Observer, Transport } from '@starling/ports';
import { limits } from '@starling/protocol';
import WebSocket, { type RawData } from 'ws';
import { Turnstile } from '../turnstile.ts';
import { webSocketCodec } from './codec.ts';
import { DeflateCodec, inflateHere } from './deflate.ts';

export interface WsLimits {
  /** Of one message, whether it comes in one frame or in many. */
  readonly maxMessageBytes: number;
  /** Of one message. Each costs memory beside its bytes, also an empty one. */
  readonly maxFragments: number;
  /** How many pieces the network may have cut one frame into before it is whole: each costs memory beside its bytes. */
  readonly maxPieces: number;
  /** How long a peer may take to answer our close, or to read what waits for it then. */
  readonly closeTimeoutMs: number;
  /** How long the answer to an opening handshake may take, and its reading. */
  readonly handshakeTimeoutMs: number;
}

/** A message holds the largest client event with its data escaped twice over. */
export const defaultWsLimits: WsLimits = {
  maxMessageBytes: 131_072,
  maxFragments: 4_096,
  maxPieces: 4_096,
  closeTimeoutMs: 5_000,
  handshakeTimeoutMs: 10_000,
};

/** What a transport uses of the engine's session. */
export type PeerSession = Pick<Session, 'receive' | 'refuse' | 'touch' | 'drained' | 'ended'>;

export interface WsDeps {
  /** The engine's `Sessions`. */
  readonly sessions: { open(transport: Transport, greeting: Greeting, token?: string): PeerSession };
  readonly observer: Observer;
  readonly limits?: Partial<WsLimits>;
  /** How frames get to many sockets at once; one by one when not given. */
  readonly writer?: SocketWriter;
  /** Whether peers that offer permessage-deflate get it; not when not given. */
  readonly compresses?: boolean;
}

/** Where both sockets of a conversation keep it: the listeners, shared by all conversations, find their way by it. */
const conversation = Symbol('conversation');
type Owned<T> = T & { [conversation]?: WsTransport };

type EndListener = (this: Socket) => void;

/** Those under way, and what they have in common. */
export class Conversations implements Fanout {
  readonly sessions: WsDeps['sessions'];
  readonly observer: Observer;
  readonly limits: WsLimits;
  /** Through which they begin and end. */
  readonly turnstile = new Turnstile();
  readonly #open = new Set<WsTransport>();
  readonly #writer: SocketWriter;
  readonly #deflateCodec = new DeflateCodec();
  /** Of one call of `write`, used again in the next. */
  readonly #sockets: Array<Socket | null> = [];
  #onLast: (() => void) | null = null;
  #endListener: EndListener | null = null;

  constructor(deps: WsDeps) {
    this.sessions = deps.sessions;
    this.observer = deps.observer;
    this.limits = { ...defaultWsLimits, ...deps.limits };
    this.#writer = deps.writer ?? new StreamSocketWriter();
  }

  open(ws: WebSocket, socket: Socket, greeting: Greeting, token?: string): void {
    const codec = inflateHere(ws, this.limits.maxMessageBytes) ? this.#deflateCodec : webSocketCodec;
    this.#open.add(new WsTransport(ws, socket, codec, this, greeting, token));
  }

  /** Takes the library's listener for the peer's end, the same for all sockets, off a new socket. */
  takeEnd(socket: Socket): void {
    const listener = socket.listeners('end').at(-1) as EndListener;
    socket.removeListener('end', listener);
    this.#endListener = listener;
  }

  /** What the library does when the peer has ended its side. */
  end(socket: Socket): void {
    this.#endListener?.call(socket);
  }

  ended(transport: WsTransport): void {
    this.#open.delete(transport);
    if (this.#open.size === 0) this.#onLast?.();
  }

  write(transports: readonly WsTransport[], frames: readonly Uint8Array[], count: number): void {
    const sockets = this.#sockets;
    for (let i = 0; i < count; i++) sockets[i] = transports[i]?.openSocket ?? null;
    this.#writer.write(sockets, frames, count);
    for (let i = 0; i < count; i++) if (sockets[i] !== null) transports[i]?.awaitFlush();
    sockets.fill(null, 0, count);
  }

  /** Tells every peer to come back elsewhere. Resolves when all are gone, at the latest after the close timeout. */
  async dismissAll(): Promise<void> {
    if (this.#open.size === 0) return;
    const gone = new Promise<void>((resolve) => {
      this.#onLast = resolve;
    });
    for (const transport of this.#open) transport.dismiss();
    await gone;
  }
}

const nothing = Buffer.alloc(0);
const encoder = new TextEncoder();

/**
 * The sending side of one connection. `ws` reads, and writes control frames; data frames go straight to the TCP socket,
 * already framed, from `write` here or, for many at once, from the fan-out. They cannot cut into each other: the library's
 * sender queues only behind data frames that it compresses, and is given none. So it hands every frame whole to the socket
 * in the call that makes it, just as `write` does; and the fan-out goes past the socket's queue only while that is empty.
 *
 * There may be tens of thousands, most of them idle: an idle one has no closure, no timer and no buffer of its own.
 */
export class WsTransport implements Transport {
  readonly codec: Codec;
  readonly #ws: WebSocket;
  readonly #socket: Socket;
  readonly #conversations: Conversations;
  readonly #session: PeerSession;
  #isFlushAwaited = false;
  #hasEnded = false;
  /** What the last ping held that found the socket's buffer full. */
  #owedPong: Buffer | null = null;

  constructor(
    ws: Owned<WebSocket>,
    socket: Owned<Socket>,
    codec: Codec,
    conversations: Conversations,
    greeting: Greeting,
    token: string | undefined,
  ) {
    this.codec = codec;
    this.#ws = ws;
    this.#socket = socket;
    this.#conversations = conversations;
    ws[conversation] = this;
    socket[conversation] = this;
    conversations.takeEnd(socket);
    socket.on('end', onPeerEnd);
    ws.on('message', onMessage);
    ws.on('ping', onPing);
    ws.on('pong', onPong);
    ws.on('error', onError);
    ws.on('close', onClose);
    this.#session = conversations.sessions.open(this, greeting, token);
  }

  // ── To the peer ────────────────────────────────────────────────────────────────────────────────────────────────

  get fanout(): Fanout {
    return this.#conversations;
  }

  get bufferedBytes(): number {
    const { writableLength } = this.#socket;
    // Of a corked socket the kernel has not been offered anything yet.
    return writableLength > 0 && this.#socket.writableCorked > 0 ? 0 : writableLength;
  }

  write(frames: Uint8Array): void {
    if (!this.#isOpen) return;
    this.#socket.write(frames);
    this.awaitFlush();
  }

  /** The socket while data frames may be written to it: none may follow a close frame. */
  get openSocket(): Socket | null {
    return this.#isOpen ? this.#socket : null;
  }

  probe(): void {
    if (!this.#isOpen) return;
    this.#ws.ping();
    this.awaitFlush();
  }

  close(code: number, reason: string): void {
    // From here the library counts the time, and destroys the socket with all it holds when the peer does not answer.
    if (this.#isOpen) this.#ws.close(code, cutReason(reason));
  }

  /** The server stops. */
  dismiss(): void {
    this.#session.refuse('going_away');
  }

  get #isOpen(): boolean {
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
    if (!this.#isOpen) return;
    if (this.#owedPong !== null && this.#socket.writableLength === 0) {
      this.#ws.pong(this.#owedPong);
      this.#owedPong = null;
    }
    if (this.#socket.writableLength > 0) this.awaitFlush();
    else this.#session.drained();
  }

  // ── From the peer: called by the shared listeners below ────────────────────────────────────────────────────────

  received(data: RawData, isBinary: boolean): void {
    if (!this.#isOpen) return;
    if (isBinary) this.#session.refuse('binary_message');
    // A Buffer, by the library's default binary type; its UTF-8 has been checked.
    else this.#session.receive((data as Buffer).toString());
  }

  /**
   * Pongs for a peer that does not read must not pile up: while something waits, only the latest ping is remembered,
   * which RFC 6455, 5.5.3 allows.
   */
  pinged(data: Buffer): void {
    if (!this.#isOpen) return;
    // A copy: the data is a view of a whole chunk from the network.
    if (this.bufferedBytes > 0) this.#owedPong = Buffer.from(data);
    else this.#ws.pong(data);
    this.awaitFlush();
    this.#session.touch();
  }

  ponged(): void {
    this.#session.touch();
  }

  /** The peer broke the protocol; the library has sent the close with the code that says how. Nothing to look into. */
  failed(err: Error): void {
    const { observer } = this.#conversations;
    if (observer.notes) {
      observer.note('websocket failed', { address: this.#socket.remoteAddress, reason: err.message });
    }
  }

  /** The peer will send no more. To end our side too is what costs when thousands are cut at once. */
  halfClosed(): void {
    // Where there is no room to wait it ends now: nothing may stay half closed.
    if (!this.#conversations.turnstile.enter(() => this.#endToo())) this.#endToo();
  }

  #endToo(): void {
    // All that it sent has been heard. Whoever comes through the turnstile next may need the place that it leaves.
    this.#endSession();
    this.#conversations.end(this.#socket);
    // The library would wait for ever for the peer to read.
    if (this.#socket.writableLength > 0) setTimeout(destroy, this.#conversations.limits.closeTimeoutMs, this.#socket);
  }

  finished(): void {
    this.#conversations.ended(this);
    this.#endSession();
  }

  #endSession(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#session.ended();
  }
}

function onMessage(this: Owned<WebSocket>, data: RawData, isBinary: boolean): void {
  this[conversation]?.received(data, isBinary);
}

function onPing(this: Owned<WebSocket>, data: Buffer): void {
  this[conversation]?.pinged(data);
}

function onPong(this: Owned<WebSocket>): void {
  this[conversation]?.ponged();
}

function onError(this: Owned<WebSocket>, err: Error): void {
  this[conversation]?.failed(err);
}

function onClose(this: Owned<WebSocket>): void {
  this[conversation]?.finished();
}

function onPeerEnd(this: Owned<Socket>): void {
  this[conversation]?.halfClosed();
}

function destroy(socket: Socket): void {
  socket.destroy();
}

/** As many whole characters as a close frame has room for. */
function cutReason(reason: string): Buffer {
  const room = Buffer.allocUnsafe(limits.closeReasonBytes);
  return room.subarray(0, encoder.encodeInto(reason, room).written);
}
