/** One way to Postgres: queries and transactions, bounded in time, with what went wrong said in our words. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { StarlingError } from '@starling/protocol';
import type postgres from 'postgres';
import type { Connections, Exclusive, RawSql } from './connections.ts';

/** `bigint` comes back as a number: nothing we count passes 2^53. Dates are Date, jsonb is what it holds. */
export type Sql = postgres.ISql<{ bigint: number }>;

export interface Database {
  /**
   * postgres.js: inside `tx` the running transaction, else any connection. Rejects with a StarlingError `unavailable`
   * when the database is away or does not answer in time; what Postgres itself refuses stays a `PostgresError`.
   */
  readonly sql: Sql;
  /**
   * Runs it in a transaction, and inside one in a savepoint. A query that failed fails the transaction, even where its
   * error was caught: what may fail belongs into a `tx` of its own. Never wait for the network inside: others wait for the
   * locks meanwhile.
   */
  tx<T>(run: (sql: Sql) => Promise<T>): Promise<T>;
  /** Called once what is done now is committed, outside of the transaction: at once where none runs, never after a rollback. */
  afterCommit(run: () => void): void;
  /** A round trip over a connection of its own: rejects where the database does not answer within the limit. */
  ping(limitMs?: number): Promise<void>;
  /** Waits a few seconds for what is under way. */
  close(): Promise<void>;
}

interface Running {
  readonly sql: Sql;
  readonly client: Exclusive;
  readonly afterCommit: Array<() => void>;
  /** Ends the waiting for the whole transaction: over a connection that does not answer, it cannot be rolled back either. */
  readonly giveUp: (err: Error) => void;
  /** The first query of it that failed: it fails the transaction even where its error was caught. */
  failed?: unknown;
  isOver: boolean;
}

export interface Limits {
  /** For a free connection, and from a query to its answer. Longer than the server's own limits, so that theirs count first. */
  readonly waitMs: number;
  /** A wait of so long may mean that the database is busy, or that it does not answer at all: then it is asked. */
  readonly doubtMs: number;
  /** Rejects soon where the database answers nobody. */
  readonly ask: () => Promise<void>;
}

/** Calls back once when a wait is in vain: after `waitMs`, or earlier when the database answers nobody. Returns the end of it. */
function watchWait({ waitMs, doubtMs, ask }: Limits, onVain: (isAnswering: boolean, ms: number) => void): () => void {
  let hasEnded = false;
  let timer = setTimeout(() => {
    timer = setTimeout(() => finish(true, waitMs), waitMs - doubtMs);
    ask().catch(() => finish(false, doubtMs));
  }, doubtMs);
  const end = () => {
    hasEnded = true;
    clearTimeout(timer);
  };
  const finish = (isAnswering: boolean, ms: number) => {
    if (hasEnded) return;
    end();
    onVain(isAnswering, ms);
  };
  return end;
}

