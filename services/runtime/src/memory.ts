/** How much memory this process may have, and whether it is about to run out of it. */
import { totalmem } from 'node:os';
import { getHeapStatistics } from 'node:v8';

export interface MemoryReading {
  /** Of the JavaScript heap: used, garbage included, and the most that V8 allows before it ends the process. */
  readonly heapUsedBytes: number;
  readonly heapLimitBytes: number;
  /** Of the process, as the system counts it, and the most that it may be before the system ends it. */
  readonly residentBytes: number;
  readonly residentLimitBytes: number;
}

/**
 * V8 collects early while little lives and late while much does: the heap is used to 85 % only when about 70 % of it
 * lives. Beyond that its collections take more and more of the time, and then the process is over.
 */
const heapShortAt = 0.85;
/** The rest of the container is for what the kernel keeps for the process: socket buffers and pages of files. */
const residentShortAt = 0.92;
/** So much below the mark it is over: or every other newcomer would be refused. */
const relief = 0.07;
/** One reading costs about 20 µs, and memory does not run out in a tenth of a second. */
const pauseMs = 100;
/** Beside the heap a connection has memory of the system's: sockets, buffers, frames. */
const heapPart = 0.75;

export interface MemoryGauge {
  /** What of memory there is for everything that is kept in it. */
  readonly limitBytes: number;
  /** Whether nothing more should be begun. Cheap enough to ask for each newcomer. */
  isShort(): boolean;
}

/** `processes`: how many share the machine or the container. */
export function openMemoryGauge(
  processes: number,
  read: (processes: number) => MemoryReading = readMemory,
  nowMs: () => number = () => performance.now(),
): MemoryGauge {
  const { heapLimitBytes, residentLimitBytes } = read(processes);
  let readAtMs = Number.NEGATIVE_INFINITY;
  let isShort = false;
  return {
    limitBytes: Math.min(heapLimitBytes, residentLimitBytes * heapPart),
    isShort: () => {
      const now = nowMs();
      if (now - readAtMs < pauseMs) return isShort;
      readAtMs = now;
      const reading = read(processes);
      const lower = isShort ? relief : 0;
      isShort =
        reading.heapUsedBytes >= reading.heapLimitBytes * (heapShortAt - lower) ||
        reading.residentBytes >= reading.residentLimitBytes * (residentShortAt - lower);
      return isShort;
    },
  };
}

export function readMemory(processes: number): MemoryReading {
  const { used_heap_size, heap_size_limit } = getHeapStatistics();
  // Of the control group, version 1 or 2, in which the process is; 0, or more than there is, where it has none.
  const constrained = process.constrainedMemory();
  const total = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
  return {
    heapUsedBytes: used_heap_size,
    heapLimitBytes: heap_size_limit,
    residentBytes: process.memoryUsage.rss(),
    residentLimitBytes: total / processes,
  };
}
