/** Work that is done one after the other, in an order in which a crowd from one place delays itself more than others. */
import { StarlingError } from '@starling/protocol';

/** `known` people have signed in here before, or were invited. Each name has a lane of its own. */
export interface Lane {
  readonly kind: 'known' | 'stranger';
  /** Of strangers the group of their address. */
  readonly name: string;
}

/** How many may wait in one lane, and in all lanes of a kind: at 30 ms each, the last one waits four seconds. */
const [laneMax, kindMax] = [4, 64];

interface Job {
  begin(): Promise<void>;
  refuse(err: StarlingError): void;
}

/** The lanes of one kind. The first in the map is the next in turn. */
class Lanes {
  readonly #jobs = new Map<string, Job[]>();
  #count = 0;

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  add(name: string, job: Job): void {
    const own = this.#jobs.get(name) ?? [];
    if (own.length >= laneMax) {
      throw new StarlingError('rate_limited', 'Too many passwords of this place wait to be checked', {
        retryAfterSeconds: 1,
      });
    }
    if (this.#count >= kindMax) this.#makeRoomFor(own);
    own.push(job);
    this.#jobs.set(name, own);
    this.#count++;
  }

  take(): Job | undefined {
    const [first] = this.#jobs;
    if (first === undefined) return undefined;
    const [name, own] = first;
    const job = own.shift();
    this.#count--;
    // To the end, so that every lane has its turn.
    this.#jobs.delete(name);
    if (own.length > 0) this.#jobs.set(name, own);
    return job;
  }

  /** Only a lane with more than the newcomer would have gives way: the last of the longest. */
  #makeRoomFor(own: readonly Job[]): void {
    const longest = [...this.#jobs.values()].reduce((one, other) => (other.length > one.length ? other : one), []);
    if (longest.length <= own.length + 1) throw crowded();
    longest.pop()?.refuse(crowded());
    this.#count--;
  }
}

export class Turns {
  readonly #lanes = { known: new Lanes(), stranger: new Lanes() };
  #next: Lane['kind'] = 'known';
  #isBusy = false;

  /** Throws StarlingError `rate_limited` or `unavailable` where too many wait. */
  run<T>({ kind, name }: Lane, work: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      // Thrown here, it rejects the promise.
      this.#lanes[kind].add(name, { begin: () => work().then(resolve, reject), refuse: reject });
      if (!this.#isBusy) void this.#work();
    });
  }

  async #work(): Promise<void> {
    this.#isBusy = true;
    for (let job = this.#take(); job !== undefined; job = this.#take()) await job.begin();
    this.#isBusy = false;
  }

  /** From the two kinds by turns: strangers take at most every second turn, however many they are. */
  #take(): Job | undefined {
    const kind = this.#lanes[this.#next].isEmpty ? other(this.#next) : this.#next;
    this.#next = other(kind);
    return this.#lanes[kind].take();
  }
}

function other(kind: Lane['kind']): Lane['kind'] {
  return kind === 'known' ? 'stranger' : 'known';
}

function crowded(): StarlingError {
  return new StarlingError('unavailable', 'Too many passwords are being checked', { retryAfterSeconds: 3 });
}
