/**
 * What waits to be written. Frames of one event-loop turn leave together in one write; sessions that get the same
 * frames share the bytes of that write.
 */
import {
  type Clock,
  type Codec,
  type ElapsedMs,
  type Fanout,
  type Frame,
  msSince,
  type Observer,
  type Transport,
} from '@starling/ports';
import type { AppTraffic } from './traffic.ts';

/**
 * The frames a session gets in one flush, as a node in a tree: every session that has been given the same frames in
 * the same order stands on the same node. So a push allocates once per message, not once per subscriber, and the
 * bytes of a flush are put together once for all who share it.
 */
class Batch {
  readonly frame: Frame | null;
  readonly before: Batch | null;
  readonly byteLength: number;
  readonly frameCount: number;
  /**
   * The node made last from here. One is enough: delivery pushes one frame to all its subscribers before the next, so
   * whoever stands here wants the same child.
   */
  next: Batch | null = null;
  #bytes: Uint8Array | null = null;

  constructor(before: Batch | null, frame: Frame | null) {
    this.before = before;
    this.frame = frame;
    this.byteLength = (before?.byteLength ?? 0) + (frame?.byteLength ?? 0);
    this.frameCount = before === null ? 0 : before.frameCount + 1;
  }

  with(frame: Frame): Batch {
    if (this.next === null || this.next.frame !== frame) this.next = new Batch(this, frame);
    return this.next;
  }

  bytes(): Uint8Array {
    if (this.#bytes !== null) return this.#bytes;
    if (this.frameCount === 1 && this.frame !== null) {
      this.#bytes = this.frame;
      return this.frame;
    }
    const bytes = Buffer.allocUnsafe(this.byteLength);
    let end = this.byteLength;
    for (let node: Batch | null = this; node !== null && node.frame !== null; node = node.before) {
      end -= node.frame.byteLength;
      bytes.set(node.frame, end);
    }
    this.#bytes = bytes;
    return bytes;
  }
}

/** What one waiting frame costs beside its bytes; counted so that many tiny frames are bounded too. */
const frameOverheadBytes = 64;

export interface OutboxLimits {
  /** Bytes that may wait for one session, counting what its transport has buffered. */
  readonly maxBytes: number;
  /** How long a session may go without its transport's buffer emptying once. */
  readonly maxStallMs: number;
  /** Bytes that may wait for all sessions of the node together. */
  readonly maxTotalBytes: number;
}

/** Of the total, what one session may make wait of the rest that is left: the slowest go first when it runs short. */
const shareOfRest = 1 / 4;

/** How many writes are handed over in one call: enough that the call itself is nothing, and room that is cheap to keep. */
const maxWrites = 1_024;
const nothing = new Uint8Array();

/** Writes that go to one kind of transport together. */
class WriteBatch {
  #fanout: Fanout | null = null;
  /** Never longer than the most; beyond the count there is nothing. */
  readonly #transports: Array<Transport | null> = [];
  readonly #frames: Uint8Array[] = [];
  #count = 0;

  add(transport: Transport, bytes: Uint8Array): void {
    const { fanout } = transport;
    if (fanout === undefined) {
      transport.write(bytes);
      return;
    }
    if (fanout !== this.#fanout || this.#count === maxWrites) {
      this.write();
      this.#fanout = fanout;
    }
    this.#transports[this.#count] = transport;
    this.#frames[this.#count++] = bytes;
  }

  write(): void {
    if (this.#count === 0) return;
    try {
      this.#fanout?.write(this.#transports as readonly Transport[], this.#frames, this.#count);
    } finally {
      // The room is kept for the next turn, without holding on to sessions that may be gone by then.
      this.#transports.fill(null, 0, this.#count);
      this.#frames.fill(nothing, 0, this.#count);
      this.#count = 0;
    }
  }
}

/** A larger list than this is not kept: it was a storm. */
const mostKept = 16_384;

/** Who was pushed to in a turn, in order. It keeps its room, so as not to grow anew in every turn. */
class DirtyList {
  #outboxes: Array<Outbox | null> = [];
  #count = 0;

  add(outbox: Outbox): void {
    this.#outboxes[this.#count++] = outbox;
  }

  each(visit: (outbox: Outbox) => void): void {
    for (let i = 0; i < this.#count; i++) {
      const outbox = this.#outboxes[i];
      if (outbox == null) continue;
      // The others' frames must not wait for ever because one of them threw.
      try {
        visit(outbox);
      } catch (err) {
        outbox.broken(err);
      }
    }
  }

