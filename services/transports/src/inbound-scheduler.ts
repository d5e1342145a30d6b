/** Shares each turn of the event loop among the connections that sent something: none of them, nor all together, fill it. */
import type { Observer } from '@starling/ports';

/** What one connection has sent and nobody has handled yet. */
export interface InboundWork {
  /** Whether there is more to handle. */
  readonly hasWork: boolean;
  /** Kept by the scheduler. */
  isScheduled: boolean;
  /** Handles the next portion: little, and told to `charge`. */
  handlePortion(): void;
  /** `handlePortion` threw: the state of the connection is unknown from here on. */
  fail(err: unknown): void;
}

/**
 * A unit is one frame, one KiB of a message, or 64 bytes of what comes from the network: a few microseconds. So this many
 * are a few milliseconds, by which what one peer sends may delay what another is waiting for.
 */
export const defaultUnitsPerTurn = 512;

export class InboundScheduler {
  readonly #observer: Pick<Observer, 'defect'>;
  readonly #unitsPerTurn: number;
  readonly #soon: (run: () => void) => void;
  #spent = 0;
  #isTurnDue = false;
  #isRunning = false;
  /** Round robin. From `#next` on they wait. */
  #waiting: InboundWork[] = [];
  #next = 0;

  /** `soon` runs once at the end of the event-loop turn, behind what the network brings meanwhile. */
  constructor(
    observer: Pick<Observer, 'defect'>,
    unitsPerTurn = defaultUnitsPerTurn,
    soon: (run: () => void) => void = setImmediate,
  ) {
    this.#observer = observer;
    this.#unitsPerTurn = unitsPerTurn;
    this.#soon = soon;
  }

  /** Handles it now as far as this turn has room, and the rest in the next turns, by turns with what else waits. */
  schedule(work: InboundWork): void {
    if (work.isScheduled || !work.hasWork) return;
    work.isScheduled = true;
    this.#waiting.push(work);
    this.#run();
  }

  /** What was handled in this turn, in units. */
  charge(units: number): void {
    this.#spent += units;
    this.#endTurnSoon();
  }

  #run(): void {
    // Work that brings other work, or more of itself, is in the loop below already.
    if (this.#isRunning) return;
    this.#isRunning = true;
    while (this.#spent < this.#unitsPerTurn && this.#next < this.#waiting.length) {
      const work = this.#waiting[this.#next++] as InboundWork;
      this.charge(1);
      try {
        work.handlePortion();
      } catch (err) {
        this.#fail(work, err);
      }
      work.isScheduled = work.hasWork;
      if (work.isScheduled) this.#waiting.push(work);
      this.#trim();
    }
    this.#isRunning = false;
    if (this.#waiting.length > 0) this.#endTurnSoon();
  }

  #fail(work: InboundWork, err: unknown): void {
    try {
      work.fail(err);
    } catch (second) {
      this.#observer.defect('connection', second);
    }
  }

  /** What was handled leaves in blocks: taking each from the front would move all the others. */
  #trim(): void {
    if (this.#next === this.#waiting.length) this.#waiting = [];
    else if (this.#next >= 1_024 && this.#next * 2 >= this.#waiting.length)
      this.#waiting = this.#waiting.slice(this.#next);
    else return;
    this.#next = 0;
  }

  #endTurnSoon(): void {
    if (this.#isTurnDue) return;
    this.#isTurnDue = true;
    this.#soon(() => {
      this.#isTurnDue = false;
      this.#spent = 0;
      this.#run();
    });
  }
}
