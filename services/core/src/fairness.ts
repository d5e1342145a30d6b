/** Keeps one app from starving the others of a node: while the event loop is late, those who take most are cut. */
import type { Clock } from '@starling/ports';
import { type Refusal, refuseByLimit } from '@starling/protocol';
import type { AppTraffic, Traffic } from './traffic.ts';

export interface FairnessDeps {
  readonly traffic: Traffic;
  readonly clock: Clock;
}

const turnMs = 1_000;
/** What a share grows by in each second on time: slowly, or every other second would be late again. */
const growth = 1.1;
/** Milliseconds that no share falls below: less is measured too roughly to refuse anybody for it. */
const leastMs = 1;

/**
 * Measured is the time of the process that each app's requests, frames and deliveries took. Once a second that is read.
 * After a late second the apps' time is cut to half of what it was, from the top: all that were above one level may do as much as that in the next second, and no more, and who was
 * below it notices nothing. The level never falls below an equal part for each, and an app that is alone is not cut: it
 * takes from nobody. On time the level rises until nobody meets it.
 */
export class Fairness {
  readonly #deps: FairnessDeps;
  readonly #lateAfterMs: number;
  #share = Number.POSITIVE_INFINITY;
  #refusals = 0;

  /** `lateAfterMs`: how late the event loop may be. */
  constructor(deps: FairnessDeps, lateAfterMs: number) {
    this.#deps = deps;
    this.#lateAfterMs = lateAfterMs;
  }

  /** `lateMs`: how late the event loop was since the call before. Returns the function that ends it, and lifts all cuts. */
  start(lateMs: () => number): () => void {
    const goOn = () => this.#deps.clock.after(turnMs, turn);
    const turn = () => {
      cancel = goOn();
      this.#turn(lateMs() >= this.#lateAfterMs);
    };
    let cancel = goOn();
    return () => {
      cancel();
      this.#share = Number.POSITIVE_INFINITY;
      for (const traffic of this.#deps.traffic.byApp().values()) traffic.allot(this.#share);
    };
  }

  #turn(isLate: boolean): void {
    const apps = this.#deps.traffic.byApp();
    const works: number[] = [];
    let refusals = 0;
    for (const traffic of apps.values()) {
      refusals += traffic.shareRefusals;
      if (traffic.spentSinceAllotted > 0 || traffic.connections > 0) works.push(traffic.spentSinceAllotted);
    }
    const wasMet = refusals !== this.#refusals;
    this.#refusals = refusals;
    if (isLate) this.#share = works.length > 1 ? levelOf(works) : Number.POSITIVE_INFINITY;
    else this.#share = wasMet ? this.#share * growth : Number.POSITIVE_INFINITY;
    for (const traffic of apps.values()) traffic.allot(this.#share);
  }
}

/** Cut to it, all together come to half of what they did; at least an equal part of that whole. */
function levelOf(works: readonly number[]): number {
  const total = works.reduce((sum, work) => sum + work, 0);
  let left = total / 2;
  let apps = works.length;
  for (const work of [...works].sort((one, other) => one - other)) {
    if (work > left / apps) break;
    left -= work;
    apps--;
  }
  // None is left when nobody did anything: then it was something else that made the loop late.
  return apps === 0 ? Number.POSITIVE_INFINITY : Math.max(leastMs, left / apps, total / works.length);
}

/** Null while the app may go on; counts the refusal otherwise. Hot path: nothing but a comparison while nobody is cut. */
export function refuseOverShare(traffic: AppTraffic, code: 'rate_limited' | 'over_capacity'): Refusal | null {
  if (!traffic.isOverShare) return null;
  traffic.shareRefusals++;
  const state = { limit: Math.ceil(traffic.share), remaining: 0, reset: turnMs / 1_000 };
  return refuseByLimit(code, 'This app has had its share of a busy server', 'ms of its time a second', state).refusal;
}
