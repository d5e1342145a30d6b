/** What happened, counted by app: plain integers, so that counting costs the message path an addition. */
import type { ProblemCode } from '@starling/protocol';

/**
 * What a handshake costs before the engine sees it: the socket, TLS or not, the headers, the upgrade. Measured as the
 * processor's time of 10,000 of them over loopback; it is estimated here since it is nobody's until the key is known.
 */
const openingMs = 0.2;

export class AppTraffic {
  /** Connections open now, on this node. */
  connections = 0;
  /** The most connections at once since `takePeak`. */
  #peak = 0;
  /** Subscriptions held now, on this node. */
  subscriptions = 0;
  connectionsOpened = 0;
  /** Frames received from clients. */
  framesIn = 0;
  /** Signed requests of backends. */
  requestsIn = 0;
  /** Bytes of what clients and backends sent; of a client's text its characters, which are as many unless it is exotic. */
  receivedBytes = 0;
  /** Messages published by backends and by clients with a token, one per channel. */
  published = 0;
  /** Client events. */
  clientEvents = 0;
  /** Frames queued to clients. */
  delivered = 0;
  /** Bytes queued to clients, framing included. */
  deliveredBytes = 0;
  /** What was refused, by the rule that refused it. */
  readonly refusals = new Map<ProblemCode, number>();

  refusedCount = 0;
  /** Requests, publishes and connections refused because the app had had its share. */
  shareRefusals = 0;
  /** Milliseconds of this process's time that the app may still have until the next `allot`; see `Fairness`. */
  share = Number.POSITIVE_INFINITY;
  #spentMs = 0;
  #spentBefore = 0;
  /** For the outboxes: it has frames in the flush to come, and how many of `delivered` earlier flushes had. */
  isInFlush = false;
  flushed = 0;

  /**
   * So much time of this process went into the app: what two readings of a clock around a piece of work tell, in
   * milliseconds with a fraction. Not around what waits: between two awaits everybody else has the processor.
   */
  spent(ms: number): void {
    // A clock read wrongly must neither give time back nor poison the sum.
    if (ms > 0) this.#spentMs += ms;
  }

  /** All of it since the node started, in milliseconds. */
  get spentMs(): number {
    return this.#spentMs;
  }

  get spentSinceAllotted(): number {
    return this.#spentMs - this.#spentBefore;
  }

  get isOverShare(): boolean {
    return this.share !== Number.POSITIVE_INFINITY && this.spentSinceAllotted >= this.share;
  }

  allot(share: number): void {
    this.share = share;
    this.#spentBefore = this.#spentMs;
  }

  /** By key: when it was used last, in milliseconds since 1970. As many as the app has keys. */
  readonly keyUses = new Map<string, number>();

  opened(): void {
    this.connectionsOpened++;
    this.spent(openingMs);
    if (++this.connections > this.#peak) this.#peak = this.connections;
  }

  closed(): void {
    this.connections--;
  }

  /** The most connections at once since the last call, or since the start. */
  takePeak(): number {
    const peak = this.#peak;
    this.#peak = this.connections;
    return peak;
  }

  refused(code: ProblemCode): void {
    this.refusedCount++;
    this.refusals.set(code, (this.refusals.get(code) ?? 0) + 1);
  }
}

export class Traffic {
  /** Refused before any app was known. */
  readonly unknownApp = new AppTraffic();
  readonly #byApp = new Map<string, AppTraffic>();

  of(appId: string): AppTraffic {
    let traffic = this.#byApp.get(appId);
    if (traffic === undefined) {
      traffic = new AppTraffic();
      this.#byApp.set(appId, traffic);
    }
    return traffic;
  }

  /** The app is gone. Who still holds its counters counts for nobody. */
  remove(appId: string): void {
    this.#byApp.delete(appId);
  }

  /** Every app that there is and that has had traffic since the node started. */
  byApp(): ReadonlyMap<string, AppTraffic> {
    return this.#byApp;
  }
}
