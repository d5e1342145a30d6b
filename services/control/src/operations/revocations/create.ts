import { appChanged, lockApps } from '@starling/database';
import { maxTokenLifetimeMs } from '@starling/ports';
import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';

/** Of one app at a time, since every node holds all of them. */
const revocationsMax = 10_000;

export function createRevocation({
  database,
  bulletin,
  clock,
}: Pick<OperationDeps, 'database' | 'bulletin' | 'clock'>): Implementation {
  return implement(operations.createRevocation, async ({ params: { appId }, body }) => {
    const { sql } = database;
    await lockApps(sql);
    const at = new Date(clock.now());
    const [count] = await sql<{ kept: number }[]>`
      select count(*)::int as kept from app_revocations
      where app_id = ${appId} and at > ${new Date(at.getTime() - maxTokenLifetimeMs)}`;
    if ((count?.kept ?? 0) >= revocationsMax) {
      return fail('state_conflict', {
        message: `The app has ${revocationsMax} revocations already`,
        hint: 'Refuse all tokens of the app instead, in its token settings.',
      });
    }
    await sql`
      insert into app_revocations (app_id, by, id, at) values (${appId}, ${body.by}, ${body.id}, ${at})
      on conflict (app_id, by, id) do update set at = greatest(app_revocations.at, excluded.at)`;
    await appChanged(database, bulletin, appId);
    return {
      ok: true,
      value: { ...body, at: at.toISOString() },
      deed: { target: `app:${appId}`, details: { ...body } },
    };
  });
}
