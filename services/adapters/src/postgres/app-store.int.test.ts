import {
  adoptKeyring,
  appChanged,
  appSecretPurpose,
  type Database,
  Keyring,
  lockApps,
  openDatabase,
} from '@starling/database';
import { databaseOf } from '@starling/database/test-kit';
import type { App, ControlBus, ControlMessage, Observer } from '@starling/ports';
import { appOf, appStoreContract, revokerContract } from '@starling/ports/contract';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PostgresServer } from '../../../../infra/testing/postgres-server.ts';
import { SystemClock } from '../system-clock.ts';
import { PostgresAppStore } from './index.ts';

const parsed = Keyring.parse(Keyring.make());
if (!parsed.ok) throw new Error(parsed.refusal.message);
const keyring = parsed.value;

/** What all nodes read, and whose links can be cut. */
class Board implements ControlBus {
  readonly posted: ControlMessage[] = [];
  readonly #readers = new Set<(controlMessage: ControlMessage) => void>();
  readonly #gaps = new Set<() => void>();
  isCut = false;

  async post(controlMessage: ControlMessage): Promise<void> {
    if (this.isCut) return;
    this.posted.push(controlMessage);
    for (const read of [...this.#readers]) read(controlMessage);
  }
  listen(read: (controlMessage: ControlMessage) => void): () => void {
    this.#readers.add(read);
    return () => this.#readers.delete(read);
  }
  onGap(listener: () => void): () => void {
    this.#gaps.add(listener);
    return () => this.#gaps.delete(listener);
  }
  mend(): void {
    this.isCut = false;
    for (const listener of this.#gaps) listener();
  }
}

function observerInto(problems: string[]): Observer {
  return {
    problem: (what) => void problems.push(what),
    defect: (kind) => void problems.push(kind),
    note: () => {},
    notes: false,
  };
}

function storeOn(
  database: Database,
  controlBus: ControlBus,
  nodeId = 'node',
  problems: string[] = [],
): PostgresAppStore {
  return new PostgresAppStore({
    database,
    keyring,
    controlBus,
    clock: new SystemClock(),
    observer: observerInto(problems),
    nodeId,
  });
}

/** As an administrator would. `version` is what the app says, where it matters. */
async function put(database: Database, controlBus: ControlBus, app: App, version?: number): Promise<number> {
  const { id, version: _, name, isEnabled, keys, revocations, ...settings } = app;
  return database.tx(async (sql) => {
    await lockApps(sql);
    await sql`insert into organisations (id, name) values ('org_a', 'A') on conflict do nothing`;
    const row = { id, organisation_id: 'org_a', name, is_enabled: isEnabled, settings: sql.json(settings as never) };
    await sql`
      insert into apps ${sql(row)}
      on conflict (id) do update set name = excluded.name, is_enabled = excluded.is_enabled, settings = excluded.settings`;
    await sql`delete from app_keys where app_id = ${id}`;
    for (const { key, secret, isEnabled: isKeyEnabled } of keys) {
      const secret_sealed = keyring.seal(secret, appSecretPurpose(key));
      await sql`insert into app_keys ${sql({ key, app_id: id, secret_sealed, is_enabled: isKeyEnabled })}`;
    }
    await sql`delete from app_revocations where app_id = ${id}`;
    await sql`
      insert into app_revocations (app_id, by, id, at)
      select ${id}, by, r.id, to_timestamp(at / 1000.0)
      from jsonb_to_recordset(${sql.json(revocations as never)}) as r (by text, id text, at bigint)`;
    const made = await appChanged(database, controlBus, id);
    if (version !== undefined) await sql`update apps set version = ${version} where id = ${id}`;
    return made;
  });
}

function remove(database: Database, controlBus: ControlBus, id: string): Promise<number> {
  return database.tx(async (sql) => {
    await lockApps(sql);
    await sql`delete from apps where id = ${id}`;
    return appChanged(database, controlBus, id);
  });
}

/** Resolves when the store has told of a change that fits. */
function told(store: PostgresAppStore, fits: (app: App | undefined) => boolean): Promise<void> {
  return new Promise((resolve) => {
    const end = store.onChange((_id, app) => {
      if (!fits(app)) return;
      end();
      resolve();
    });
  });
}

describe('the apps in a database', () => {
  const database = databaseOf();

  const makeFixture = async () => {
    const controlBus = new Board();
    const store = storeOn(database, controlBus);
    const close = await store.start();
    return {
      store,
      revoker: store,
      now: Date.now,
      put: async (app: App) => {
        await put(database, controlBus, app, app.version);
        await store.refresh();
      },
      remove: async (id: string) => {
        await remove(database, controlBus, id);
        await store.refresh();
      },
      close: async () => close(),
    };
  };
  appStoreContract('the app store', makeFixture);
  revokerContract('the app store', makeFixture);

  describe('several nodes', () => {
    let board: Board;
    let closers: Array<() => void>;
    let problems: string[];
    beforeEach(() => {
      board = new Board();
      closers = [];
      problems = [];
    });
    afterEach(() => {
      for (const close of closers) close();
    });
    const node = async (nodeId: string, controlBus: ControlBus = board): Promise<PostgresAppStore> => {
      const store = storeOn(await database.openAnother(), controlBus, nodeId, problems);
      closers.push(await store.start());
      return store;
    };

    test('[DB6] a change made by one node is in force on the others on its control message, and each says so', async () => {
      const stores = await Promise.all(['a', 'b', 'c'].map((id) => node(id)));
      const heard = stores.map((store) => told(store, (app) => app?.name === 'new'));
      const startedAt = performance.now();
      const version = await put(database, board, appOf('1', { name: 'new' }));
      await Promise.all(heard);
      expect(performance.now() - startedAt).toBeLessThan(2_000);
      for (const store of stores) expect(await store.byKey('key-1')).toMatchObject({ name: 'new', version });
      const applied = board.posted.filter(({ kind }) => kind === 'app-applied');
      expect(applied.map((controlMessage) => 'nodeId' in controlMessage && controlMessage.nodeId).sort()).toEqual([
        'a',
        'b',
        'c',
      ]);

      // Asked again, each answers again, though it has nothing to read.
      board.posted.length = 0;
      await board.post({ kind: 'app-changed', appId: '1', version });
      expect(board.posted.filter(({ kind }) => kind === 'app-applied')).toHaveLength(3);
    });

    test('[DB6] what was missed while the link was cut is read at the gap, once for each app, removals too', async () => {
      await put(database, board, appOf('1'));
      await put(database, board, appOf('2'));
      const store = await node('a');
      const heard: string[] = [];
      store.onChange((id, app) => heard.push(`${id} ${app?.name}`));
      board.isCut = true;
      await remove(database, board, '2');
      for (const name of ['x', 'y', 'z']) await put(database, board, appOf('1', { name }));
      const last = told(store, (app) => app?.name === 'z');
      board.mend();
      await last;
      expect(heard.sort()).toEqual(['1 z', '2 undefined']);
    });

    test('[DB6] without any control message the change is found by looking now and then', async () => {
      const store = await node('a');
      const last = told(store, (app) => app?.name === 'quiet');
      await put(database, new Board(), appOf('1', { name: 'quiet' }));
      await last;
    });

    test('a node that read before the oldest change that is left reads everything again', async () => {
      await put(database, board, appOf('1'));
      await put(database, board, appOf('2'));
      const store = await node('a');
      board.isCut = true;
      await remove(database, board, '1');
      await put(database, board, appOf('2', { name: 'changed' }));
      await put(database, board, appOf('3'));
      await database.sql`delete from app_changes where seq < (select max(seq) from app_changes)`;
      await store.refresh();
      expect(await Promise.all(['1', '2', '3'].map(async (id) => (await store.byId(id))?.name))).toEqual([
        undefined,
        'changed',
        'app 3',
      ]);
    });

    test('a database that was put back to an earlier time is believed', async () => {
      await put(database, board, appOf('1', { name: 'old' }));
      await put(database, board, appOf('1', { name: 'new' }));
      const store = await node('a');
      board.isCut = true;
      await database.sql`delete from app_changes where seq = (select max(seq) from app_changes)`;
      await database.sql`update apps set name = 'old'`;
      await store.refresh();
      expect((await store.byId('1'))?.name).toBe('old');
    });

    test('a key that goes over to another app is never without one in between, nor lost', async () => {
      const key = { key: 'shared', secret: 's', isEnabled: true };
      await put(database, board, appOf('2', { keys: [key] }));
      await put(database, board, appOf('1', { keys: [] }));
      const store = await node('a');
      board.isCut = true;
      await put(database, board, appOf('2', { keys: [] }));
      await put(database, board, appOf('1', { keys: [key] }));
      await store.refresh();
      expect((await store.byKey('shared'))?.id).toBe('1');
      await put(database, board, appOf('1', { keys: [] }));
      await put(database, board, appOf('2', { keys: [key] }));
      await store.refresh();
      expect((await store.byKey('shared'))?.id).toBe('2');
    });

    test('an app that cannot be read stays as it was, is said to be, and not to be applied', async () => {
      await put(database, board, appOf('1'));
      const store = await node('a');
      board.posted.length = 0;
      await database.tx(async (sql) => {
        await lockApps(sql);
        await sql`update apps set settings = '{"limits": 5}'`;
        await appChanged(database, board, '1');
      });
      await store.refresh();
      expect((await store.byId('1'))?.name).toBe('app 1');
      expect(problems).toEqual(['an app cannot be read, going on with what was known of it']);
      expect(board.posted.map(({ kind }) => kind)).toEqual(['app-changed']);
    });

    test('a control message read inside a transaction is followed outside of it', async () => {
      const store = await node('a');
      const last = told(store, (app) => app?.name === 'new');
      await database.tx(async () => {
        const version = await put(database, new Board(), appOf('1', { name: 'new' }));
        await board.post({ kind: 'app-changed', appId: '1', version });
      });
      await board.post({ kind: 'app-changed', appId: '1', version: Number.MAX_SAFE_INTEGER });
      await last;
      expect(problems).toEqual([]);
    });

    test('a revocation is in force on every node, the newest counts, and one of an unknown app is refused', async () => {
      await put(database, board, appOf('1'));
      const [first, second] = [await node('a'), await node('b')];
      const at = Date.now();
      const heard = told(second, (app) => app?.revocations[0]?.at === at);
      await first.revoke('1', { by: 'user', id: 'u', at });
      await first.revoke('1', { by: 'user', id: 'u', at: at - 5_000 });
      await heard;
      await first.refresh();
      expect((await first.byId('1'))?.revocations).toEqual([{ by: 'user', id: 'u', at }]);
      await expect(first.revoke('2', { by: 'user', id: 'u', at })).rejects.toMatchObject({ code: 'app_id_unknown' });
    });

    test('after its end it hears and asks nothing any more', async () => {
      const store = await node('a');
      for (const close of closers) close();
      const version = await put(database, board, appOf('1'));
      await board.post({ kind: 'app-changed', appId: '1', version });
      expect(await store.byId('1')).toBeUndefined();
    });
  });
});

test('[DB5] while Postgres is away the store answers as before, and follows again when it is back', async () => {
  const server = await PostgresServer.start();
  const problems: string[] = [];
  const board = new Board();
  const database = await openDatabase({ url: server.url });
  const store = storeOn(database, board, 'a', problems);
  try {
    await adoptKeyring(database, keyring);
    await put(database, board, appOf('1'));
    const close = await store.start();
    await server.stop();

    const startedAt = performance.now();
    await expect(store.refresh()).rejects.toMatchObject({ code: 'unavailable' });
    await expect(store.revoke('1', { by: 'user', id: 'u', at: 1 })).rejects.toMatchObject({ code: 'unavailable' });
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect(store.isUp).toBe(false);
    expect((await store.byKey('key-1'))?.name).toBe('app 1');
    await expect(storeOn(database, board).start()).rejects.toMatchObject({ code: 'unavailable' });
    expect(problems).toEqual(['the apps cannot be read, answering as they were']);

    const last = told(store, (app) => app?.name === 'later');
    await server.start();
    // Before the store has asked again.
    await put(database, new Board(), appOf('1', { name: 'later' }));
    await last;
    await store.refresh();
    expect(store.isUp).toBe(true);
    close();
  } finally {
    await database.close();
    await server.remove();
  }
});
