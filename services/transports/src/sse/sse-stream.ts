/**
 * One event stream (server-sent events) as a transport. What the session writes goes to the response; what the client says
 * comes as requests of their own, each with the stream's id.
 */
import type { ServerResponse } from 'node:http';
import type { ConnectRequest } from '@starling/core';
import type { Codec, Frame, Observer, Transport } from '@starling/ports';
import { problems, rawDialect } from '@starling/protocol';
import type { Conversation, Conversations } from '../conversation.ts';
import type { InboundScheduler, InboundWork } from '../inbound-scheduler.ts';

export interface SseLimits {
  /** Of one message that a client sends. */
  readonly maxMessageBytes: number;
  /** How long a client may take to read what waits for it when the stream ends. */
  readonly closeTimeoutMs: number;
}

export const defaultSseLimits: SseLimits = { maxMessageBytes: 131_072, closeTimeoutMs: 5_000 };

const start = Buffer.from('data: ');
const end = Buffer.from('\n\n');

/** Each message as one event without a name: the dialect's JSON holds no line break. */
export const sseCodec: Codec = {
  name: 'sse raw',
  dialect: rawDialect,
  frame: (payload): Frame => Buffer.concat([start, payload, end]),
};

/** A comment: clients do not see it, proxies and TCP do. */
const heartbeat = ':\n\n';

/** Milliseconds that EventSource waits before it returns, by the first two digits of the close code. */
const returnAfterMs: Readonly<Record<number, number>> = { 41: 1_000, 42: 100 };
/** At random on top, so that those that were sent away together do not return together. */
const returnSpreadMs = 1_000;

export interface SseStreamOptions {
  readonly id: string;
  readonly response: ServerResponse;
  readonly connectRequest: ConnectRequest;
  readonly token: string | undefined;
  /** Subscribed as soon as the stream is open. */
  readonly channels: readonly string[];
  readonly conversations: Conversations;
  readonly inbound: InboundScheduler;
  readonly limits: SseLimits;
  readonly observer: Observer;
  /** It is over, once. */
  readonly onEnd: (stream: SseStream) => void;
}

/** Nothing that is called from outside throws. */
export class SseStream implements Transport, InboundWork {
  readonly codec = sseCodec;
  readonly id: string;
  readonly origin: string | undefined;
  readonly #options: SseStreamOptions;
  readonly #response: ServerResponse;
  readonly #onWritten: () => void;
  #conversation: Conversation | null = null;
  /** Written before it is known whether the stream opens or is refused. Null from then on. */
  #early: Frame[] | null = [];
  #isEnding = false;
  #isOver = false;
  /** The session has seen a full buffer, and is owed word of the empty one. */
  #isDrainOwed = false;
  /** Bytes of messages on their way that are not whole. */
  #arriving = 0;
  /** Messages of the client that wait for their turn. */
  #texts: string[] = [];
  isScheduled = false;

  constructor(options: SseStreamOptions) {
    const { id, response, connectRequest } = options;
    this.id = id;
    this.origin = connectRequest.origin;
    this.#options = options;
    this.#response = response;
    this.#onWritten = () => this.#fenced(() => this.#written());
    response.on('close', () => this.#ended());
    // 'close' follows, and says all there is to say.
    response.on('error', () => undefined);
  }

  /** Called once. */
  open(): void {
    this.#fenced(() => {
      const { conversations, connectRequest, token } = this.#options;
      this.#conversation = conversations.open(this, connectRequest, token);
      // The client may have gone while the session was made.
      if (this.#isOver) this.#conversation.ended();
    });
  }

  // ── To the client ──────────────────────────────────────────────────────────────────────────────────────────────

  get bufferedBytes(): number {
    return this.#response.writableLength;
  }

  write(frames: Frame): void {
    this.#fenced(() => {
      if (this.#isEnding || this.#isOver) return;
      if (this.#early === null) {
        this.#send(frames);
        return;
      }
      this.#early.push(frames);
      // A refusal closes in the call that writes its words, and is then answered as a request is.
      if (this.#early.length === 1) queueMicrotask(() => this.#fenced(() => this.#opened()));
    });
  }

