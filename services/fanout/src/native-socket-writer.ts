import type { Socket } from 'node:net';
import { descriptorOf } from './library-internals.ts';
import { type OnWriteDefect, type SocketWriter, writeAlone } from './socket-writer.ts';

/** What `native/addon.c` exports. */
export interface NativeModule {
  /**
   * Run r sends `frames[r]` to the sockets from the end of the run before it up to `ends[r]`. Each descriptor is replaced
   * by how many bytes the kernel took, or a negated errno; a negative one is left as it is. Throws before it sends
   * anything, or not at all.
   */
  write(sockets: Int32Array, ends: Int32Array, frames: readonly Uint8Array[], runs: number): void;
}

const nothing = new Uint8Array();

/** Sends all that can go at once in one call into C, past the streams; the streams get what the kernel did not take. */
export class NativeSocketWriter implements SocketWriter {
  readonly path = 'native';
  readonly #native: NativeModule;
  /** By index as `sockets` and `frames`: the descriptors, and after the call what came of them. Grown, never shrunk. */
  #outcomes = new Int32Array(64);
  #ends = new Int32Array(64);
  readonly #runs: Uint8Array[] = [];

  constructor(native: NativeModule) {
    this.#native = native;
  }

  /**
   * A descriptor is a number that the system gives to another connection once this one is closed. Ours cannot be such:
   * it is read from the handle, which forgets it in the very call that closes it; sockets are closed only by this thread;
   * and from the first reading until the call into C returns, this thread runs the loop below and Node's plain getters,
   * no one's listener or callback. The call overwrites the numbers with the outcomes, so none is left for a later time.
   */
  write(
    sockets: ReadonlyArray<Socket | null>,
    frames: readonly Uint8Array[],
    count: number,
    onDefect: OnWriteDefect,
  ): void {
    if (count > this.#outcomes.length) this.#grow(count);
    const outcomes = this.#outcomes;
    const ends = this.#ends;
    let runs = 0;
    let last: Uint8Array | undefined;
    for (let i = 0; i < count; i++) {
      outcomes[i] = descriptorOf(sockets[i]);
      const frame = frames[i] ?? nothing;
      if (frame !== last) this.#runs[runs++] = last = frame;
      ends[runs - 1] = i + 1;
    }
    try {
      this.#native.write(outcomes, ends, this.#runs, runs);
    } catch (err) {
      // It throws before it sends: the streams take all, and the one that is at fault throws again, alone.
      outcomes.fill(-1, 0, count);
      onDefect(err, null);
    }
    // Frames are not kept alive until the next turn.
    this.#runs.fill(nothing, 0, runs);

    for (let i = 0; i < count; i++) {
      const taken = outcomes[i] ?? -1;
      const frame = frames[i] ?? nothing;
      if (taken === frame.byteLength) continue;
      // The stream waits until there is room, or meets the error itself and ends the socket with it.
      writeAlone(sockets[i], taken > 0 ? frame.subarray(taken) : frame, i, onDefect);
    }
  }

  #grow(count: number): void {
    const length = 2 ** Math.ceil(Math.log2(count));
    this.#outcomes = new Int32Array(length);
    this.#ends = new Int32Array(length);
  }
}
