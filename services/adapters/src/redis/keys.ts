/** Every key and every pub/sub channel that Starling uses in Redis. */
import { appIdOfTopic, channelOfTopic, type Topic } from '@starling/ports';

/** Changing it strands everything stored: it decides in which hash tag a topic's keys are. */
const partitionCount = 16;

/** All keys of one partition of an app share a hash tag, so that one script may touch any of them on a cluster. */
export interface Partition {
  readonly tag: string;
  /** A hash: occupied channel to `connections users`. */
  readonly occupied: string;
  /** The position given last. */
  readonly position: string;
  /** With a lease behind it, a hash of the memberships held under it; see `join.lua`. */
  readonly heldPrefix: string;
}

/** The keys of one topic, beside those of its partition. */
export interface Place {
  readonly partition: Partition;
  /** The topic without its app. */
  readonly name: string;
  /** The name under which a listing shows it; empty for topics that no listing shows. */
  readonly listedAs: string;
  readonly memberships: string;
  readonly users: string;
}

export class Keys {
  readonly #prefix: string;
  /** By tag, sixteen for each app: every membership refers to one. */
  readonly #partitions = new Map<string, Partition>();

  /** Whatever stands before everything, so that several installations may share a Redis. No braces. */
  constructor(prefix: string) {
    if (/[{}]/.test(prefix)) throw new Error('A Redis prefix holds no braces: they decide where a cluster puts a key');
    this.#prefix = prefix;
  }

  /** The pub/sub channel of a topic. */
  channel(topic: Topic): string {
    return `${this.#prefix}${tagOf(topic)}:m:${nameOf(topic)}`;
  }

  /** The topic's last retained message, as an envelope. */
  retained(topic: Topic): string {
    return `${this.#prefix}${tagOf(topic)}:last:${nameOf(topic)}`;
  }

  /** There while a message of this id may not be published again. */
  messageId(topic: Topic, id: string): string {
    return `${this.#prefix}${tagOf(topic)}:id:${nameOf(topic)}:${id}`;
  }

  place(topic: Topic): Place {
    const partition = this.partition(tagOf(topic));
    const name = nameOf(topic);
    const channel = channelOfTopic(topic);
    const base = this.#prefix + partition.tag;
    return {
      partition,
      name,
      // User channels are nobody's to see: their names say who is signed in.
      listedAs: channel === undefined || channel.startsWith('#') ? '' : channel,
      memberships: `${base}:memberships:${name}`,
      users: `${base}:users:${name}`,
    };
  }

  partition(tag: string): Partition {
    const known = this.#partitions.get(tag);
    if (known !== undefined) return known;
    const base = this.#prefix + tag;
    const partition = { tag, occupied: `${base}:occupied`, position: `${base}:position`, heldPrefix: `${base}:held:` };
    this.#partitions.set(tag, partition);
    return partition;
  }

  partitionsOf(appId: string): readonly Partition[] {
    return Array.from({ length: partitionCount }, (_, index) => this.partition(`{${appId}.${index}}`));
  }

  /**
   * The membership of this name in a partition's tag: the way back from what `join.lua` stores. Undefined where such a topic
   * would not be in this partition: then it was something else that wrote it.
   */
  topicOf(tag: string, name: string): Topic | undefined {
    const topic = `${tag.slice(1, tag.indexOf('.'))}:${name}` as Topic;
    return tagOf(topic) === tag ? topic : undefined;
  }

  /** A sorted set: each living node's lease by its end, in milliseconds of Redis's clock. */
  get leases(): string {
    return `${this.#prefix}{nodes}:leases`;
  }

  /** A sorted set: each dead node's lease by the end of the claim under which somebody releases its memberships. */
  get dying(): string {
    return `${this.#prefix}{nodes}:dying`;
  }

  /** A hash of what the nodes must agree on; see `renew.lua`. */
  get cluster(): string {
    return `${this.#prefix}{nodes}:cluster`;
  }

  /** A set: the tags of the partitions in which a lease may hold memberships. */
  tagsOf(lease: string): string {
    return `${this.#prefix}{nodes}:tags:${lease}`;
  }

  /** A set: the nodes whose reports there may be. */
  get reported(): string {
    return `${this.#prefix}{nodes}:reported`;
  }

  /** What a node says of itself, for as long as it counts. */
  report(nodeId: string): string {
    return `${this.#prefix}{nodes}:report:${nodeId}`;
  }

  bucket(name: string): string {
    return `${this.#prefix}rate:${name}`;
  }
}

function nameOf(topic: Topic): string {
  return topic.slice(topic.indexOf(':') + 1);
}

/** A user's own topic and that of the user's watchers fall together: one's transitions are announced on the other. */
function tagOf(topic: Topic): string {
  const name = nameOf(topic);
  const subject = name.startsWith('~') ? name.slice(name.indexOf(':') + 1) : name;
  return `{${appIdOfTopic(topic)}.${hash(subject) % partitionCount}}`;
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  }
  return value >>> 0;
}

/** The hash slot of a key or channel, as a Redis cluster computes it: CRC-16/XMODEM of its hash tag. */
export function slotOf(key: string): number {
  const open = key.indexOf('{');
  const close = open < 0 ? -1 : key.indexOf('}', open + 1);
  const hashed = close > open + 1 ? key.slice(open + 1, close) : key;
  let crc = 0;
  for (const byte of Buffer.from(hashed)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  }
  return crc % 16_384;
}
