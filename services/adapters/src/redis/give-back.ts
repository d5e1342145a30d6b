/** Giving back the memberships of a node that died, or of this one when it stops: each once, whoever else tries the same. */
import type { Topic } from '@starling/ports';
import type { RedisLink } from './link.ts';
import { parseField } from './membership-book.ts';
import { releaseMembership } from './membership-scripts.ts';
import { scripts } from './scripts.ts';

export interface GiveBackEvents {
  /** Connections left in a topic that lost some. */
  onRepair(topic: Topic, connectionCount: number): void;
}

/** Memberships released before others' commands get their turn, and the claim is renewed. */
const batchSize = 200;
const claimMs = 5_000;

/**
 * Claims the lease, closes its partitions to late joins one by one, and releases what it holds there. The memberships are
 * the record of what is left to do: when this node dies too, another claims the lease and goes on. Returns the number
 * of memberships, or null when the lease has not ended or another node has claimed it.
 */
export async function giveBackLease(
  link: RedisLink,
  lease: string,
  isOwn: boolean,
  events: GiveBackEvents,
): Promise<number | null> {
  const { keys } = link;
  const claim = (isMine: boolean) =>
    link.run(scripts.claim, [keys.leases, keys.dying], [lease, claimMs, isMine ? 1 : 0]);
  if ((await claim(isOwn)) !== 1) return null;
  let count = 0;
  const tagsKey = keys.tagsOf(lease);
  for (const tag of await link.command('smembers', (client) => client.smembers(tagsKey))) {
    const held = keys.partition(tag).heldPrefix + lease;
    await link.command('hdel', (client) => client.hdel(held, ''));
    let cursor = '0';
    do {
      const [next, entries] = await link.command('hscan', (client) => client.hscan(held, cursor, 'COUNT', batchSize));
      const fields = entries.filter((field, index) => index % 2 === 0 && field !== '');
      count += fields.length;
      await giveBackFields(link, lease, tag, fields, events);
      await claim(true);
      cursor = next;
    } while (cursor !== '0');
    await link.command('del', (client) => client.del(held));
  }
  await link.command('del', (client) => client.del(tagsKey));
  await link.command('zrem', (client) => client.zrem(keys.dying, lease));
  return count;
}

async function giveBackFields(
  link: RedisLink,
  lease: string,
  tag: string,
  fields: readonly string[],
  events: GiveBackEvents,
): Promise<void> {
  const changed = new Map<Topic, number>();
  const memberships = fields.map(async (field) => {
    const parsed = parseField(field);
    const topic = parsed && link.keys.topicOf(tag, parsed.name);
    // It goes with the lease's own key, as all that is held there.
    if (parsed === undefined || topic === undefined) return;
    const { socketId } = parsed;
    const left = await releaseMembership(link, link.keys.place(topic), socketId, { onlyLease: lease });
    if (left.kind === 'left' && left.answer.wasThere) changed.set(topic, left.answer.connectionCount);
  });
  await Promise.all(memberships);
  for (const [topic, connectionCount] of changed) events.onRepair(topic, connectionCount);
}
