import { appChanged, type Database, lockApps, parseAppSettings } from '@starling/database';
import { type Bulletin, type Clock, maxTokenLifetimeMs, type TokenSettings } from '@starling/ports';
import type { z } from 'zod';
import { type tokenSettings as contract, operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { parseCursor, toPage } from '../../frame/page.ts';
import { differences, findApp, lockApp } from '../apps/app.ts';
import { targetFault } from '../target.ts';

interface Deps {
  readonly database: Database;
  readonly bulletin: Bulletin;
  readonly clock: Clock;
  /** Whether URLs may lead into the operator's own network. */
  readonly mayTargetPrivate: boolean;
}

interface RevocationRow {
  readonly by: 'user' | 'token';
  readonly id: string;
  readonly at: Date;
}

/** Of one app at a time, since every node holds all of them. */
const revocationsMax = 10_000;

export function tokenRoutes({ database, bulletin, clock, mayTargetPrivate }: Deps): Implementation[] {
  return [
    implement(operations.getTokenSettings, async ({ params: { appId } }) => {
      const row = await findApp(database, appId);
      if (row === undefined) return fail('resource_unknown');
      return { ok: true, value: toSettings(parseAppSettings(row.settings).tokens, row.version) };
    }),

    implement(operations.changeTokenSettings, async ({ params: { appId }, body, ifVersion }) => {
      const { sql } = database;
      const locked = await lockApp(database, appId, ifVersion);
      if (!locked.ok) return locked;
      const found = locked.value;
      const settings = parseAppSettings(found.settings);
      const { version: _, ...said } = body;
      const next = parseAppSettings({ ...settings, tokens: { ...settings.tokens, ...said } });
      const fields = providerFaults(said, next.tokens, mayTargetPrivate);
      if (Object.keys(fields).length > 0) return fail('fields_invalid', { fields });
      const details = differences(toSettings(settings.tokens, 1), toSettings(next.tokens, 1));
      if (Object.keys(details).length === 0) {
        return { ok: true, value: toSettings(settings.tokens, found.version), deed: { target: null } };
      }
      await sql`update apps set settings = ${sql.json(next as never)} where id = ${appId}`;
      const version = await appChanged(database, bulletin, appId);
      return { ok: true, value: toSettings(next.tokens, version), deed: { target: `app:${appId}`, details } };
    }),

    implement(operations.listRevocations, async ({ params: { appId }, query }) => {
      const place = parseCursor('revocations', ['time', 'string', 'string'], query.cursor);
      if (!place.ok) return place;
      const { sql } = database;
      const [at, by, id] = place.value ?? [];
      const rows = await sql<RevocationRow[]>`
        select by, id, at from app_revocations
        where app_id = ${appId} and at > ${new Date(clock.now() - maxTokenLifetimeMs)}
          ${
            at === undefined || by === undefined || id === undefined
              ? sql``
              : sql`and (date_trunc('milliseconds', at), by, id) < (${new Date(at)}, ${by}, ${id})`
          }
        order by date_trunc('milliseconds', at) desc, by desc, id desc limit ${query.limit + 1}`;
      const page = toPage(
        'revocations',
        query.limit,
        rows,
        (row) => [row.at.getTime(), row.by, row.id],
        (row) => ({ by: row.by, id: row.id, at: row.at.toISOString() }),
      );
      return { ok: true, value: page };
    }),

    implement(operations.createRevocation, async ({ params: { appId }, body }) => {
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
    }),
  ];
}

/**
 * By field. Looked at only where the change speaks of the provider: settings of a time when these rules were not there can
 * still be switched off.
 */
function providerFaults(
  said: Readonly<Partial<Record<'jwksUrl' | 'issuer' | 'audience', unknown>>>,
  { jwksUrl, issuer, audience }: TokenSettings,
  mayTargetPrivate: boolean,
): Record<string, string> {
  if (jwksUrl === undefined || !['jwksUrl', 'issuer', 'audience'].some((name) => Object.hasOwn(said, name))) return {};
  const target = Object.hasOwn(said, 'jwksUrl') ? targetFault(jwksUrl, mayTargetPrivate) : undefined;
  const needed = 'is needed with a JWKS URL: tokens that its provider signs for others would count here';
  return {
    ...(target === undefined ? {} : { jwksUrl: target }),
    ...(issuer ? {} : { issuer: needed }),
    ...(audience ? {} : { audience: needed }),
  };
}

function toSettings(tokens: TokenSettings, version: number): z.input<typeof contract> {
  const { isEnabled, jwksUrl = null, issuer = null, audience = null } = tokens;
  return { isEnabled, jwksUrl, issuer, audience, version };
}
