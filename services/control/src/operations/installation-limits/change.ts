import {
  defaultInstallationLimits,
  type InstallationLimits,
  lockApps,
  parseAppSettings,
  readInstallationLimits,
  withinInstallation,
} from '@starling/database';
import { type AppLimits, defaultAppLimits } from '@starling/ports';
import { operations } from '../../contract/index.ts';
import { outdated } from '../../frame/answer.ts';
import { differences } from '../../frame/audit.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { toReply } from './limits.ts';

const names = Object.keys(defaultInstallationLimits) as Array<keyof InstallationLimits>;

const appNames = Object.keys(defaultAppLimits) as Array<keyof AppLimits>;

export function changeInstallationLimits({
  database,
  controlBus,
}: Pick<OperationDeps, 'database' | 'controlBus'>): Implementation {
  return implement(operations.changeInstallationLimits, async ({ body, ifVersion }) => {
    const { sql } = database;
    await lockApps(sql);
    const former = await readInstallationLimits(sql);
    const refused = outdated(former.version, ifVersion);
    if (refused !== undefined) return refused;
    const { version: _, ...said } = body;
    // All of them, also those that are as usual: they stay when a newer program has other defaults.
    const limits = Object.fromEntries(
      names.map((name) => [name, said[name] === undefined ? former.limits[name] : said[name]]),
    ) as unknown as InstallationLimits;
    const version = former.version + 1;
    const details = differences(former.limits, limits);
    if (Object.keys(details).length === 0) {
      return { ok: true, value: toReply(former.limits, former.version), auditRecord: { target: null } };
    }
    await sql`
      insert into installation_limits (limits, version) values (${sql.json(limits)}, ${version})
      on conflict (is_one) do update set limits = excluded.limits, version = excluded.version`;
    const apps = await changeAppsBetween({ database, controlBus }, former.limits, limits);
    return {
      ok: true,
      value: toReply(limits, version),
      auditRecord: { target: 'installation:limits', details: { ...details, apps } },
    };
  });
}

/** Gives each app whose limits that count are others now its next version, and has all nodes read those. Returns how many. */
async function changeAppsBetween(
  { database, controlBus }: Pick<OperationDeps, 'database' | 'controlBus'>,
  former: InstallationLimits,
  next: InstallationLimits,
): Promise<number> {
  const { sql } = database;
  const rows = await sql<{ id: string; settings: unknown }[]>`select id, settings from apps order by id`;
  const ids = rows.flatMap(({ id, settings }) => {
    const own = limitsOf(settings);
    const [before, after] = [withinInstallation(own, former), withinInstallation(own, next)];
    return appNames.every((name) => before[name] === after[name]) ? [] : [id];
  });
  if (ids.length === 0) return 0;
  const changes = await sql<{ seq: number; appId: string }[]>`
    insert into app_changes (app_id) select unnest(${ids}::text[]) returning seq, app_id as "appId"`;
  await sql`
    update apps set version = changes.seq
    from jsonb_to_recordset(${sql.json(changes as never)}) as changes (seq bigint, "appId" text)
    where apps.id = changes."appId"`;
  const last = changes.reduce((newest, each) => (each.seq > newest.seq ? each : newest));
  database.afterCommit(() => {
    // One is enough: nodes read the whole feed up to it. One that is lost costs a few seconds.
    controlBus.post({ kind: 'app-changed', appId: last.appId, version: last.seq }).catch(() => {});
  });
  return ids.length;
}

/** An app that cannot be read has no limits that could change. */
function limitsOf(settings: unknown): AppLimits {
  try {
    return parseAppSettings(settings).limits;
  } catch {
    return defaultAppLimits;
  }
}
