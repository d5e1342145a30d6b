/** Reads bodies, and bounds how much of them is in memory at once: of one app, and of all of them. */
import type { IncomingMessage } from 'node:http';
import { type Refusal, refuse, refuseByLimit } from '@starling/protocol';

export interface BodyLimits {
  /** Bytes of one body. */
  readonly each: number;
  /** Bytes under way at once of one app. */
  readonly perApp: number;
  /** Bytes under way at once of all apps. */
  readonly all: number;
}

/** A full trigger, 100 names and data of 10 KiB, is far below `each` even when every character is escaped. */
export const defaultBodyLimits: BodyLimits = {
  each: 2 * 1024 * 1024,
  perApp: 32 * 1024 * 1024,
  all: 128 * 1024 * 1024,
};

/** What a request costs beside its body: counted for each, so that many requests that send nothing are bounded, too. */
const leastBytes = 4_096;

const noBody = Buffer.alloc(0);

/** A body that has arrived, or why it was not read to its end. `release` must be called when nothing holds it any more. */
export interface ReadBody {
  readonly bytes: Buffer;
  readonly refusal?: Refusal;
  release(): void;
}

export class Bodies {
  readonly limits: BodyLimits;
  readonly #heldByApp = new Map<string, number>();
  #held = 0;

  constructor(limits: BodyLimits = defaultBodyLimits) {
    this.limits = limits;
  }

  /** Bytes under way now. */
  get held(): number {
    return this.#held;
  }

  /**
   * What arrives is counted as it arrives, and not as it is announced: an announcement costs nothing. Of a body that is
   * refused the rest is left unread. Ends with an error when the peer goes away in the middle.
   */
  read(appId: string, payload: IncomingMessage, done: (err: Error | null, body?: ReadBody) => void): void {
    const chunks: Buffer[] = [];
    let length = 0;
    let held = 0;
    const release = (): void => {
      this.#hold(appId, -held);
      held = 0;
    };
    const hold = (bytes: number): Refusal | undefined => {
      const more = Math.max(bytes, leastBytes) - held;
      const refusal = bytes > this.limits.each ? tooLarge : this.#refusal(appId, more);
      if (refusal === undefined) {
        this.#hold(appId, more);
        held += more;
      }
      return refusal;
    };
    const finish = (err: Error | null, body?: ReadBody): void => {
      payload.removeListener('data', onData).removeListener('end', onEnd);
      payload.removeListener('error', onGone).removeListener('close', onGone);
      if (body?.refusal !== undefined || err !== null) release();
      done(err, body);
    };
    const onData = (chunk: Buffer): void => {
      length += chunk.length;
      const refusal = hold(length);
      if (refusal === undefined) chunks.push(chunk);
      else finish(null, { bytes: noBody, refusal, release });
    };
    const onEnd = (): void => {
      finish(null, { bytes: chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks, length), release });
    };
    const onGone = (): void => finish(new PeerGone());

    const refusal = hold(0);
    if (refusal !== undefined) done(null, { bytes: noBody, refusal, release });
    else payload.on('data', onData).on('end', onEnd).on('error', onGone).on('close', onGone);
  }

  #refusal(appId: string, more: number): Refusal | undefined {
    const { perApp, all } = this.limits;
    const held = this.#heldByApp.get(appId) ?? 0;
    if (held + more > perApp) {
      const state = { limit: perApp, remaining: Math.max(0, perApp - held), reset: 1 };
      return refuseByLimit('rate_limited', 'Too much is under way in bodies of this app', 'bytes', state).refusal;
    }
    if (this.#held + more > all) {
      return refuse('unavailable', 'Too much is under way in bodies of requests: try again in a moment').refusal;
    }
    return undefined;
  }

  #hold(appId: string, bytes: number): void {
    this.#held += bytes;
    const held = (this.#heldByApp.get(appId) ?? 0) + bytes;
    if (held > 0) this.#heldByApp.set(appId, held);
    else this.#heldByApp.delete(appId);
  }
}

/** Nobody is left to be told; Fastify answers into the void. */
class PeerGone extends Error {
  readonly statusCode = 400;

  constructor() {
    super('The peer went away before the end of its body');
  }
}

const tooLarge = refuse('request_too_large').refusal;