/** What `sql` and `tx` are over these connections. */
export function databaseOver(
  connections: Connections,
  limits: Limits,
  { ping, close }: Pick<Database, 'ping' | 'close'>,
): Database {
  const running = new AsyncLocalStorage<Running>();
  const savepoints = { count: 0 };
  const alone = (): Sql => {
    const { sql, begin } = connections.use();
    return guardedSql(sql, limits, { begin, giveUp: () => connections.retire() });
  };

  const current = (): Running | undefined => {
    const here = running.getStore();
    if (here !== undefined) refuseWhenOver(here);
    return here;
  };

  /** Runs it as a transaction, or a savepoint of one, between these statements. */
  async function inside<T>(
    { client, afterCommit, giveUp }: Pick<Running, 'client' | 'afterCommit' | 'giveUp'>,
    ends: { readonly good: string | null; readonly bad: string },
    run: (sql: Sql) => Promise<T>,
  ): Promise<T> {
    const refuseWhenLost = () => {
      if (client.isLost) throw new StarlingError('unavailable', 'The connection to the database was lost');
    };
    const end = guardedSql(client.sql, limits, { check: refuseWhenLost, giveUp });
    const store: Running = {
      client,
      sql: guardedSql(client.sql, limits, {
        check: () => {
          refuseWhenOver(store);
          refuseWhenLost();
        },
        giveUp,
        failed: (err) => {
          store.failed ??= err;
        },
      }),
      afterCommit,
      giveUp,
      isOver: false,
    };
    try {
      const value = await running.run(store, () => run(store.sql));
      if (store.failed !== undefined) throw store.failed;
      store.isOver = true;
      if (ends.good !== null) await end.unsafe(ends.good);
      return value;
    } catch (err) {
      store.isOver = true;
      // What cannot be rolled back is not gone on with: Postgres does it itself, once it sees that we are gone.
      if (!client.isLost) await end.unsafe(ends.bad).then(undefined, () => client.discard());
      // Of a transaction that has failed Postgres says only that; its first failure says more.
      throw isState(err, '25P02') ? (store.failed ?? err) : err;
    }
  }

  async function tx<T>(run: (sql: Sql) => Promise<T>): Promise<T> {
    const outer = current();
    const afterCommit: Array<() => void> = [];
    if (outer !== undefined) {
      const name = `s${++savepoints.count}`;
      await outer.sql.unsafe(`savepoint ${name}`);
      const value = await inside({ ...outer, afterCommit }, { good: null, bad: `rollback to ${name}` }, run);
      outer.afterCommit.push(...afterCommit);
      return value;
    }
    const value = await begun(connections, limits, (client, giveUp) =>
      inside({ client, afterCommit, giveUp }, { good: 'commit', bad: 'rollback' }, run),
    );
    for (const each of afterCommit) each();
    return value;
  }

  return {
    get sql() {
      return current()?.sql ?? alone();
    },
    tx,
    afterCommit(run) {
      const here = current();
      if (here === undefined) run();
      else here.afterCommit.push(run);
    },
    ping,
    close,
  };
}

/** Its connection may be in the middle of somebody else's transaction by now. */
function refuseWhenOver({ isOver }: Running): void {
  if (!isOver) return;
  throw new StarlingError('internal', 'A transaction was used after its end: something in it was not waited for');
}

/** Waits for a connection no longer than the limits say; a transaction whose turn comes later ends before it began. */
function begun<T>(
  connections: Connections,
  limits: Limits,
  run: (client: Exclusive, giveUp: (err: Error) => void) => Promise<T>,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const state: { late?: StarlingError; client?: Exclusive } = {};
    const giveUp = (err: Error) => {
      state.client?.discard();
      reject(err);
    };
    const endWait = watchWait(limits, (isAnswering, ms) => {
      const problem = isAnswering ? 'No connection to the database was free' : 'The database did not answer';
      state.late = new StarlingError('unavailable', `${problem} for ${ms} ms`);
      giveUp(state.late);
    });
    const go = async (): Promise<T> => {
      const client = await connections.take();
      state.client = client;
      let hasBegun = false;
      try {
        if (state.late !== undefined) throw state.late;
        await client.sql.unsafe('begin');
        hasBegun = true;
        endWait();
        return await run(client, giveUp);
      } catch (err) {
        // One that cannot begin is of no use to the next either.
        if (!hasBegun) client.discard();
        throw err;
      } finally {
        connections.giveBack(client);
      }
    };
    go()
      .then(resolve, (err: unknown) => reject(explained(err)))
      .finally(endWait);
  });
}

interface Guard {
  /** May throw. */
  readonly check?: () => void;
  /** Called when a query is sent; what it returns, when it has ended. */
  readonly begin?: () => () => void;
  /** Told when a query was given up because the database answers nobody. */
  readonly giveUp: (err: Error) => void;
  readonly failed?: (err: unknown) => void;
}

