/**
 * The stream between a TCP socket and the library that reads WebSocket frames from it. It hands on what came in portions,
 * so that thousands of frames in one piece are not handled in one turn; it lets the end of the conversation go out only
 * behind the answers to what the peer sent before it; and what throws on the way costs this connection alone.
 */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { InboundScheduler, InboundWork } from '../inbound-scheduler.ts';

/** In bytes. What fits is handled at a stretch: at most 682 frames, all empty. Smaller portions cost publishers more. */
const portionBytes = 4_096;
/**
 * In bytes: what a unit of work stands for, of bytes that the library reads. So much holds 10 fragments of a message, of
 * which only the last is heard of: reading them must be paid for here.
 */
const bytesPerUnit = 64;
/** The first byte of a close frame from a server: FIN and opcode 8. */
const finalClose = 0x88;

/** Whose conversation it is. */
export interface PacedOwner {
  /** Resolves when all that the peer sent is answered, and the answers are written; null where that is so. */
  answered(): Promise<void> | null;
  /** So many bytes are with the library, of messages that are not whole. */
  holds(bytes: number): void;
  /** The peer has ended its side, and has its answers. `endReading` is to follow. */
  peerEnded(): void;
  fail(err: unknown): void;
}

const paced = Symbol('paced');
/** The listeners, shared by all sockets, find their way by it. */
type Paced = Socket & { [paced]?: PacedSocket };

export class PacedSocket extends Duplex implements InboundWork {
  isScheduled = false;
  /** Bytes that the library has and has not told of: whoever hears of a message or a control frame takes them off. */
  untold = 0;
  readonly #socket: Socket;
  readonly #scheduler: InboundScheduler;
  readonly #closeTimeoutMs: number;
  #owner: PacedOwner | null = null;
  /** What has come and is not handed on. While it is there the socket is not read. */
  #bytes: Buffer | null = null;
  /** Work that stands before the bytes: a message to inflate. */
  #job: (() => void) | null = null;
  #hasPeerEnded = false;
  #isOver = false;
  #hasSaidClose = false;

  /** From here on the socket is this stream's. `closeTimeoutMs`: how long the peer may take to read what waits at the end. */
  constructor(socket: Socket, scheduler: InboundScheduler, closeTimeoutMs: number) {
    super();
    this.#socket = socket;
    this.#scheduler = scheduler;
    this.#closeTimeoutMs = closeTimeoutMs;
    (socket as Paced)[paced] = this;
    socket.setTimeout(0);
    socket.setNoDelay();
    // The answer to the handshake leaves in one piece with the first frames, which come a turn later unless the app has
    // to be asked for elsewhere: then it goes alone.
    socket.cork();
    setImmediate(() => setImmediate(uncork, socket));
    socket.on('error', onError);
    socket.on('close', onClose);
  }

  /** Begins to read. `head`: what came with the handshake. */
  start(owner: PacedOwner, head: Buffer): void {
    this.#owner = owner;
    this.#socket.on('data', onData);
    this.#socket.on('end', onEnd);
    if (head.length > 0) this.#arrived(head);
  }

  /** Whether data frames may be written to the socket: none may follow a close frame. */
  get isOpen(): boolean {
    return !this.#hasSaidClose && !this.#isOver && this.#socket.writable;
  }

  /** To be done before anything else of this connection is handled, and not before this turn has room. */
  later(job: () => void): void {
    this.#job = job;
    this.#scheduler.schedule(this);
  }

  // ── From the peer ──────────────────────────────────────────────────────────────────────────────────────────────

