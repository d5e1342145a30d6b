/** How late the event loop comes to what is due. */

export interface Lateness {
  /** The mean since the call before, in milliseconds: what waits its turn waits about so long. */
  read(): number;
  close(): void;
}

const everyMs = 50;

/**
 * A timer of its own: Node's `monitorEventLoopDelay` drops the interval in which it is reset, and where a turn takes long,
 * that is the one that counts.
 */
export function openLateness(now: () => number = () => performance.now()): Lateness {
  let dueAt = now() + everyMs;
  let sumMs = 0;
  let count = 0;
  const look = (): void => {
    sumMs += Math.max(0, now() - dueAt);
    count++;
    dueAt = now() + everyMs;
  };
  let timer = setTimeout(function again() {
    look();
    timer = setTimeout(again, everyMs).unref();
  }, everyMs).unref();
  return {
    read: () => {
      const overdueMs = now() - dueAt;
      if (overdueMs > 0) look();
      const mean = count === 0 ? 0 : sumMs / count;
      sumMs = 0;
      count = 0;
      return mean;
    },
    close: () => clearTimeout(timer),
  };
}
