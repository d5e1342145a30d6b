/** Apps as rows: read whole, and every change of them put into the order that all nodes follow. */
import { randomBytes } from 'node:crypto';
import { type App, type ControlBus, maxRevocations, maxTokenLifetimeMs, type Revocation } from '@starling/ports';
import { type Checked, limits, refuse } from '@starling/protocol';
import { type AppSettings, parseAppSettings } from './app-settings.ts';
import type { Database, Sql } from './database.ts';
import { parseInstallationLimits, withinInstallation } from './installation-limits.ts';
import type { Keyring } from './keyring.ts';

export interface AppRow {
  readonly id: string;
  readonly organisation_id: string;
  readonly name: string;
  readonly is_enabled: boolean;
  /** See `parseAppSettings`. */
  readonly settings: AppSettings;
  readonly version: number;
  readonly created_at: Date;
}

export interface AppKeyRow {
  readonly key: string;
  readonly app_id: string;
  readonly label: string;
  /** Opened with `appSecretPurpose`. */
  readonly secret_sealed: string;
  readonly is_enabled: boolean;
  readonly created_at: Date;
  readonly expires_at: Date | null;
  readonly last_used_at: Date | null;
}

/** As long as a token may live that was minted by a clock a little ahead. */
const revocationLastsMs = maxTokenLifetimeMs + limits.tokenSkewSeconds * 1_000;
/** Any number that no other lock is taken by in this database. */
const changeLock = 727_303;

/** What the secret of this key is sealed for. */
export function appSecretPurpose(key: string): string {
  return `app-secret:${key}`;
}

/** What the secret of this webhook endpoint is sealed for. */
export function webhookSecretPurpose(endpointId: string): string {
  return `webhook-secret:${endpointId}`;
}

/**
 * Makes the transaction the only one that changes apps, until it ends: to be called before the first statement that
 * touches them, so that no two wait for each other.
 */
export async function lockApps(sql: Sql): Promise<void> {
  await sql`select pg_advisory_xact_lock(${changeLock})`;
}

/**
 * To be called in every transaction that adds, changes or removes an app, its keys or its revocations, once for each app,
 * when that is done. Gives the app its next version, which it returns, puts the change into the feed that nodes follow,
 * and after the commit tells them to look.
 */
export async function appChanged(database: Database, controlBus: ControlBus, appId: string): Promise<number> {
  const { sql } = database;
  await lockApps(sql);
  const [change] = await sql<Array<{ seq: number }>>`insert into app_changes (app_id) values (${appId}) returning seq`;
  const version = change?.seq ?? 0;
  await sql`update apps set version = ${version} where id = ${appId}`;
  database.afterCommit(() => {
    // A control message that is lost costs a few seconds: nodes look into the feed by themselves, and after every gap.
    controlBus.post({ kind: 'app-changed', appId, version }).catch(() => {});
  });
  return version;
}

/**
 * Keeps that the tokens of a user, or one token, are refused: in a transaction, for every door by which a revocation comes.
 * Refuses with `app_id_unknown`, or with `state_conflict` where the app has `maxRevocations` of other users and tokens.
 */
export async function addRevocation(
  database: Database,
  controlBus: ControlBus,
  appId: string,
  { by, id, at }: Revocation,
): Promise<Checked<true>> {
  const { sql } = database;
  await lockApps(sql);
  const [app] = await sql<Array<{ others: number }>>`
    select (
      select count(*)::int from app_revocations as r
      where r.app_id = apps.id and (r.by, r.id) <> (${by}, ${id})
        and r.at > now() - ${revocationLastsMs} * interval '1 millisecond'
    ) as others
    from apps where apps.id = ${appId}`;
  if (app === undefined) return refuse('app_id_unknown');
  if (app.others >= maxRevocations) {
    return refuse('state_conflict', `The app has ${maxRevocations} revocations already`);
  }
  await sql`
    insert into app_revocations (app_id, by, id, at) values (${appId}, ${by}, ${id}, ${new Date(at)})
    on conflict (app_id, by, id) do update set at = greatest(app_revocations.at, excluded.at)`;
  await appChanged(database, controlBus, appId);
  return { ok: true, value: true };
}

interface JoinedRow extends Pick<AppRow, 'id' | 'name' | 'is_enabled' | 'version'> {
  readonly settings: unknown;
  readonly keys: ReadonlyArray<{ key: string; sealed: string; isEnabled: boolean }>;
  readonly revocations: readonly Revocation[];
  /** Of the whole installation; null while none are set. */
  readonly maxima: unknown;
}

export type ReadApp =
  | { readonly id: string; readonly app: App }
  /** It cannot be read: a secret that does not open, settings of a kind that nobody wrote. The others can. */
  | { readonly id: string; readonly problem: unknown };

/** All apps, or those with these ids, each as it was at one moment, with the limits that count for it. A key that has expired is not enabled. */
export async function readApps(sql: Sql, keyring: Keyring, ids?: readonly string[]): Promise<readonly ReadApp[]> {
  const rows = await sql<JoinedRow[]>`
    select apps.id, apps.name, apps.is_enabled, apps.settings, apps.version,
      (select limits from installation_limits) as maxima,
      coalesce((
        select jsonb_agg(jsonb_build_object(
          'key', key, 'sealed', secret_sealed, 'isEnabled', is_enabled and (expires_at is null or expires_at > now())
        ) order by position)
        from app_keys where app_id = apps.id
      ), '[]') as keys,
      coalesce((
        select jsonb_agg(jsonb_build_object(
          'by', by, 'id', app_revocations.id, 'at', round(extract(epoch from at) * 1000)
        ) order by at, by, app_revocations.id)
        from app_revocations where app_id = apps.id and at > now() - ${revocationLastsMs} * interval '1 millisecond'
      ), '[]') as revocations
    from apps ${ids === undefined ? sql`` : sql`where apps.id = any(${[...ids]})`}
    order by apps.created_at, apps.id`;
  return rows.map((row) => {
    try {
      return { id: row.id, app: toApp(row, keyring) };
    } catch (problem) {
      return { id: row.id, problem };
    }
  });
}

function toApp(row: JoinedRow, keyring: Keyring): App {
  const { limits: own, ...settings } = parseAppSettings(row.settings);
  return {
    id: row.id,
    version: row.version,
    name: row.name,
    isEnabled: row.is_enabled,
    keys: row.keys.map(({ key, sealed, isEnabled }) => ({
      key,
      secret: keyring.open(sealed, appSecretPurpose(key)),
      isEnabled,
    })),
    revocations: row.revocations,
    ...settings,
    limits: withinInstallation(own, parseInstallationLimits(row.maxima)),
  };
}

/** Removes what no node can still want: changes that each has read long ago, and revocations of tokens that have expired. */
export async function pruneApps(database: Database): Promise<void> {
  await database.tx(async (sql) => {
    // The newest stays, so that a node that has read it can tell that it has missed nothing.
    await sql`
      delete from app_changes where at < now() - interval '1 day' and seq < (select max(seq) from app_changes)`;
    await sql`delete from app_revocations where at < now() - ${revocationLastsMs} * interval '1 millisecond'`;
  });
}

/** The organisation that was there first: of the first app, and of the first owner. Made where there is none. */
export async function defaultOrganisation(sql: Sql): Promise<string> {
  await lockApps(sql);
  const [first] = await sql<Array<{ id: string }>>`select id from organisations order by created_at, id limit 1`;
  if (first !== undefined) return first.id;
  const id = `org_${randomBytes(10).toString('hex')}`;
  await sql`insert into organisations (id, name) values (${id}, 'Default')`;
  return id;
}
