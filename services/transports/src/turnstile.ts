/** Lets through what comes in storms: in the order in which it came, a few in each turn of the event loop. */

/**
 * So many handshakes take about as long as an event takes to reach a hundred sockets, and as ends of connections, less:
 * an event that is published during a storm waits for no more of them than this.
 */
export const defaultPerTurn = 16;
/** Each holds a socket and a request of up to 16 KiB. Clients that return at once are tens of thousands at most. */
const waitingMax = 32_768;

export class Turnstile {
  readonly #perTurn: number;
  readonly #soon: (run: () => void) => void;
  /** From `#next` on they wait; what is before it has gone through. */
  #waiting: Array<() => void> = [];
  #next = 0;
  #passedThisTurn = 0;

  /** `soon` runs once at the end of the event-loop turn. */
  constructor(perTurn = defaultPerTurn, soon: (run: () => void) => void = setImmediate) {
    this.#perTurn = perTurn;
    this.#soon = soon;
  }

  /** Runs it now, or in a later turn behind all that came before. False: too many wait, and it will never run. */
  enter(run: () => void): boolean {
    if (this.#waitingCount > 0 || this.#passedThisTurn >= this.#perTurn) {
      if (this.#waitingCount >= waitingMax) return false;
      this.#waiting.push(run);
    } else {
      this.#pass(run);
    }
    return true;
  }

  /** All that wait, at once: nothing is to be held up any more. */
  open(): void {
    while (this.#waitingCount > 0) this.#passNext();
  }

  get #waitingCount(): number {
    return this.#waiting.length - this.#next;
  }

  #pass(run: () => void): void {
    if (this.#passedThisTurn++ === 0) this.#soon(() => this.#turn());
    run();
  }

  #passNext(): void {
    const run = this.#waiting[this.#next++];
    // Emptied as a whole: taking each from the front would move all the others.
    if (this.#waitingCount === 0) {
      this.#waiting = [];
      this.#next = 0;
    }
    if (run !== undefined) this.#pass(run);
  }

  #turn(): void {
    this.#passedThisTurn = 0;
    for (let count = 0; count < this.#perTurn && this.#waitingCount > 0; count++) this.#passNext();
  }
}
