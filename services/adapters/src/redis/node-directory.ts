/** The nodes of a cluster, each as a key that goes away by itself. */
import { type NodeDirectory, type NodeReport, type Observer, parseNodeReport, reportSeconds } from '@starling/ports';
import type { RedisLink } from './link.ts';

export class RedisNodeDirectory implements NodeDirectory {
  readonly #link: RedisLink;

  readonly #observer: Pick<Observer, 'problem'>;

  constructor(link: RedisLink, observer: Pick<Observer, 'problem'>) {
    this.#link = link;
    this.#observer = observer;
  }

  async report(report: NodeReport): Promise<void> {
    const { keys } = this.#link;
    await this.#link.command('report', (client) =>
      client
        .multi()
        .set(keys.report(report.nodeId), JSON.stringify(report), 'EX', reportSeconds)
        .sadd(keys.reported, report.nodeId)
        .exec(),
    );
  }

  async remove(nodeId: string): Promise<void> {
    const { keys } = this.#link;
    await this.#link.command('remove a report', (client) =>
      client.multi().del(keys.report(nodeId)).srem(keys.reported, nodeId).exec(),
    );
  }

  async nodes(): Promise<readonly NodeReport[]> {
    const { keys } = this.#link;
    const nodeIds = await this.#link.command('list nodes', (client) => client.smembers(keys.reported));
    if (nodeIds.length === 0) return [];
    const texts = await this.#link.command('read reports', (client) =>
      client.mget(nodeIds.map((nodeId) => keys.report(nodeId))),
    );
    const gone = nodeIds.filter((_, index) => texts[index] === null);
    // One that reports in this moment is put back with its next report: until then it is missed, never doubled.
    if (gone.length > 0) await this.#link.command('forget nodes', (client) => client.srem(keys.reported, ...gone));
    const reports: NodeReport[] = [];
    for (const [index, text] of texts.entries()) {
      if (text === null) continue;
      const report = parseNodeReport(text);
      // One that cannot be read must not hide the others.
      if (report !== undefined) reports.push(report);
      else this.#observer.problem('the report of a node cannot be read', { node: nodeIds[index]?.slice(0, 128) });
    }
    return reports;
  }
}
