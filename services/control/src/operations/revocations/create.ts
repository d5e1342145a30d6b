import { addRevocation } from '@starling/database';
import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';

export function createRevocation({
  database,
  controlBus,
  clock,
}: Pick<OperationDeps, 'database' | 'controlBus' | 'clock'>): Implementation {
  return implement(operations.createRevocation, async ({ params: { appId }, body }) => {
    const at = clock.now();
    const kept = await addRevocation(database, controlBus, appId, { ...body, at });
    // Deleted since the request was admitted.
    if (!kept.ok && kept.refusal.code === 'app_id_unknown') return fail('resource_unknown');
    if (!kept.ok) {
      return fail('state_conflict', {
        message: kept.refusal.message,
        hint: 'Refuse all tokens of the app instead, in its token settings.',
      });
    }
    return {
      ok: true,
      value: { ...body, at: new Date(at).toISOString() },
      auditRecord: { target: `app:${appId}`, details: { ...body } },
    };
  });
}
