/** The log's way out of the process: stdout, which may be slow, full or gone. That costs lines of the log and nothing else. */
import type { Writable } from 'node:stream';

/** Bytes that wait for a reader. Past them lines are dropped: a reader that has stopped must not take all memory. */
export const waitingBytesMax = 1_048_576;

/**
 * Writes lines to a stream that may fail. A failed line is dropped and counted, and the next one is tried all the same:
 * a disk gets room again, a reader comes back. When the stream takes lines again, `onResumed` is told how many were lost.
 */
export class LogOutput {
  /** How many lines this process could not write, since it started: it has one stdout. */
  static dropped = 0;

  readonly #stream: Writable;
  readonly #onResumed: (dropped: number) => void;
  readonly #bytesMax: number;
  /** Dropped, and nobody told yet. */
  #untold = 0;
  readonly #written: (err?: Error | null) => void;

  constructor(stream: Writable, onResumed: (dropped: number) => void, bytesMax = waitingBytesMax) {
    this.#stream = stream;
    this.#onResumed = onResumed;
    this.#bytesMax = bytesMax;
    this.#written = (err) => {
      if (err) this.#drop();
      else if (this.#untold > 0 && stream.writableLength <= bytesMax / 2) this.#tell();
    };
    // Without a listener the first line after the reader has gone would end the process. `#written` counts the line.
    ignoreErrors(stream);
  }

  write(line: string): void {
    if (this.#stream.writableLength + line.length > this.#bytesMax) {
      this.#drop();
      return;
    }
    try {
      this.#stream.write(line, this.#written);
    } catch {
      this.#drop();
    }
  }

  #drop(): void {
    LogOutput.dropped++;
    this.#untold++;
  }

  #tell(): void {
    const dropped = this.#untold;
    this.#untold = 0;
    this.#onResumed(dropped);
  }
}

function ignore(): void {}

function ignoreErrors(stream: Writable): void {
  if (!stream.listeners('error').includes(ignore)) stream.on('error', ignore);
}

/** From now on a stdout or stderr that is closed, full or broken costs what was to be written there, not the process. */
export function surviveLostOutput(): void {
  for (const stream of [process.stdout, process.stderr]) ignoreErrors(stream);
}

/** Resolves when what was written has left the process, or after the limit. Never rejects. */
export function flushed(stream: Writable, limitMs: number): Promise<void> {
  if (stream.writableLength === 0) return Promise.resolve();
  return new Promise((resolve) => {
    const limit = setTimeout(resolve, limitMs);
    // Callbacks come in order: this one after those of all that was written before.
    stream.write('', () => {
      clearTimeout(limit);
      resolve();
    });
  });
}
