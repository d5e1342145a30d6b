/** What every node directory must do. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type NodeDirectory, type NodeReport, reportSeconds } from '../index.ts';

export interface NodeDirectoryFixture {
  /** Two views of one world, empty at first. */
  readonly directories: readonly [NodeDirectory, NodeDirectory];
  /** Lets so much time pass for what is reported: moves a fake clock, or makes the store believe it. */
  advance(durationMs: number): Promise<void>;
  /** Sets the wall clock of every node on, or back. No time passes. */
  stepWall(byMs: number): void;
  close(): Promise<void>;
}

export function reportOf(nodeId: string, changes: Partial<NodeReport> = {}): NodeReport {
  return {
    nodeId,
    host: 'host-1',
    parts: ['edge', 'api'],
    version: '1.2.3',
    startedAt: 1_700_000_000_000,
    connections: 7,
    memoryBytes: 123_456_789,
    apps: [],
    ...changes,
  };
}

export function nodeDirectoryContract(name: string, make: () => Promise<NodeDirectoryFixture>): void {
  describe(`${name} as a node directory`, () => {
    let fixture: NodeDirectoryFixture;
    let one: NodeDirectory;
    let other: NodeDirectory;

    beforeEach(async () => {
      fixture = await make();
      [one, other] = fixture.directories;
    });
    afterEach(() => fixture.close());

    const idsSeenBy = async (directory: NodeDirectory) => (await directory.nodes()).map(({ nodeId }) => nodeId).sort();

    it('is empty at first', async () => {
      expect(await one.nodes()).toEqual([]);
    });

    it('shows to all what each reported last, whole', async () => {
      const minute = {
        at: 60_000,
        peakConnections: 1,
        messagesIn: 2,
        bytesIn: 3,
        messagesOut: 4,
        bytesOut: 5,
        refused: 6,
      };
      const full = reportOf('a', {
        host: 'ö"\n',
        uptimeSeconds: 7,
        apps: [{ appId: '1', connections: 7, subscriptions: 9, minutes: [minute, { ...minute, at: 120_000 }] }],
      });
      await one.report(reportOf('a'));
      await one.report(full);
      await other.report(reportOf('b'));
      const seen = await other.nodes();
      expect(seen.toSorted((x, y) => x.nodeId.localeCompare(y.nodeId))).toEqual([full, reportOf('b')]);
      expect(await idsSeenBy(one)).toEqual(['a', 'b']);
    });

    it('forgets a node that says goodbye, and no other', async () => {
      await one.report(reportOf('a'));
      await other.report(reportOf('b'));
      await other.remove('a');
      await other.remove('nobody');
      expect(await idsSeenBy(one)).toEqual(['b']);
    });

    it.each([-3_600_000, 3_600_000])('[CK1] does not notice a wall clock set by %i ms', async (byMs) => {
      await one.report(reportOf('a'));
      fixture.stepWall(byMs);
      expect(await idsSeenBy(one)).toEqual(['a']);
      expect(await idsSeenBy(other)).toEqual(['a']);
      await fixture.advance(reportSeconds * 1_000 + 1);
      expect(await idsSeenBy(one)).toEqual([]);
    });

    it('forgets a node that has not reported for a while, until it does again', async () => {
      await one.report(reportOf('a'));
      await other.report(reportOf('b'));
      await fixture.advance((reportSeconds * 1_000) / 2);
      await other.report(reportOf('b'));
      expect(await idsSeenBy(one)).toEqual(['a', 'b']);
      await fixture.advance((reportSeconds * 1_000) / 2 + 1);
      expect(await idsSeenBy(one)).toEqual(['b']);
      await one.report(reportOf('a'));
      expect(await idsSeenBy(other)).toEqual(['a', 'b']);
    });
  });
}
