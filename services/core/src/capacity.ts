/**
 * What the connections of this node hold of its memory, in bytes, and who holds how much: each connection, its address,
 * its app, the node. Everything that a stranger can make the node keep is paid for here before it is kept, so that the
 * node says no while it still can, and those who are connected go on.
 *
 * No fixed part belongs to anybody. A holder may have a multiple of what is still free at that moment: alone an address
 * gets half of all, two get a third each, and however many there are, something is left for the next. So one that takes
 * much is refused long before the node is full, and one that takes little is not. Of an app's memory the last quarter is
 * for addresses that hold little, or a few strangers who know the app's public key would shut it for its users.
 */
import { type Refusal, refuseByLimit } from '@starling/protocol';

export interface MemoryBudget {
  /** What connections and all that belongs to them may hold together, in bytes. */
  readonly bytes: number;
  /** Whether the process itself is short of memory, whatever was counted. Asked often: it must be cheap. */
  isShort(): boolean;
}

export const unlimitedMemory: MemoryBudget = { bytes: Number.POSITIVE_INFINITY, isShort: () => false };

// Measured on Node 20 and rounded up by a quarter. 4,000 connections over WebSocket made the process grow by 6 KB each.
// 20,000 subscriptions to as many channels, in memory stores, by 1,270 bytes each with names of 10 characters and 1,640
// with names of 200; 4,000 members with 900 characters of user_info by 4,620. capacity.test.ts measures what of it is in
// the engine anew, and fails when it costs more than is charged. TLS needs some 30 KB more for each connection, outside
// the heap; that, and all else that is not counted, is what `MemoryBudget.isShort` is for.

/** A connection with nothing: its socket, its parser, its session, its timers. */
export const connectionBytes = 8_192;
/** A subscription, beside its name. */
const subscriptionBytes = 1_600;
/** For each character of the name: the topic, the channel, and the keys of hub, broker and store. */
const bytesPerNameCharacter = 3;
/** For each character of what a member says of itself: it is in the member and, escaped, in two frames. */
const bytesPerMemberCharacter = 4;

export function subscriptionCost(nameLength: number, memberLength = 0): number {
  return subscriptionBytes + bytesPerNameCharacter * nameLength + bytesPerMemberCharacter * memberLength;
}

/** How much of what is free each may hold. */
const shares = { connection: 1 / 8, address: 1, app: 4 } as const;
/** Of what an app may hold, so much is for addresses that hold little of it. */
const appReserve = 1 / 4;
/** That is little: a connection in a dozen channels, or two in a few. */
const littleBytes = 32_768;

/** What is told when to come back: nobody knows when others go, but those refused should not all ask at once. */
const retrySeconds = 5;

/** Of many connections together. */
interface Holder {
  bytes: number;
  /** How many connections it is the holder of: with the last it is forgotten. */
  connections: number;
}

/** Those of one kind, by their names. */
class Holders {
  readonly #byName = new Map<string, Holder>();

  enter(name: string): Holder {
    let holder = this.#byName.get(name);
    if (holder === undefined) {
      holder = { bytes: 0, connections: 0 };
      this.#byName.set(name, holder);
    }
    holder.connections++;
    return holder;
  }

  leave(name: string, holder: Holder): void {
    if (--holder.connections === 0) this.#byName.delete(name);
  }
}

export class Capacity {
  readonly budget: MemoryBudget;
  readonly addresses = new Holders();
  readonly apps = new Holders();
  readonly addressesOfApps = new Holders();
  /** Held by all together. */
  heldBytes = 0;

  constructor(budget: MemoryBudget = unlimitedMemory) {
    this.budget = budget;
  }

  /** Of one connection, from its first byte to its end. */
  open(addressGroup: string): Charge {
    return new Charge(this, addressGroup);
  }
}

interface AppHolders {
  readonly id: string;
  readonly app: Holder;
  readonly address: Holder;
}

/** What one connection holds. */
export class Charge {
  readonly #capacity: Capacity;
  readonly #group: string;
  readonly #address: Holder;
  #app: AppHolders | null = null;
  #bytes = 0;
  #hasEnded = false;

  constructor(capacity: Capacity, group: string) {
    this.#capacity = capacity;
    this.#group = group;
    this.#address = capacity.addresses.enter(group);
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Takes all of it, or refuses with `over_capacity` and takes nothing. */
  take(bytes: number): Refusal | null {
    const refusal = this.#check(bytes);
    if (refusal === null) this.force(bytes);
    return refusal;
  }

  /** Takes what is there anyway, such as a connection that is told that there is no room for it. */
  force(bytes: number): void {
    if (this.#hasEnded) return;
    this.#bytes += bytes;
    this.#capacity.heldBytes += bytes;
    this.#address.bytes += bytes;
    if (this.#app === null) return;
    this.#app.app.bytes += bytes;
    this.#app.address.bytes += bytes;
  }

  give(bytes: number): void {
    // Never more than there is: one fault here must not free what others hold.
    this.force(-Math.min(bytes, this.#bytes));
  }

  /** From now on it is the app's, too. Refuses, as `take`, where the app holds too much. Once. */
  joinApp(id: string): Refusal | null {
    if (this.#hasEnded) return null;
    const { apps, addressesOfApps } = this.#capacity;
    this.#app = { id, app: apps.enter(id), address: addressesOfApps.enter(`${id} ${this.#group}`) };
    this.#app.app.bytes += this.#bytes;
    this.#app.address.bytes += this.#bytes;
    // What it holds counts for the node and the address already.
    return this.#check(0);
  }

  /** Releases all there is, and takes nothing any more. */
  end(): void {
    if (this.#hasEnded) return;
    this.give(this.#bytes);
    this.#hasEnded = true;
    const { addresses, apps, addressesOfApps } = this.#capacity;
    addresses.leave(this.#group, this.#address);
    if (this.#app === null) return;
    apps.leave(this.#app.id, this.#app.app);
    addressesOfApps.leave(`${this.#app.id} ${this.#group}`, this.#app.address);
  }

  /** Null when so much more may be taken. */
  #check(more: number): Refusal | null {
    const { budget, heldBytes } = this.#capacity;
    const free = Math.max(0, budget.bytes - heldBytes);
    const isShort = budget.isShort();
    if (more > free || isShort) return over('this server', budget.bytes, isShort ? 0 : free);
    return (
      beyond(shares.connection * free, this.#bytes, more, 'one connection') ??
      beyond(shares.address * free, this.#address.bytes, more, 'one address') ??
      (this.#app === null ? null : checkApp(this.#app, free, more))
    );
  }
}

function checkApp({ app, address }: AppHolders, free: number, more: number): Refusal | null {
  const limit = shares.app * free;
  const full = beyond(limit, app.bytes, more, 'one app');
  if (full !== null || address.bytes + more <= littleBytes) return full;
  // With each byte that the app takes, what is free for all becomes less, too.
  const freeOfApp = Math.max(0, (limit - app.bytes) / (1 + shares.app));
  const most = app.bytes + freeOfApp;
  return beyond((1 - appReserve) * most, app.bytes, more, 'those of one app who hold much');
}

function beyond(limit: number, held: number, more: number, holder: string): Refusal | null {
  return held + more > limit ? over(holder, limit, Math.max(0, limit - held)) : null;
}

function over(holder: string, limit: number, remaining: number): Refusal {
  const state = { limit: Math.floor(limit), remaining: Math.floor(remaining), reset: retrySeconds };
  return refuseByLimit('over_capacity', 'No memory is left for this', `bytes for ${holder} now`, state).refusal;
}
