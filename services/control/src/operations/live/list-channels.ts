import { operations } from '../../contract/index.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { parseCursor, toPage } from '../../frame/page.ts';
import type { OperationDeps } from '../deps.ts';

export function listChannels({ presenceStore }: Pick<OperationDeps, 'presenceStore'>): Implementation {
  return implement(operations.listChannels, async ({ params: { appId }, query: { prefix = '', limit, cursor } }) => {
    const position = parseCursor('channels', ['string'], cursor);
    if (!position.ok) return position;
    const [behind = ''] = position.value ?? [];
    const rows = [...(await presenceStore.channels(appId, prefix))]
      .map(([name, occupancy]) => ({ name, ...occupancy }))
      .filter(({ name }) => name > String(behind))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    const page = toPage(
      'channels',
      limit,
      rows,
      ({ name }) => [name],
      (row) => row,
    );
    return { ok: true, value: page };
  });
}
