/** Keys that have come to their end are disabled, on time, by one of the programs that could. */
import { appChanged, type Database, lockApps } from '@starling/database';
import { type Clock, type ControlBus, every, type Observer } from '@starling/ports';
import { recordAudit } from './frame/audit.ts';

interface Deps {
  readonly database: Database;
  readonly controlBus: ControlBus;
  readonly clock: Clock;
}

/** Returns how many. Programs that do it at the same time wait for each other, and find nothing left. */
export async function expireKeys(deps: Deps): Promise<number> {
  const { database, controlBus, clock } = deps;
  const now = new Date(clock.now());
  // Nearly always there is none, and then this takes no lock.
  const [due] = await database.sql`select 1 from app_keys where is_enabled and expires_at <= ${now} limit 1`;
  if (due === undefined) return 0;
  return database.tx(async (sql) => {
    await lockApps(sql);
    const keys = await sql<{ key: string; app_id: string; organisation_id: string }[]>`
      update app_keys set is_enabled = false from apps
      where apps.id = app_keys.app_id and app_keys.is_enabled and expires_at <= ${now}
      returning key, app_id, organisation_id`;
    for (const appId of new Set(keys.map((key) => key.app_id))) await appChanged(database, controlBus, appId);
    for (const { key, app_id: appId, organisation_id: organisationId } of keys) {
      const actor = { kind: 'system' } as const;
      await recordAudit(deps, { organisationId, actor, action: 'expireKey', target: `key:${key}`, details: { appId } });
    }
    return keys.length;
  });
}

/** So soon after its time a key no longer counts, and what nodes need to hear of it. */
export const expireEveryMs = 1_000;

/** Returns the function that ends it, which resolves when the last look is over. */
export function watchKeys(deps: Deps & { readonly observer: Observer }): () => Promise<void> {
  return every(
    deps.clock,
    expireEveryMs,
    () => expireKeys(deps),
    (err) => deps.observer.problem('keys that have expired could not be disabled', { err }),
  );
}
