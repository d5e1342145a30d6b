import { describe, expect, test } from 'vitest';
import { eventName, faultsOf, type History, type Listened, type Publish, type Window } from './history.ts';

const [edge, otherEdge] = [{}, {}];

/** Published one after another, each answered before the next: the first from 10 to 11, the second from 20 to 21, … */
function published(count: number, changes: Partial<Publish> = {}): Publish[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `0:${index}`,
    channels: ['room'],
    except: undefined,
    beginMs: 10 * (index + 1),
    endMs: 10 * (index + 1) + 1,
    status: 200,
    ...changes,
  }));
}

function listener(heard: readonly number[], changes: Partial<Listened> = {}): { node: object; connection: Listened } {
  return {
    node: edge,
    connection: {
      socketId: '1.1',
      joinedAtMs: new Map([['room', 0]]),
      closedAtMs: Number.POSITIVE_INFINITY,
      faults: [],
      heard: heard.map((index) => ({
        event: eventName,
        channel: 'room',
        data: `0:${index}`,
        userId: undefined,
        atMs: 0,
      })),
      ...changes,
    },
  };
}

const faults = (connections: History['connections'], publishes = published(3), windows: Window[] = []) =>
  faultsOf({ publishes, connections, windows });

describe('the checker of histories', () => {
  test('finds nothing where all is well', () => {
    expect(faults([listener([0, 1, 2]), listener([0, 1, 2])])).toEqual([]);
    expect(faults([listener([1, 2], { joinedAtMs: new Map([['room', 15]]) })])).toEqual([]);
  });

  test('finds what was heard twice, in the wrong order, or never published', () => {
    expect(faults([listener([0, 1, 1, 2])])).toEqual(['1.1 on room heard twice: 0:1']);
    expect(faults([listener([1, 0, 2])])).toEqual([expect.stringContaining('heard 0:0 behind 0:1')]);
    expect(faults([listener([0, 1, 2, 7])])).toEqual(['1.1 on room heard 0:7, which nobody published there']);
  });

  test('lets publishes that overlapped come in either order, but in one for all', () => {
    const overlapping = published(2, { beginMs: 10, endMs: 20 });
    expect(faults([listener([1, 0])], overlapping)).toEqual([]);
    expect(faults([listener([1, 0]), listener([0, 1])], overlapping)).toEqual([
      expect.stringContaining('in different orders'),
    ]);
  });

  test('finds an excluded connection that heard', () => {
    const excluding = published(1, { except: '1.1' });
    expect(faults([listener([])], excluding)).toEqual([]);
    expect(faults([listener([0])], excluding)).toEqual(['1.1 heard 0:0 on room, and was excluded from it']);
    // The last event of a cache channel, shown to a newcomer.
    expect(faults([listener([0], { joinedAtMs: new Map([['room', 15]]) })], excluding)).toEqual([]);
  });

  test('finds what was answered and never heard, unless the link was broken or the connection closed', () => {
    expect(faults([listener([0, 2])])).toEqual(['1.1 on room never heard 0:1']);
    expect(faults([listener([0, 2])], [...published(3, { status: 503 })])).toEqual([]);
    expect(faults([listener([0, 1], { closedAtMs: 35 })])).toEqual([]);
    const window = (node: object | undefined, beginMs: number, endMs: number) => [{ node, beginMs, endMs }];
    expect(faults([listener([0])], published(3), window(edge, 25, 40))).toEqual([]);
    expect(faults([listener([0])], published(3), window(undefined, 25, 40))).toEqual([]);
    expect(faults([listener([0, 1])], published(3), window(otherEdge, 25, 40))).toHaveLength(1);
    expect(faults([listener([0, 1])], published(3), window(edge, 2_000, 3_000))).toHaveLength(1);
    expect(faults([listener([0, 1])], published(3), window(edge, 1, 25))).toHaveLength(1);
  });

  test('finds what does not fit what was known, unless the node was broken shortly before', () => {
    const wrong = listener([0, 1, 2], { faults: [{ text: 'gone already', atMs: 50 }] });
    expect(faults([wrong])).toEqual(['1.1: gone already']);
    expect(faults([wrong], published(3), [{ node: edge, beginMs: 40, endMs: 45 }])).toEqual([]);
    expect(faults([wrong], published(3), [{ node: otherEdge, beginMs: 40, endMs: 45 }])).toHaveLength(1);
  });
});
