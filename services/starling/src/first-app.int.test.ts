import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AppSettings, appChanged, Keyring, lockApps, readApps } from '@starling/database';
import { databaseOf } from '@starling/database/test-kit';
import type { App, ControlBus } from '@starling/ports';
import { readConfig, StartError } from '@starling/runtime';
import { afterAll, describe, expect, test } from 'vitest';
import { partSettings, startSettings } from './config.ts';
import { type Credentials, givenApp, keptCredentials, settleFirstApp, type WantedApp, wantedApp } from './first-app.ts';

const parsed = Keyring.parse(Keyring.make());
if (!parsed.ok) throw new Error(parsed.refusal.message);
const keyring = parsed.value;

function wantedFrom(env: Record<string, string>): WantedApp {
  const read = readConfig(startSettings, env);
  if (!read.ok) throw new Error(read.text);
  return wantedApp(read.value);
}

const env = { STARLING_APP_ID: '42', STARLING_APP_KEY: 'k', STARLING_APP_SECRET: 's' };

describe('what the environment says of the first app', () => {
  test('is its settings and, if all of them are given, its credentials', () => {
    const plain = {
      hasClientEvents: true,
      hasSubscriptionCounts: false,
      hasWatchlists: false,
      admitsAuthorizedOnly: false,
      allowedOrigins: [],
    };
    expect(wantedFrom({})).toMatchObject({ credentials: undefined, settings: plain });
    expect(wantedFrom(env).credentials).toEqual({ id: '42', key: 'k', secret: 's' });
    const settings = [
      ['STARLING_APP_CLIENT_EVENTS', 'no', { hasClientEvents: false }],
      ['STARLING_APP_SUBSCRIPTION_COUNTS', 'yes', { hasSubscriptionCounts: true }],
      ['STARLING_APP_WATCHLISTS', 'yes', { hasWatchlists: true }],
      ['STARLING_APP_AUTHORIZED_ONLY', 'yes', { admitsAuthorizedOnly: true }],
      ['STARLING_APP_ALLOWED_ORIGINS', 'a.example,b.example', { allowedOrigins: ['a.example', 'b.example'] }],
    ] as const;
    for (const [name, value, changed] of settings) {
      expect(wantedFrom({ [name]: value }).settings).toMatchObject({ ...plain, ...changed });
    }
  });

  test('[OP5] is the whole app where there is no database', () => {
    const read = readConfig(partSettings, {
      ...env,
      REDIS_URL: 'redis://127.0.0.1:1',
      STARLING_APP_CLIENT_EVENTS: 'no',
    });
    expect(givenApp(wantedApp(read.ok ? read.value : expect.fail()))).toMatchObject({
      id: '42',
      keys: [{ key: 'k', secret: 's', isEnabled: true }],
      hasClientEvents: false,
    });
  });
});

describe('the file of an installation that had no database', () => {
  const folder = mkdtempSync(join(tmpdir(), 'starling-first-app-'));
  const path = join(folder, 'first-app.json');
  afterAll(() => rmSync(folder, { recursive: true }));

  test('is read where it is there', () => {
    expect(keptCredentials(join(folder, 'none'))).toBeUndefined();
    const kept = { id: '123456', key: '0123456789abcdef0123', secret: 'abcdef0123456789abcd' };
    writeFileSync(path, JSON.stringify(kept));
    expect(keptCredentials(folder)).toEqual(kept);
  });

  test.each(['', '{', '[]', '{"id":"1"}', '{"id":"x","key":"k","secret":"s"}'])('refuses one that holds %j', (text) => {
    writeFileSync(path, text);
    expect(() => keptCredentials(folder)).toThrow(StartError);
    expect(() => keptCredentials(folder)).toThrow(path);
  });

  test('refuses one that cannot be read', () => {
    expect(() => keptCredentials(path)).toThrow(StartError);
  });
});