  clear(): void {
    if (this.#count > mostKept) this.#outboxes = [];
    else this.#outboxes.fill(null, 0, this.#count);
    this.#count = 0;
  }
}

/** Sessions whose transports frame alike: only they can share batches, and side by side they are written in one run. */
class CodecGroup {
  readonly codec: Codec;
  readonly flusher: Flusher;
  readonly emptyBatch = new Batch(null, null);
  #dirty = new DirtyList();
  #flushed = new DirtyList();

  constructor(codec: Codec, flusher: Flusher) {
    this.codec = codec;
    this.flusher = flusher;
  }

  add(outbox: Outbox): void {
    this.#dirty.add(outbox);
    this.flusher.flushSoon();
  }

  take(writes: WriteBatch): void {
    [this.#dirty, this.#flushed] = [this.#flushed, this.#dirty];
    this.#flushed.each((outbox) => {
      const bytes = outbox.take();
      if (bytes !== null) writes.add(outbox.transport, bytes);
    });
    // Frames of this turn must not be held until the next.
    this.emptyBatch.next = null;
  }

  settle(): void {
    this.#flushed.each((outbox) => outbox.settle());
    this.#flushed.clear();
  }
}

/** Flushes every outbox that was pushed to, once per event-loop turn, and watches those whose peer does not read. */
export class Flusher {
  readonly clock: Clock;
  readonly limits: OutboxLimits;
  readonly #groups = new Map<Codec, CodecGroup>();
  #isDue = false;
  readonly #writes = new WriteBatch();
  readonly #stalled = new Set<Outbox>();
  #isWatching = false;
  readonly #observer: Pick<Observer, 'defect'>;
  readonly #bills = new FlushBills();
  /** What waits for peers that do not read, over all sessions. */
  waitingBytes = 0;

  constructor(clock: Clock, limits: OutboxLimits, observer: Pick<Observer, 'defect'>) {
    this.clock = clock;
    this.limits = limits;
    this.#observer = observer;
  }

  /** How much may wait for one session now. Falls below its own limit only when the node's is nearly used up. */
  get allowedBytes(): number {
    const { maxBytes, maxTotalBytes } = this.limits;
    return Math.min(maxBytes, Math.max(0, maxTotalBytes - this.waitingBytes) * shareOfRest);
  }

  /** The app has frames in the flush to come, and pays its share of the time that takes. */
  bill(traffic: AppTraffic): void {
    this.#bills.add(traffic);
  }

  groupOf(codec: Codec): CodecGroup {
    let group = this.#groups.get(codec);
    if (group === undefined) {
      group = new CodecGroup(codec, this);
      this.#groups.set(codec, group);
    }
    return group;
  }

  flushSoon(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    this.clock.soon(() => this.flush());
  }