  /** The client answers nothing, but its kernel does: when that has taken the comment, the peer lives. */
  probe(): void {
    this.#fenced(() => {
      if (this.#early !== null || this.#isEnding || this.#isOver) return;
      this.#response.write(heartbeat, () => this.#fenced(() => this.#conversation?.touch()));
      this.#response.socket?.uncork();
    });
  }

  close(code: number, reason: string): void {
    this.#fenced(() => {
      if (this.#isEnding || this.#isOver) return;
      const pauseMs = returnAfterMs[Math.floor(code / 100)];
      if (this.#early !== null && pauseMs === undefined) {
        this.#refuse(code, reason);
        return;
      }
      this.#begin();
      this.#isEnding = true;
      if (pauseMs !== undefined) {
        this.#response.write(`retry: ${pauseMs + Math.floor(Math.random() * returnSpreadMs)}\n\n`);
      }
      this.#response.end();
      this.#cutLater();
    });
  }

  /** The server stops. */
  goAway(): void {
    this.#fenced(() => this.#conversation?.refuse('going_away'));
  }

  cut(): void {
    this.#response.destroy();
  }

  #opened(): void {
    if (this.#early === null || this.#isEnding || this.#isOver) return;
    this.#begin();
    for (const channel of this.#options.channels) this.#texts.push(JSON.stringify({ subscribe: channel }));
    this.#options.inbound.schedule(this);
  }

  /** The head, and what was written before it. */
  #begin(): void {
    if (this.#early === null) return;
    const early = this.#early;
    this.#early = null;
    this.#response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store, no-transform',
      // For nginx, which would hold events back until there are some kilobytes of them.
      'x-accel-buffering': 'no',
      ...corsHeaders(this.origin),
    });
    const hello = sseCodec.frame(Buffer.from(JSON.stringify({ stream: this.id })));
    this.#send(Buffer.concat([hello, ...early]));
  }

  /** EventSource stays away after any status but 200, which is what codes that are neither 41xx nor 42xx ask for. */
  #refuse(code: number, reason: string): void {
    this.#isEnding = true;
    const [problem, row] = Object.entries(problems).find(([, { number }]) => number === code) ?? [];
    const body = JSON.stringify({ error: reason, code: problem ?? 'internal', number: code });
    this.#response.writeHead(row?.status ?? 403, {
      'content-type': 'application/json; charset=utf-8',
      'cache-control': 'no-store',
    });
    this.#response.end(body);
    this.#cutLater();
  }

  #send(frames: Frame): void {
    this.#response.write(frames, this.#onWritten);
    // HTTP corks the socket until the next tick. What the kernel takes at once must not look like a reader that is slow.
    this.#response.socket?.uncork();
    if (this.bufferedBytes > 0) this.#isDrainOwed = true;
  }

  #written(): void {
    if (!this.#isDrainOwed || this.#isOver || this.bufferedBytes > 0) return;
    this.#isDrainOwed = false;
    this.#conversation?.drained();
  }

  #cutLater(): void {
    const patience = setTimeout(() => this.cut(), this.#options.limits.closeTimeoutMs);
    this.#response.once('close', () => clearTimeout(patience));
  }

  // ── From the client ────────────────────────────────────────────────────────────────────────────────────────────

  /** Of one message, in bytes. */
  get messageBytes(): number {
    const { maxMessageBytes } = this.#options.limits;
    return Math.min(maxMessageBytes, this.#conversation?.messageBytes ?? maxMessageBytes);
  }

  /** So many bytes more, or less, of messages are on their way. */
  arriving(bytes: number): void {
    this.#fenced(() => {
      this.#arriving += bytes;
      if (!this.#isEnding && !this.#isOver) this.#conversation?.arriving(this.#arriving);
    });
  }

  /** False: the stream is over, and the message goes to nobody. */
  receive(text: string): boolean {
    if (this.#isEnding || this.#isOver) return false;
    this.#texts.push(text);
    this.#options.inbound.schedule(this);
    return true;
  }

  get hasWork(): boolean {
    return this.#texts.length > 0;
  }

  handlePortion(): void {
    const text = this.#texts.shift();
    if (text === undefined) return;
    this.#options.inbound.charge(1 + text.length / 1_024);
    if (!this.#isEnding && !this.#isOver) this.#conversation?.receive(text);
  }

  /** Code of ours threw: the state of the stream is unknown, so it ends here, and only it. */
  fail(err: unknown): void {
    this.#options.observer.defect('connection', err);
    this.#response.destroy();
  }

  // ── The end ────────────────────────────────────────────────────────────────────────────────────────────────────

  #ended(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#early = null;
    this.#texts = [];
    this.#fenced(() => this.#conversation?.ended());
    this.#options.onEnd(this);
  }

  #fenced(run: () => void): void {
    try {
      run();
    } catch (err) {
      this.fail(err);
    }
  }
}

/** Whether the origin may is decided by its app, before anything is sent that it could read. */
export function corsHeaders(origin: string | undefined): Readonly<Record<string, string>> {
  return origin === undefined ? {} : { 'access-control-allow-origin': origin, vary: 'origin' };
}
