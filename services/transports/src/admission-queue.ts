/** Admits what comes in storms, handshakes and ends of connections: in the order in which it came, a few in each turn. */
import type { Observer } from '@starling/ports';

/**
 * So many handshakes take about as long as an event takes to reach a hundred sockets, and as ends of connections, less:
 * an event that is published during a storm waits for no more of them than this.
 */
export const defaultPerTurn = 16;
/** Each holds a socket and a request of up to 16 KiB. Clients that return at once are tens of thousands at most. */
const waitingMax = 32_768;

export class AdmissionQueue {
  readonly #observer: Pick<Observer, 'defect'>;
  readonly #perTurn: number;
  readonly #soon: (run: () => void) => void;
  /** From `#next` on they wait; what is before it has been admitted. */
  #waiting: Array<() => void> = [];
  #next = 0;
  #admittedThisTurn = 0;

  /** `soon` runs once at the end of the event-loop turn. */
  constructor(
    observer: Pick<Observer, 'defect'>,
    perTurn = defaultPerTurn,
    soon: (run: () => void) => void = setImmediate,
  ) {
    this.#observer = observer;
    this.#perTurn = perTurn;
    this.#soon = soon;
  }

  /**
   * Runs it now, or in a later turn behind all that came before. False: too many wait, and it will never run. What it
   * throws is a defect, and keeps nothing from those behind it.
   */
  enter(run: () => void): boolean {
    if (this.#waitingCount > 0 || this.#admittedThisTurn >= this.#perTurn) {
      if (this.#waitingCount >= waitingMax) return false;
      this.#waiting.push(run);
    } else {
      this.#admit(run);
    }
    return true;
  }

  /** Admits all that wait, at once: nothing is to be held up any more. */
  admitAll(): void {
    while (this.#waitingCount > 0) this.#admitNext();
  }

  get #waitingCount(): number {
    return this.#waiting.length - this.#next;
  }

  #admit(run: () => void): void {
    if (this.#admittedThisTurn++ === 0) this.#soon(() => this.#turn());
    try {
      run();
    } catch (err) {
      this.#observer.defect('connection', err);
    }
  }

  #admitNext(): void {
    const run = this.#waiting[this.#next++];
    // Emptied as a whole: taking each from the front would move all the others.
    if (this.#waitingCount === 0) {
      this.#waiting = [];
      this.#next = 0;
    }
    if (run !== undefined) this.#admit(run);
  }

  #turn(): void {
    this.#admittedThisTurn = 0;
    for (let count = 0; count < this.#perTurn && this.#waitingCount > 0; count++) this.#admitNext();
  }
}
