import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { databaseOf } from './database.test-kit.ts';
import { isDangling, isDuplicate, openDatabase, type Sql } from './index.ts';

describe('a database', () => {
  const database = databaseOf();
  const names = async () =>
    (await database.sql<Array<{ name: string }>>`select name from organisations order by id`).map(({ name }) => name);
  const add = (id: string) => database.sql`insert into organisations ${database.sql({ id: `org_${id}`, name: id })}`;

  test('is empty before each test', async () => {
    expect(await names()).toEqual([]);
    await add('a');
  });

  test('is empty before this one too', async () => {
    expect(await names()).toEqual([]);
  });

  test('[DB2] inside tx, sql is the transaction: all of it happens or nothing', async () => {
    await database.tx(async (sql) => {
      await add('a');
      await sql`insert into organisations (id, name) values ('org_b', 'b')`;
      expect(await names()).toEqual(['a', 'b']);
    });
    const failing = database.tx(async () => {
      await add('c');
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(await names()).toEqual(['a', 'b']);
  });

  test('[DB2] tx inside tx is a savepoint: what fails in it can be caught, and the rest happens', async () => {
    await database.tx(async () => {
      await add('a');
      await expect(database.tx(() => add('a'))).rejects.toSatisfy((err) => isDuplicate(err, 'organisations_pkey'));
      await database.tx(() => add('b'));
    });
    expect(await names()).toEqual(['a', 'b']);
  });

  test('many transactions at once wait for one another and do not mix', async () => {
    await Promise.all(
      Array.from({ length: 30 }, (_, index) =>
        database.tx(async () => {
          await add(String(index));
          expect((await names()).includes(String(index))).toBe(true);
          if (index % 3 === 0) throw new Error('no');
        }),
      ).map((each) => each.catch(() => undefined)),
    );
    expect(await names()).toHaveLength(20);
  });

  test('calls back after the commit only, outside of the transaction', async () => {
    const heard: string[] = [];
    await database.tx(async () => {
      database.afterCommit(() => heard.push('outer'));
      await database.tx(async () => database.afterCommit(() => heard.push('inner')));
      await database
        .tx(async () => {
          database.afterCommit(() => heard.push('rolled back'));
          throw new Error('no');
        })
        .catch(() => undefined);
      expect(heard).toEqual([]);
    });
    expect(heard).toEqual(['outer', 'inner']);
    database.afterCommit(() => heard.push('at once'));
    expect(heard).toHaveLength(3);
    await database
      .tx(async () => {
        database.afterCommit(() => heard.push('never'));
        throw new Error('no');
      })
      .catch(() => undefined);
    expect(heard).toHaveLength(3);
  });

  test('a transaction that is over refuses to be used by what nobody waited for', async () => {
    const gate: { open?: () => void } = {};
    const opened = new Promise<void>((resolve) => {
      gate.open = resolve;
    });
    const late: Array<Promise<unknown>> = [];
    await database.tx(async (sql) => {
      late.push(opened.then(() => database.sql`select 1`));
      late.push(opened.then(() => sql`select 1`));
    });
    gate.open?.();
    for (const outcome of await Promise.allSettled(late)) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: { message: expect.stringContaining('after its end') },
      });
    }
  });

  test('returns numbers, dates, lists and JSON as what they are', async () => {
    const at = new Date('2026-01-02T03:04:05.678Z');
    const [row] = await database.sql`
      select 9007199254740991::bigint as big, count(*) as count, ${at}::timestamptz as at, array['a', 'b'] as list,
        ${database.sql.json({ a: [1, null] })}::jsonb as json`;
    expect(row).toEqual({ big: Number.MAX_SAFE_INTEGER, count: 1, at, list: ['a', 'b'], json: { a: [1, null] } });
    await expect(database.sql`select 9007199254740992::bigint as big`).rejects.toThrow('more than a number can hold');
  });

  test('tells a duplicate from what points at nothing, by the name of the rule', async () => {
    const orphan = database.sql`insert into apps (id, organisation_id, name) values ('1', 'org_none', 'x')`;
    await expect(orphan).rejects.toSatisfy((err) => isDangling(err) && !isDuplicate(err));
    await add('a');
    await expect(add('a')).rejects.toSatisfy((err) => isDuplicate(err) && !isDuplicate(err, 'apps_pkey'));
  });

  describe('[DB12] a transaction whose connection is lost', () => {
    const kill = (pid: number | undefined) => database.sql`select pg_terminate_backend(${pid ?? 0})`;
    const pidOf = async (sql: Sql) => (await sql<Array<{ pid: number }>>`select pg_backend_pid() as pid`)[0]?.pid;

    test('in the middle of a query is refused as a whole, and the process goes on', async () => {
      const lost = database.tx(async (sql) => {
        await add('a');
        const pid = await pidOf(sql);
        const sleep = sql`select pg_sleep(20)`;
        await Promise.all([sleep, kill(pid)]);
      });
      await expect(lost).rejects.toMatchObject({ code: 'unavailable' });
      await database.tx(() => add('b'));
      expect(await names()).toEqual(['b']);
    });

    test('between two queries sends the rest nowhere, above all not into the transaction of another', async () => {
      // All connections for transactions, so that the next ones get those that were lost, if anything may.
      const lost = Array.from({ length: 5 }, (_, index) =>
        database.tx(async (sql) => {
          await kill(await pidOf(sql));
          for (let step = 0; step < 20; step++) await new Promise((resolve) => setImmediate(resolve));
          await sql`insert into organisations (id, name) values (${`org_rest${index}`}, 'rest')`;
        }),
      );
      const others = Array.from({ length: 10 }, (_, index) => database.tx(() => add(String(index))));
      for (const outcome of await Promise.allSettled(lost)) {
        expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'unavailable' } });
      }
      await Promise.all(others);
      expect(await names()).toEqual(Array.from({ length: 10 }, (_, index) => String(index)));
    });

    test('and single statements get connections that work, after all of theirs were lost', async () => {
      await Promise.all(Array.from({ length: 5 }, () => database.sql`select pg_sleep(0.1)`));
      await database.tx(
        (sql) => sql`
          select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`,
      );
      // Those that were on their way over a lost one are refused; then all is well.
      await Promise.allSettled(Array.from({ length: 20 }, () => names()));
      for (const all of await Promise.all(Array.from({ length: 20 }, () => names()))) expect(all).toEqual([]);
    });
  });

  test('[DB5] a server by its URL that answers nothing any more refuses within the limit, and works again when it does', async () => {
    const target = new URL(database.address.url);
    const real = Number(target.port);
    const sockets: Socket[] = [];
    const link = { isCut: false };
    const proxy = createServer((socket) => {
      sockets.push(socket.on('error', () => {}));
      if (link.isCut) return;
      const through = connect(real, '127.0.0.1').on('error', () => {});
      sockets.push(through);
      socket.pipe(through).pipe(socket);
    }).listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    target.port = String((proxy.address() as AddressInfo).port);
    const behind = await openDatabase({ url: target.href });
    const insert = (id: string) => behind.sql`insert into organisations ${behind.sql({ id: `org_${id}`, name: id })}`;
    await insert('before');
    // Like a cable that was pulled: nothing is refused, nothing comes.
    for (const socket of sockets) socket.unpipe().pause();
    link.isCut = true;
    const refused = await Promise.allSettled([insert('a'), behind.tx(() => insert('b')), behind.ping(300)]);
    for (const outcome of refused) {
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: { code: 'unavailable', message: expect.stringMatching(/did not answer (for|within) (1200|300) ms/) },
      });
    }
    // The server is there again under the same address; the old connections stay silent.
    link.isCut = false;
    await insert('after');
    await behind.tx(() => insert('later'));
    expect(await names()).toEqual(['after', 'before', 'later']);
    for (const socket of sockets) socket.destroy();
    await behind.close();
    proxy.close();
  });
});
