import { type App, type ControlBus, type ControlMessage, defaultAppLimits } from '@starling/ports';
import { beforeEach, describe, expect, test } from 'vitest';
import { databaseOf } from './database.test-kit.ts';
import {
  adoptKeyring,
  appChanged,
  appSecretPurpose,
  type Database,
  defaultAppSettings,
  Keyring,
  lockApps,
  parseAppSettings,
  readApps,
  totpSecretPurpose,
} from './index.ts';

function keyringOf(...keys: string[]): Keyring {
  const parsed = Keyring.parse(keys.join(','));
  if (!parsed.ok) throw new Error(parsed.refusal.message);
  return parsed.value;
}

describe('apps as rows', () => {
  const database = databaseOf();
  const [oldKey, newKey] = [Keyring.make(), Keyring.make()];
  const keyring = keyringOf(oldKey);
  let posted: ControlMessage[] = [];
  const controlBus: ControlBus = {
    post: async (controlMessage) => void posted.push(controlMessage),
    listen: () => () => {},
    onGap: () => () => {},
  };

  beforeEach(async () => {
    posted = [];
    await database.sql`insert into organisations (id, name) values ('org_a', 'A')`;
  });

  const add = (id: string, over: Database = database) =>
    over.tx(async (sql) => {
      await lockApps(sql);
      await sql`insert into apps (id, organisation_id, name) values (${id}, 'org_a', ${`app ${id}`})`;
      return appChanged(over, controlBus, id);
    });
  const addKey = (appId: string, key: string, more: Record<string, unknown> = {}) =>
    database.sql`insert into app_keys ${database.sql({
      key,
      app_id: appId,
      secret_sealed: keyring.seal(`secret of ${key}`, appSecretPurpose(key)),
      ...more,
    })}`;
  const only = async (over = keyring): Promise<App> => {
    const [read, ...rest] = await readApps(database.sql, over);
    if (read === undefined || !('app' in read) || rest.length > 0) throw new Error('Expected one app that can be read');
    return read.app;
  };

  test('an app reads as it was written, its keys in their order, its revocations while they matter', async () => {
    const version = await add('7');
    await addKey('7', 'c');
    await addKey('7', 'a', { is_enabled: false });
    await addKey('7', 'b', { expires_at: new Date(Date.now() - 1_000) });
    const recently = Date.now() - 60_000;
    await database.sql`insert into app_revocations values
      ('7', 'user', 'u', ${new Date(recently)}), ('7', 'token', 't', ${new Date(recently - 25 * 3_600_000)})`;
    expect(await only()).toEqual({
      ...defaultAppSettings,
      id: '7',
      version,
      name: 'app 7',
      isEnabled: true,
      keys: [
        { key: 'c', secret: 'secret of c', isEnabled: true },
        { key: 'a', secret: 'secret of a', isEnabled: false },
        { key: 'b', secret: 'secret of b', isEnabled: false },
      ],
      revocations: [{ by: 'user', id: 'u', at: recently }],
    });
  });

  test('one that cannot be read does not keep the others from being read', async () => {
    await add('1');
    await add('2');
    await add('3');
    await database.sql`update apps set settings = '{"hasClientEvents": "yes"}' where id = '2'`;
    await addKey('3', 'k', { secret_sealed: keyring.seal('x', appSecretPurpose('other')) });
    const read = await readApps(database.sql, keyring);
    expect(read.filter((each) => 'app' in each).map(({ id }) => id)).toEqual(['1']);
    expect(read.filter((each) => 'problem' in each).map(({ id }) => id)).toEqual(['2', '3']);
    expect((await readApps(database.sql, keyring, ['1', '4'])).map(({ id }) => id)).toEqual(['1']);
  });

  test('a change is told after its commit, with the version it made, and not when it came to nothing', async () => {
    const version = await database.tx(async () => {
      const made = await add('1');
      expect(posted).toEqual([]);
      return made;
    });
    expect(posted).toEqual([{ kind: 'app-changed', appId: '1', version }]);
    expect((await only()).version).toBe(version);
    const failing = database.tx(async () => {
      await add('2');
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(posted).toHaveLength(1);
  });

  test('an app that is removed and made again never has a version twice', async () => {
    const first = await add('1');
    const second = await database.tx(async (sql) => {
      await lockApps(sql);
      await sql`delete from apps where id = '1'`;
      return appChanged(database, controlBus, '1');
    });
    const third = await add('1');
    expect([first, second, third]).toEqual([...new Set([first, second, third])].sort((a, b) => a - b));
  });

  test('the order of the feed is the order of the commits: no change appears behind one that was read already', async () => {
    const nodes = await Promise.all([1, 2, 3].map(() => database.openAnother()));
    const seen: number[] = [];
    let isDone = false;
    const follow = async () => {
      for (let last = 0; !isDone; ) {
        const rows = await database.sql<
          Array<{ seq: number }>
        >`select seq from app_changes where seq > ${last} order by seq`;
        seen.push(...rows.map(({ seq }) => seq));
        last = seen.at(-1) ?? 0;
      }
    };
    const following = follow();
    await Promise.all(
      nodes.flatMap((node, index) => Array.from({ length: 10 }, (_, round) => add(`${index + 1}0${round}`, node))),
    );
    isDone = true;
    await following;
    const rows = await database.sql<Array<{ seq: number }>>`select seq from app_changes order by seq`;
    expect(rows).toHaveLength(30);
    expect(seen).toEqual(rows.slice(0, seen.length).map(({ seq }) => seq));
    expect(seen.length).toBeGreaterThan(0);
  });

  test('[DB3] another key is refused, in words that say what to do; several take over, and the old one may go', async () => {
    await adoptKeyring(database, keyring);
    await adoptKeyring(database, keyring);
    await add('1');
    await addKey('1', 'k');
    const sealed = keyring.seal('of an authenticator', totpSecretPurpose('usr_a'));
    await database.sql`
      insert into users (id, email, has_proven_email, name, totp_secret_sealed, created_at)
      values ('usr_a', 'a@example.com', true, 'A', ${sealed}, now())`;
    await expect(adoptKeyring(database, keyringOf(newKey))).rejects.toThrow(
      'sealed with another key. Give STARLING_SECRET_KEY the key',
    );
    await adoptKeyring(database, keyringOf(newKey, oldKey));
    await adoptKeyring(database, keyringOf(newKey));
    expect((await only(keyringOf(newKey))).keys).toEqual([{ key: 'k', secret: 'secret of k', isEnabled: true }]);
    const [user] = await database.sql<Array<{ sealed: string }>>`select totp_secret_sealed as sealed from users`;
    expect(keyringOf(newKey).open(user?.sealed ?? '', totpSecretPurpose('usr_a'))).toBe('of an authenticator');
    await expect(adoptKeyring(database, keyring)).rejects.toThrow('another key');
  });
});

describe('settings of an app', () => {
  test('what is missing is as in the defaults, what is unknown is left out', () => {
    expect(parseAppSettings({})).toEqual(defaultAppSettings);
    expect(parseAppSettings({ hasWatchlists: true, shape: 'round', limits: { connections: 3, knots: 4 } })).toEqual({
      ...defaultAppSettings,
      hasWatchlists: true,
      limits: { ...defaultAppLimits, connections: 3 },
    });
    const tokens = { isEnabled: false, jwksUrl: 'https://id.example.com/keys', issuer: 'i', audience: 'a' };
    expect(parseAppSettings({ tokens, allowedOrigins: ['example.com'] })).toEqual({
      ...defaultAppSettings,
      tokens,
      allowedOrigins: ['example.com'],
    });
    expect(parseAppSettings(JSON.parse('{"__proto__": {"hasClientEvents": true}}')).hasClientEvents).toBe(false);
  });

  test.each([
    ['settings', []],
    ['settings', null],
    ['hasClientEvents', { hasClientEvents: 1 }],
    ['limits', { limits: [] }],
    ['limits.connections', { limits: { connections: '5' } }],
    ['allowedOrigins', { allowedOrigins: ['a', 1] }],
    ['tokens.isEnabled', { tokens: { isEnabled: 'no' } }],
    ['tokens.issuer', { tokens: { issuer: 1 } }],
  ])('names %s when it is of another kind', (name, json) => {
    expect(() => parseAppSettings(json)).toThrow(`${name} in the database is not`);
  });
});
