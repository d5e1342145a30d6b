/** The nodes of a single process: itself. */
import { type Clock, type ElapsedMs, later, type NodeDirectory, type NodeReport, reportSeconds } from '@starling/ports';

export class MemoryNodeDirectory implements NodeDirectory {
  readonly #clock: Clock;
  readonly #reports = new Map<string, { readonly report: NodeReport; readonly until: ElapsedMs }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async report(report: NodeReport): Promise<void> {
    this.#reports.set(report.nodeId, { report, until: later(this.#clock.elapsed(), reportSeconds * 1_000) });
  }

  async remove(nodeId: string): Promise<void> {
    this.#reports.delete(nodeId);
  }

  async nodes(): Promise<readonly NodeReport[]> {
    const now = this.#clock.elapsed();
    for (const [nodeId, { until }] of this.#reports) if (until <= now) this.#reports.delete(nodeId);
    return [...this.#reports.values()].map(({ report }) => report);
  }
}
