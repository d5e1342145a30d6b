import { channelTopic, probeTopic, type Topic, userTopic, watchTopic } from '@starling/ports';
import { describe, expect, it } from 'vitest';
import { Keys, slotOf } from './keys.ts';

const keys = new Keys('p:');
const everyKey = (topic: Topic): string[] => {
  const { partition, memberships, users } = keys.place(topic);
  const { occupied, position, heldPrefix } = partition;
  return [keys.channel(topic), keys.retained(topic), memberships, users, occupied, position, `${heldPrefix}lease`];
};

describe('keys', () => {
  it('of one topic share a slot, whatever is in its name', () => {
    for (const name of ['a', '{x}', '}', '{', '{}', 'a.b', 'ü', '*']) {
      for (const topic of [channelTopic('1', name), userTopic('1', name), probeTopic(name)]) {
        expect(new Set(everyKey(topic).map(slotOf)).size).toBe(1);
      }
    }
  });

  it('of a user and of the user’s watchers share a slot', () => {
    for (let user = 0; user < 50; user++) {
      const [own, watchers] = [userTopic('1', `u:${user}`), watchTopic('1', `u:${user}`)];
      expect(keys.place(own).partition).toBe(keys.place(watchers).partition);
    }
  });

  it('spread one app over sixteen partitions, evenly', () => {
    const counts = new Map<string, number>();
    for (let index = 0; index < 16_000; index++) {
      const { tag } = keys.place(channelTopic('1', `channel-${index}`)).partition;
      counts.set(tag, (counts.get(tag) ?? 0) + 1);
    }
    expect([...counts.keys()].sort()).toEqual(
      keys
        .partitionsOf('1')
        .map(({ tag }) => tag)
        .sort(),
    );
    for (const count of counts.values()) expect(count).toBeGreaterThan(800);
  });

  it('are different for different topics', () => {
    const topics = [
      channelTopic('1', 'a'),
      channelTopic('11', 'a'),
      channelTopic('1', 'A'),
      userTopic('1', 'a'),
      watchTopic('1', 'a'),
      probeTopic('a'),
    ];
    const named = topics.flatMap((topic) => [
      keys.channel(topic),
      keys.place(topic).memberships,
      keys.place(topic).users,
    ]);
    expect(new Set(named).size).toBe(named.length);
  });

  it('lead back to the topic', () => {
    for (const topic of [channelTopic('12', 'presence-a.b'), userTopic('3', 'x:y z')]) {
      const { partition, name } = keys.place(topic);
      expect(keys.topicOf(partition.tag, name)).toBe(topic);
    }
  });

  it('list channels, and neither user channels nor what is internal', () => {
    expect(keys.place(channelTopic('1', 'presence-a')).listedAs).toBe('presence-a');
    expect(keys.place(channelTopic('1', '#server-to-user-a')).listedAs).toBe('');
    expect(keys.place(userTopic('1', 'a')).listedAs).toBe('');
  });

  it('have the slots that Redis says', () => {
    // From CLUSTER KEYSLOT.
    expect(slotOf('123456789')).toBe(12_739);
    expect(slotOf('foo{bar}{zap}')).toBe(slotOf('bar'));
    expect(slotOf('foo{}{bar}')).toBe(8_363);
    expect(slotOf('foo{{bar}}zap')).toBe(4_015);
  });

  it('take no prefix with braces', () => {
    expect(() => new Keys('{a}:')).toThrow('no braces');
  });
});
