import { defaultAppLimits } from '@starling/ports';
import { describe, expect, test } from 'vitest';
import { databaseOf } from './database.test-kit.ts';
import {
  defaultInstallationLimits,
  parseInstallationLimits,
  readInstallationLimits,
  withinInstallation,
} from './installation-limits.ts';
import { ownMigrations } from './open-database.ts';

test('[AD24] what the product allows narrows no app that goes by its defaults', () => {
  expect(withinInstallation(defaultAppLimits, defaultInstallationLimits)).toEqual(defaultAppLimits);
});

test('[AD24] what another program has written counts where it can be understood', () => {
  expect(parseInstallationLimits({ connections: 7, presenceMembers: null, publishesPerSecond: '9', other: 1 })).toEqual(
    {
      ...defaultInstallationLimits,
      connections: 7,
      presenceMembers: null,
    },
  );
  for (const json of [undefined, null, [], 'text']) {
    expect(parseInstallationLimits(json)).toEqual(defaultInstallationLimits);
  }
});

describe('the migration to maxima', () => {
  const database = databaseOf();
  const run = async () => {
    const migration = (await ownMigrations()).find(({ name }) => name === '0006_installation_maxima.sql');
    await database.sql.unsafe(migration?.text ?? 'the file is not there').simple();
  };
  const apps = async (...limits: unknown[]) => {
    await database.sql`insert into organisations (id, name) values ('org_1', 'One'), ('org_2', 'Two')`;
    for (const [at, each] of limits.entries()) {
      await database.sql`
        insert into apps (id, organisation_id, name, settings)
        values (${String(at + 1)}, 'org_1', 'App', ${database.sql.json({ limits: each } as never)})`;
    }
  };

  test('[AD24] leaves a new installation with what the product allows', async () => {
    await run();
    expect(await readInstallationLimits(database.sql)).toEqual({ limits: defaultInstallationLimits, version: 0 });
    await apps({ connections: 100_000 }, {}, 'no object', null);
    await run();
    expect(await database.sql`select 1 from installation_limits`).toHaveLength(0);
  });

  test('[AD24] narrows no app that is there, and allows no more than the product can do', async () => {
    await apps(
      { connections: 2_000_000, presenceMembers: 10, eventDataBytes: 1e9, publishesPerSecond: 'many' },
      { connections: 300_000.5, channelsPerConnection: 1_001 },
      ...Array.from({ length: 100 }, () => ({})),
    );
    await run();
    expect(await readInstallationLimits(database.sql)).toEqual({
      limits: {
        ...defaultInstallationLimits,
        connections: 2_000_000,
        eventDataBytes: 262_144,
        channelsPerConnection: 1_001,
        appsPerOrganisation: 102,
      },
      version: 1,
    });
  });

  test('[AD24] keeps what operators had set, and sets no maximum where they had none', async () => {
    await apps({ connections: 2_000_000 });
    await database.sql`insert into installation_limits (limits, version) values ('{"connections": 5}', 3)`;
    await run();
    const none = Object.fromEntries(Object.keys(defaultInstallationLimits).map((name) => [name, null]));
    expect(await readInstallationLimits(database.sql)).toEqual({ limits: { ...none, connections: 5 }, version: 3 });
  });
});
