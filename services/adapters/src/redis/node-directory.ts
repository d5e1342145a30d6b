/** The nodes of a cluster, each as a key that goes away by itself. */
import { type NodeDirectory, type NodeReport, reportSeconds } from '@starling/ports';
import type { RedisLink } from './link.ts';

export class RedisNodeDirectory implements NodeDirectory {
  readonly #link: RedisLink;

  constructor(link: RedisLink) {
    this.#link = link;
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
    return texts.filter((text) => typeof text === 'string').map((text): NodeReport => JSON.parse(text));
  }
}
