import { randomInt } from 'node:crypto';
import { appChanged, type Database, defaultAppSettings, lockApps, readInstallationLimits } from '@starling/database';
import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import type { OperationDeps } from '../deps.ts';
import { aboveInstallation, findApp, merged, toApp } from './app.ts';

interface NewApp {
  readonly organisation_id: string;
  readonly name: string;
  readonly settings: ReturnType<Database['sql']['json']>;
  readonly created_at: Date;
}

export function createApp({
  database,
  controlBus,
  clock,
}: Pick<OperationDeps, 'database' | 'controlBus' | 'clock'>): Implementation {
  return implement(operations.createApp, async ({ organisationId, body }) => {
    const { sql } = database;
    await lockApps(sql);
    const [count] = await sql<{ apps: number }[]>`
      select count(*)::int as apps from apps where organisation_id = ${organisationId}`;
    const { limits: maxima } = await readInstallationLimits(sql);
    const { appsPerOrganisation } = maxima;
    if (appsPerOrganisation !== null && (count?.apps ?? 0) >= appsPerOrganisation) {
      return fail('state_conflict', {
        message: `The organisation has ${count?.apps} apps, and the operators of this installation allow ${appsPerOrganisation}`,
        hint: 'Delete an app that is not used, or ask an operator of this installation.',
      });
    }
    const fields = aboveInstallation(body.limits, maxima);
    if (Object.keys(fields).length > 0) return fail('fields_invalid', { fields });
    const settings = merged(defaultAppSettings, body);
    const id = await insertApp(database, {
      organisation_id: organisationId,
      name: body.name,
      settings: sql.json(settings as never),
      created_at: new Date(clock.now()),
    });
    await appChanged(database, controlBus, id);
    const row = await findApp(database, id);
    // Gone only with its organisation, which waits for this transaction.
    if (row === undefined) return fail('resource_unknown');
    return { ok: true, value: toApp(row, maxima), auditRecord: { target: `app:${id}`, details: { name: row.name } } };
  });
}

/** Under a number that no app has: seven to nine digits, so that none looks like a count. */
async function insertApp({ sql }: Database, app: NewApp): Promise<string> {
  for (;;) {
    const id = String(randomInt(1_000_000, 1_000_000_000));
    const made = await sql`insert into apps ${sql({ id, ...app })} on conflict (id) do nothing returning 1`;
    if (made.length > 0) return id;
  }
}
