import { operations } from '../../contract/index.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';

export function listNodes({ clock, nodes }: Pick<OperationDeps, 'clock' | 'nodes'>): Implementation {
  return implement(operations.listNodes, async () => {
    const now = clock.now();
    const items = (await nodes.nodes())
      .toSorted((a, b) => a.startedAt - b.startedAt || (a.nodeId < b.nodeId ? -1 : 1))
      .map(({ nodeId, host, parts, version, startedAt, uptimeSeconds, connections, memoryBytes }) => ({
        id: nodeId,
        host,
        parts: [...parts],
        version,
        startedAt: new Date(startedAt).toISOString(),
        // Of an older version, by two machines' wall clocks.
        uptimeSeconds: uptimeSeconds ?? Math.max(0, Math.floor((now - startedAt) / 1_000)),
        connections,
        memoryBytes,
      }));
    return { ok: true, value: { items } };
  });
}
