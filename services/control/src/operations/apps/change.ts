import {
  type AppRow,
  type AppSettings,
  appChanged,
  parseAppSettings,
  readInstallationLimits,
  withinInstallation,
} from '@starling/database';
import type { AppLimits } from '@starling/ports';
import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { differences } from '../../frame/audit.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { aboveInstallation, lockApp, merged, toApp } from './app.ts';

interface Changeable {
  readonly name: string;
  readonly isEnabled: boolean;
  readonly settings: AppSettings;
}

export function changeApp({ database, controlBus }: Pick<OperationDeps, 'database' | 'controlBus'>): Implementation {
  return implement(operations.changeApp, async ({ params: { appId }, body, ifVersion }) => {
    const { sql } = database;
    const locked = await lockApp(database, appId, ifVersion);
    if (!locked.ok) return locked;
    const found = locked.value;
    const { limits: maxima } = await readInstallationLimits(sql);
    const fields = aboveInstallation(body.limits, maxima);
    if (Object.keys(fields).length > 0) return fail('fields_invalid', { fields });
    const former = changeableOf(found);
    const next = {
      name: body.name ?? found.name,
      isEnabled: body.isEnabled ?? found.is_enabled,
      settings: merged(former.settings, {
        settings: body.settings,
        limits: othersThan(withinInstallation(former.settings.limits, maxima), body.limits),
      }),
    };
    const details = differences(former, next);
    if (Object.keys(details).length === 0)
      return { ok: true, value: toApp(found, maxima), auditRecord: { target: null } };
    await sql`
      update apps
      set name = ${next.name}, is_enabled = ${next.isEnabled}, settings = ${sql.json(next.settings as never)}
      where id = ${appId}`;
    const version = await appChanged(database, controlBus, appId);
    const row = { ...found, name: next.name, is_enabled: next.isEnabled, settings: next.settings, version };
    return { ok: true, value: toApp(row, maxima), auditRecord: { target: `app:${appId}`, details } };
  });
}

/** Leaves out what counts already: a client that sends back what it has read does not lower the app's own limits. */
function othersThan(
  counting: AppLimits,
  said: Readonly<Partial<Record<keyof AppLimits, number | undefined>>> | undefined,
): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(said ?? {}).filter(([name, value]) => value !== counting[name as keyof AppLimits]),
  );
}

function changeableOf(row: AppRow): Changeable {
  return { name: row.name, isEnabled: row.is_enabled, settings: parseAppSettings(row.settings) };
}
