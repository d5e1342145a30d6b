/** What happened, counted by app: plain integers, so that counting costs the message path an addition. */
import type { ProblemCode } from '@starling/protocol';

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

  /** Milliseconds of this process's time that its requests took, as far as they are measured. */
  spentMs = 0;

  refusedCount = 0;
  /** Requests, publishes and connections refused because the app had had its share. */
  shareRefusals = 0;
  /** What the app may still do until the next `allot`, in units of `work`; see `Fairness`. */
  share = Number.POSITIVE_INFINITY;
  #workBefore = 0;

  /** What it all cost this process, roughly: one is a frame queued to one client. */
  get work(): number {
    const { connectionsOpened, requestsIn, framesIn, published, clientEvents, delivered } = this;
    return 50 * connectionsOpened + 20 * requestsIn + 2 * framesIn + 4 * (published + clientEvents) + delivered;
  }

  get workSinceAllotted(): number {
    return this.work - this.#workBefore;
  }

  get isOverShare(): boolean {
    return this.share !== Number.POSITIVE_INFINITY && this.workSinceAllotted >= this.share;
  }

  allot(share: number): void {
    this.share = Math.floor(share);
    this.#workBefore = this.work;
  }

  /** By key: when it was used last, in milliseconds since 1970. As many as the app has keys. */
  readonly keyUses = new Map<string, number>();

  opened(): void {
    this.connectionsOpened++;
    if (++this.connections > this.#peak) this.#peak = this.connections;
  }

  spent(milliseconds: number): void {
    this.spentMs += milliseconds;
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
