/**
 * What the connections of this node hold of its memory, in bytes, and who holds how much: each connection, its address,
 * its app, the node. Everything that a stranger can make the node keep is paid for here before it is kept, so that the
 * node says no while it still can, and those who are connected go on.
 *
 * No fixed part belongs to anybody. A holder may have a multiple of what is still free at that moment: alone an address
 * gets half of all, two get a third each, and however many there are, something is left for the next. So one that takes
 * much is refused long before the node is full, and one that takes little is not.
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

/** What is told when to come back: nobody knows when others go, but those refused should not all ask at once. */
const retrySeconds = 5;

interface Holder {
  bytes: number;
}

export class Capacity {
  readonly #budget: MemoryBudget;
  readonly #apps = new Map<string, Holder>();
  readonly #addresses = new Map<string, Holder>();
  #bytes = 0;

  constructor(budget: MemoryBudget = unlimitedMemory) {
    this.#budget = budget;
  }

  /** Held by all together. */
  get heldBytes(): number {
    return this.#bytes;
  }

  /** Of one connection, from its first byte to its end. */
  open(addressGroup: string): Charge {
    return new Charge(this, addressGroup);
  }

  /** Null when the holders may take so much more. Nothing is taken. */
  check(more: number, connection: number, address: string, appId: string | null): Refusal | null {
    const { bytes, isShort } = this.#budget;
    const free = Math.max(0, bytes - this.#bytes);
    if (more > free || isShort()) return over('this server', bytes, isShort() ? 0 : free);
    const held = {
      connection,
      address: this.#addresses.get(address)?.bytes ?? 0,
      app: appId === null ? 0 : (this.#apps.get(appId)?.bytes ?? 0),
    };
    for (const [holder, name] of holders) {
      const limit = shares[holder] * free;
      if (held[holder] + more > limit) return over(name, limit, Math.max(0, limit - held[holder]));
    }
    return null;
  }

  add(bytes: number, address: string, appId: string | null): void {
    this.#bytes += bytes;
    addTo(this.#addresses, address, bytes);
    if (appId !== null) addTo(this.#apps, appId, bytes);
  }

  addToApp(bytes: number, appId: string): void {
    addTo(this.#apps, appId, bytes);
  }
}

const holders = [
  ['connection', 'one connection'],
  ['address', 'one address'],
  ['app', 'one app'],
] as const;

/** What one connection holds. */
export class Charge {
  readonly #capacity: Capacity;
  readonly #address: string;
  #appId: string | null = null;
  #bytes = 0;
  #hasEnded = false;

  constructor(capacity: Capacity, address: string) {
    this.#capacity = capacity;
    this.#address = address;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Takes all of it, or refuses with `over_capacity` and takes nothing. */
  take(bytes: number): Refusal | null {
    const refusal = this.#capacity.check(bytes, this.#bytes, this.#address, this.#appId);
    if (refusal === null) this.force(bytes);
    return refusal;
  }

  /** Takes what is there anyway, such as a connection that is told that there is no room for it. */
  force(bytes: number): void {
    if (this.#hasEnded) return;
    this.#bytes += bytes;
    this.#capacity.add(bytes, this.#address, this.#appId);
  }

  give(bytes: number): void {
    // Never more than there is: one fault here must not free what others hold.
    this.force(-Math.min(bytes, this.#bytes));
  }

  /** From now on it is the app's, too. Refuses, as `take`, where the app holds too much. */
  joinApp(appId: string): Refusal | null {
    this.#appId = appId;
    if (!this.#hasEnded) this.#capacity.addToApp(this.#bytes, appId);
    // What it holds counts for the node and the address already.
    return this.#capacity.check(0, this.#bytes, this.#address, appId);
  }

  /** Gives back all there is, and takes nothing any more. */
  end(): void {
    this.give(this.#bytes);
    this.#hasEnded = true;
  }
}

function addTo(map: Map<string, Holder>, key: string, bytes: number): void {
  const holder = map.get(key);
  if (holder === undefined) {
    if (bytes > 0) map.set(key, { bytes });
    return;
  }
  holder.bytes += bytes;
  if (holder.bytes <= 0) map.delete(key);
}

function over(holder: string, limit: number, remaining: number): Refusal {
  const state = { limit: Math.floor(limit), remaining: Math.floor(remaining), reset: retrySeconds };
  return refuseByLimit('over_capacity', 'No memory is left for this', `bytes for ${holder} now`, state).refusal;
}