  #arrived(chunk: Buffer): void {
    this.#bytes = this.#bytes === null ? chunk : Buffer.concat([this.#bytes, chunk]);
    this.#scheduler.schedule(this);
    if (this.hasWork) this.#socket.pause();
  }

  get hasWork(): boolean {
    return this.#job !== null || this.#bytes !== null;
  }

  handlePortion(): void {
    const job = this.#job;
    const bytes = this.#bytes;
    if (job !== null) {
      // Also when all is over: the library waits for it.
      this.#job = null;
      job();
    } else if (this.destroyed) {
      this.#bytes = null;
    } else if (bytes !== null) {
      const isLast = bytes.length <= portionBytes;
      this.#bytes = isLast ? null : bytes.subarray(portionBytes);
      const portion = isLast ? bytes : bytes.subarray(0, portionBytes);
      this.#scheduler.charge(portion.length / bytesPerUnit);
      this.untold += portion.length;
      this.push(portion);
      this.#owner?.holds(this.untold);
    }
    if (!this.hasWork) this.#handled();
  }

  /** All that came is handed on. */
  #handled(): void {
    if (this.#isOver) this.destroy();
    else if (this.#hasPeerEnded) this.whenAnswered(() => this.#owner?.peerEnded());
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  /** The library may learn that the peer has ended its side. */
  endReading(): void {
    if (!this.destroyed) this.push(null);
  }

  fail(err: unknown): void {
    this.#bytes = null;
    if (this.#owner === null) this.destroy();
    else this.#owner.fail(err);
  }

  override _read(): void {
    // What comes is pushed when it comes: reading is held up by the scheduler, not by the library.
  }

  // ── To the peer: what the library writes, the answer to the handshake and control frames ───────────────────────

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#send(chunk, done);
  }

  override _writev(chunks: ReadonlyArray<{ readonly chunk: Buffer }>, done: () => void): void {
    this.#send(Buffer.concat(chunks.map(({ chunk }) => chunk)), done);
  }

  #send(bytes: Buffer, done: () => void): void {
    if (bytes[0] !== finalClose) {
      if (this.#socket.writable) this.#socket.write(bytes);
      done();
      return;
    }
    this.whenAnswered(() => {
      if (this.isOpen) this.#socket.write(bytes);
      this.#hasSaidClose = true;
      done();
    });
  }

  /** A peer that closes or ends has asked for the answers to what it sent before. */
  whenAnswered(then: () => void): void {
    const answered = this.#owner?.answered() ?? null;
    if (answered === null) {
      then();
      return;
    }
    let isDue = true;
    const proceed = (): void => {
      if (!isDue) return;
      isDue = false;
      clearTimeout(timer);
      try {
        then();
      } catch (err) {
        this.fail(err);
      }
    };
    // In half of the time that the library gives a close: what is late is not worth losing the close for.
    const timer = setTimeout(proceed, this.#closeTimeoutMs / 2);
    answered.then(proceed, proceed);
  }

  override _final(done: () => void): void {
    // A peer that does not read would be waited for for ever.
    if (this.#socket.writableLength > 0) setTimeout(destroy, this.#closeTimeoutMs, this);
    if (this.#socket.writable) this.#socket.end(done);
    else done();
  }

  override _destroy(err: Error | null, done: (err: Error | null) => void): void {
    this.#isOver = true;
    this.#socket.destroy();
    done(err);
  }

  // ── Called by the shared listeners below ───────────────────────────────────────────────────────────────────────

  static data(stream: PacedSocket, chunk: Buffer): void {
    stream.#arrived(chunk);
  }

  static end(stream: PacedSocket): void {
    stream.#hasPeerEnded = true;
    if (!stream.hasWork) stream.#handled();
  }

  /** The connection is gone. What came before that counts all the same. */
  static over(stream: PacedSocket): void {
    stream.#isOver = true;
    if (!stream.hasWork) stream.#handled();
  }
}

/** Listens for all sockets alike, and costs no more than the one whose event threw. */
function shared<Args extends readonly unknown[]>(
  run: (stream: PacedSocket, ...args: Args) => void,
): (this: Paced, ...args: Args) => void {
  return function (this: Paced, ...args: Args) {
    const stream = this[paced];
    if (stream === undefined) return;
    try {
      run(stream, ...args);
    } catch (err) {
      stream.fail(err);
    }
  };
}

const onData = shared(PacedSocket.data);
const onEnd = shared(PacedSocket.end);
/** Also for errors, which 'close' follows: a peer that resets is an end like another. */
const onError = shared(() => {});
const onClose = shared(PacedSocket.over);

function uncork(socket: Socket): void {
  socket.uncork();
}

function destroy(stream: PacedSocket): void {
  stream.destroy();
}
