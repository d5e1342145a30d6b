import { appChanged, parseAppSettings } from '@starling/database';
import type { TokenSettings } from '@starling/ports';
import { operations } from '../../contract/index.ts';
import { fail } from '../../frame/answer.ts';
import { differences } from '../../frame/audit.ts';
import { type Implementation, implement } from '../../frame/implement.ts';
import { lockApp } from '../apps/app.ts';
import type { OperationDeps } from '../deps.ts';
import { targetFault } from '../target.ts';
import { toSettings } from './token-settings.ts';

export function changeTokenSettings({
  database,
  controlBus,
  mayTargetPrivate,
}: Pick<OperationDeps, 'database' | 'controlBus' | 'mayTargetPrivate'>): Implementation {
  return implement(operations.changeTokenSettings, async ({ params: { appId }, body, ifVersion }) => {
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
      return { ok: true, value: toSettings(settings.tokens, found.version), auditRecord: { target: null } };
    }
    await sql`update apps set settings = ${sql.json(next as never)} where id = ${appId}`;
    const version = await appChanged(database, controlBus, appId);
    return { ok: true, value: toSettings(next.tokens, version), auditRecord: { target: `app:${appId}`, details } };
  });
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