/** The same, but what is waited for is bounded in time, and a failure of the world is one of ours. */
function guardedSql(sql: RawSql, limits: Limits, { check, begin, giveUp, failed }: Guard): Sql {
  const guard = (made: unknown): unknown => {
    if (isQuery(made)) {
      const query = made;
      const then = query.then.bind(query);
      // biome-ignore lint/suspicious/noThenProperty: around it, postgres.js would not know it for a part of another query.
      query.then = (resolve, reject) => {
        const done = begin?.();
        const outcome = new Promise<unknown>((settle, fail) => {
          const lose = (err: unknown) => {
            failed?.(err);
            fail(err);
          };
          const endWait = watchWait(limits, (isAnswering, ms) => {
            const err = new StarlingError('unavailable', `The database did not answer within ${ms} ms`);
            // To cancel what runs takes a connection of its own, and a database that answers. What waits is taken out.
            if (isAnswering || query.active !== true) query.cancel();
            lose(err);
            if (!isAnswering) giveUp(err);
          });
          then(
            (value: unknown) => {
              endWait();
              settle(value);
            },
            (err: unknown) => {
              endWait();
              lose(explained(err));
            },
          );
        });
        return outcome.finally(done).then(resolve, reject);
      };
    }
    return made;
  };
  return new Proxy(sql, {
    apply: (target, self, args) => {
      check?.();
      return guard(Reflect.apply(target, self, args));
    },
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name);
      if (name !== 'unsafe' && name !== 'file') return value;
      return (...args: unknown[]) => {
        check?.();
        return guard(Reflect.apply(value as (...each: unknown[]) => unknown, target, args));
      };
    },
  });
}

interface Query {
  then(resolve?: (value: unknown) => unknown, reject?: (err: unknown) => unknown): Promise<unknown>;
  cancel(): void;
  /** Of postgres.js: whether it was sent. */
  readonly active?: unknown;
}

function isQuery(made: unknown): made is Query {
  return made instanceof Promise && 'cancel' in made;
}

/** Postgres is shutting down, starting, or out of connections or memory; it gave up on a statement; a lock took too long. */
const awayStates = /^(?:08|53|57P0|57014|55P03|58)/;
const awayCodes = new Set([
  'CONNECTION_CLOSED',
  'CONNECTION_ENDED',
  'CONNECTION_DESTROYED',
  'CONNECT_TIMEOUT',
  'CONNECTION_CONNECT_TIMEOUT',
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOENT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
]);

/** Whether the world failed, in which case waiting may help, or the query was wrong. */
export function explained(err: unknown): unknown {
  if (!(err instanceof Error) || err instanceof StarlingError) return err;
  const code = 'code' in err && typeof err.code === 'string' ? err.code : '';
  // Of what the system says of connecting there are more codes than anybody lists, such as EAGAIN when a Postgres that is
  // frozen accepts nothing.
  const isConnecting = 'syscall' in err && err.syscall === 'connect';
  const isAway = err.name === 'PostgresError' ? awayStates.test(code) : isConnecting || awayCodes.has(code);
  if (!isAway) return err;
  return new StarlingError('unavailable', `The database cannot be used: ${err.message || code}`, { cause: err });
}

/** Whether Postgres refused it because something is there already, or (by `constraint`) exactly that thing. */
export function isDuplicate(err: unknown, constraint?: string): boolean {
  return hasState(err, '23505', constraint);
}

/** Whether Postgres refused it because something that it points at is not there, or is still pointed at. */
export function isDangling(err: unknown, constraint?: string): boolean {
  // From Postgres 18 on, `on delete restrict` has a state of its own.
  return hasState(err, '23503', constraint) || hasState(err, '23001', constraint);
}

function isPostgresError(err: unknown): boolean {
  return err instanceof Error && err.name === 'PostgresError';
}

function isState(err: unknown, state: string): boolean {
  return isPostgresError(err) && (err as postgres.PostgresError).code === state;
}

function hasState(err: unknown, state: string, constraint: string | undefined): boolean {
  if (!(err instanceof Error) || err.name !== 'PostgresError') return false;
  const { code, constraint_name: name } = err as postgres.PostgresError;
  return code === state && (constraint === undefined || name === constraint);
}
