/** Keeps one app from starving the others, by how late the event loop is. */
import { Fairness, type FairnessDeps } from '@starling/core';
import { openLateness } from '@starling/runtime';

export function startFairness(deps: FairnessDeps, lateAfterMs: number): () => void {
  const lateness = openLateness();
  const end = new Fairness(deps, lateAfterMs).start(() => lateness.read());
  return () => {
    end();
    lateness.close();
  };
}