  flush(): void {
    this.#isDue = false;
    const beganMs = this.clock.elapsed();
    // In steps, because a peer found too slow ends its session, which may end others: by then all has been written.
    for (const group of this.#groups.values()) group.take(this.#writes);
    try {
      this.#writes.write();
    } catch (err) {
      // Whose bytes went out is unknown now; those whose did not are found by their silence.
      this.#observer.defect('connection', err);
    }
    for (const group of this.#groups.values()) group.settle();
    this.#bills.settle(msSince(beganMs, this.clock));
  }

  watch(outbox: Outbox): void {
    this.#stalled.add(outbox);
    if (this.#isWatching) return;
    this.#isWatching = true;
    this.clock.after(1_000, () => this.#check());
  }

  unwatch(outbox: Outbox): void {
    this.#stalled.delete(outbox);
  }

  #check(): void {
    const { maxStallMs } = this.limits;
    for (const outbox of this.#stalled) {
      if (outbox.stalledAt === null || msSince(outbox.stalledAt, this.clock) < maxStallMs) continue;
      try {
        outbox.overflow();
      } catch (err) {
        outbox.broken(err);
      }
    }
    this.#isWatching = this.#stalled.size > 0;
    if (this.#isWatching) this.clock.after(1_000, () => this.#check());
  }
}

/** Which apps have frames in the flush to come, so that each pays for its part of it: one look at an app per message. */
class FlushBills {
  readonly #apps: AppTraffic[] = [];

  add(traffic: AppTraffic): void {
    if (traffic.isInFlush) return;
    traffic.isInFlush = true;
    this.#apps.push(traffic);
  }

  settle(tookMs: number): void {
    let frames = 0;
    for (const traffic of this.#apps) frames += traffic.delivered - traffic.flushed;
    for (const traffic of this.#apps) {
      const own = traffic.delivered - traffic.flushed;
      if (frames > 0) traffic.spent((tookMs * own) / frames);
      traffic.flushed = traffic.delivered;
      traffic.isInFlush = false;
    }
    this.#apps.length = 0;
  }
}

/** Whose outbox it is. */
export interface OutboxOwner {
  /** The peer has proved too slow. */
  slow(): void;
  /** Writing to it threw. Never throws. */
  broken(err: unknown): void;
}

/** One session's bounded queue. `onOverflow` is told once, when the peer has proved too slow; pushes then do nothing. */
export class Outbox {
  readonly transport: Transport;
  readonly #group: CodecGroup;
  readonly #owner: OutboxOwner;
  #batch: Batch;
  #isDirty = false;
  #isClosed = false;
  /** What of the node's waiting bytes is this session's. */
  #waitingBytes = 0;
  /** When the transport's buffer was last seen to begin filling; null while it is empty. */
  stalledAt: ElapsedMs | null = null;

  constructor(transport: Transport, flusher: Flusher, owner: OutboxOwner) {
    this.transport = transport;
    this.#group = flusher.groupOf(transport.codec);
    this.#owner = owner;
    this.#batch = this.#group.emptyBatch;
  }

  get codec(): Codec {
    return this.#group.codec;
  }

  push(frame: Frame): void {
    if (this.#isClosed) return;
    this.#batch = this.#batch.with(frame);
    if (this.#isDirty) return;
    this.#isDirty = true;
    this.#group.add(this);
  }

  flush(): void {
    const bytes = this.take();
    if (bytes !== null) this.transport.write(bytes);
    this.settle();
  }

  /** What is to be written now, if anything. While the peer has yet to read what it was given, all stays here. */
  take(): Uint8Array | null {
    this.#isDirty = false;
    const batch = this.#batch;
    // The shared frames wait here rather than as copies in the socket.
    if (this.#isClosed || batch.frameCount === 0 || this.transport.bufferedBytes > 0) return null;
    this.#batch = this.#group.emptyBatch;
    return batch.bytes();
  }

  /** After what was taken has been written: looks whether the peer keeps up. */
  settle(): void {
    if (this.#isClosed) return;
    const buffered = this.transport.bufferedBytes;
    if (buffered === 0) return;
    const { byteLength, frameCount } = this.#batch;
    const { flusher } = this.#group;
    const waiting = buffered + byteLength + frameCount * frameOverheadBytes;
    this.#count(waiting);
    // What one message makes wait is no sign of slowness, unless there is no room for it at all.
    if (frameCount > 0 ? waiting > flusher.allowedBytes : flusher.waitingBytes > flusher.limits.maxTotalBytes) {
      this.overflow();
    } else if (this.stalledAt === null) {
      this.stalledAt = flusher.clock.elapsed();
      flusher.watch(this);
    }
  }

  /** The transport's buffer is empty again. */
  drained(): void {
    this.stalledAt = null;
    this.#count(0);
    this.#group.flusher.unwatch(this);
    this.flush();
  }

  #count(waitingBytes: number): void {
    this.#group.flusher.waitingBytes += waitingBytes - this.#waitingBytes;
    this.#waitingBytes = waitingBytes;
  }

  overflow(): void {
    if (this.#isClosed) return;
    this.close();
    this.#owner.slow();
  }

  broken(err: unknown): void {
    this.#owner.broken(err);
  }

  get allowedBytes(): number {
    return this.#group.flusher.allowedBytes;
  }

  /** So much more, or less, is held elsewhere for this session. */
  hold(bytes: number): void {
    this.#group.flusher.waitingBytes += bytes;
  }

  /** See `Flusher.bill`. */
  sharesFlush(traffic: AppTraffic): void {
    this.#group.flusher.bill(traffic);
  }

  /** Nothing more is sent; what waits is dropped. */
  close(): void {
    this.#isClosed = true;
    this.#batch = this.#group.emptyBatch;
    this.#count(0);
    this.#group.flusher.unwatch(this);
  }
}