describe('the first app in a database', () => {
  const database = databaseOf();
  const controlBus: ControlBus = { post: async () => {}, listen: () => () => {}, onGap: () => () => {} };
  const settle = (wanted = wantedFrom({}), kept: () => Credentials | undefined = () => undefined, over = database) =>
    settleFirstApp({ database: over, keyring, controlBus }, wanted, kept);
  const apps = async (): Promise<App[]> =>
    (await readApps(database.sql, keyring)).flatMap((each) => ('app' in each ? [each.app] : []));
  const change = async (id: string, statement: string) =>
    database.tx(async (sql) => {
      await lockApps(sql);
      await sql.unsafe(statement);
      await appChanged(database, controlBus, id);
    });

  test('[OP5] is made once, with a numeric id and 20 hex characters of key and secret', async () => {
    const made = await settle();
    expect(made?.id).toMatch(/^[1-9]\d{5,14}$/);
    expect(made?.key).toMatch(/^[0-9a-f]{20}$/);
    expect(made?.secret).toMatch(/^[0-9a-f]{20}$/);
    expect(await settle()).toEqual(made);
    expect(await apps()).toMatchObject([
      {
        id: made?.id,
        isEnabled: true,
        hasClientEvents: true,
        keys: [{ key: made?.key, secret: made?.secret, isEnabled: true }],
      },
    ]);
    expect(await database.sql`select name from organisations`).toHaveLength(1);
  });

  test('[OP5] is one and the same for programs that start for the first time at the same moment', async () => {
    const nodes = await Promise.all([1, 2, 3].map(() => database.openAnother()));
    const made = await Promise.all(
      nodes.map((node) => settleFirstApp({ database: node, keyring, controlBus }, wantedFrom({}), () => undefined)),
    );
    expect(new Set(made.map((each) => each?.id)).size).toBe(1);
    expect(await apps()).toHaveLength(1);
  });

  test('[OP5] is the one of the file, when there was one', async () => {
    const kept = { id: '123456', key: '0123456789abcdef0123', secret: 'abcdef0123456789abcd' };
    expect(await settle(wantedFrom({}), () => kept)).toEqual(kept);
    expect(await settle(wantedFrom({}), () => ({ ...kept, id: '7' }))).toEqual(kept);
    expect(await apps()).toHaveLength(1);
  });

  test('[OP5] is exactly as the environment says: made, and changed when that has changed', async () => {
    await settle(wantedFrom({ ...env, STARLING_APP_CLIENT_EVENTS: 'no' }));
    expect(await apps()).toMatchObject([{ id: '42', hasClientEvents: false, keys: [{ key: 'k', secret: 's' }] }]);
    const [{ version } = { version: 0 }] = await apps();
    await settle(wantedFrom({ ...env, STARLING_APP_CLIENT_EVENTS: 'no' }));
    expect(await apps()).toMatchObject([{ version }]);
    await settle(wantedFrom({ ...env, STARLING_APP_WATCHLISTS: 'yes', STARLING_APP_SECRET: 'other' }));
    expect(await apps()).toMatchObject([
      { hasClientEvents: true, hasWatchlists: true, keys: [{ key: 'k', secret: 'other', isEnabled: true }] },
    ]);
  });

  test('keeps what else was changed in the database', async () => {
    await settle(wantedFrom(env));
    const limits: Partial<AppSettings['limits']> = { connections: 7 };
    await change('42', `update apps set name = 'Shop', settings = settings || '${JSON.stringify({ limits })}'`);
    await settle(wantedFrom({ ...env, STARLING_APP_SUBSCRIPTION_COUNTS: 'yes' }));
    expect(await apps()).toMatchObject([{ name: 'Shop', hasSubscriptionCounts: true, limits: { connections: 7 } }]);
  });

  test('[AD25] keeps its own limits, also where a maximum of the installation is lower', async () => {
    await settle(wantedFrom(env));
    const limits: Partial<AppSettings['limits']> = { connections: 70 };
    await change('42', `update apps set settings = settings || '${JSON.stringify({ limits })}'`);
    await database.sql`insert into installation_limits (limits, version) values ('{"connections": 7}', 1)`;
    await settle(wantedFrom({ ...env, STARLING_APP_SUBSCRIPTION_COUNTS: 'yes' }));
    expect(await apps()).toMatchObject([{ hasSubscriptionCounts: true, limits: { connections: 7 } }]);
    const [{ version } = { version: 0 }] = await apps();
    await settle(wantedFrom({ ...env, STARLING_APP_SUBSCRIPTION_COUNTS: 'yes' }));
    expect(await apps()).toMatchObject([{ version }]);
    await database.sql`delete from installation_limits`;
    expect(await apps()).toMatchObject([{ limits: { connections: 70 } }]);
  });

  test('what the environment gives is enabled again, and a key that is another app’s refuses to start', async () => {
    await settle(wantedFrom(env));
    await change('42', 'update apps set is_enabled = false; update app_keys set is_enabled = false');
    await settle(wantedFrom(env));
    expect(await apps()).toMatchObject([{ isEnabled: true, keys: [{ isEnabled: true }] }]);
    await expect(settle(wantedFrom({ ...env, STARLING_APP_ID: '43' }))).rejects.toThrow(StartError);
    expect(await apps()).toHaveLength(1);
  });

  test('is not made anew after it was removed, nor shown while it cannot be used', async () => {
    const made = await settle();
    await change(made?.id ?? '', 'update app_keys set is_enabled = false');
    expect(await settle()).toBeUndefined();
    await change(made?.id ?? '', 'delete from apps');
    expect(await settle()).toBeUndefined();
    expect(await apps()).toEqual([]);
  });
});
