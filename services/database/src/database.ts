/** One way to Postgres: queries and transactions, bounded in time, with what went wrong said in our words. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { StarlingError } from '@starling/protocol';
import type postgres from 'postgres';

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
  readonly savepoint: ((run: (sql: postgres.TransactionSql<{ bigint: number }>) => unknown) => Promise<unknown>) | null;
  readonly afterCommit: Array<() => void>;
  /** Ends the waiting for the whole transaction: over a connection that does not answer, it cannot be rolled back either. */
  readonly giveUp: (err: Error) => void;
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

/** What `sql` and `tx` are over the connections of postgres.js; `shut` is called when they are closed. */
export function databaseOver(
  pool: postgres.Sql<{ bigint: number }>,
  limits: Limits,
  { ping, close }: Pick<Database, 'ping' | 'close'>,
): Database {
  const running = new AsyncLocalStorage<Running>();
  const guarded = guardedSql(pool, limits, { check: () => {}, giveUp: () => {} });

  const current = (): Running | undefined => {
    const here = running.getStore();
    if (here !== undefined) refuseWhenOver(here);
    return here;
  };

  async function inside<T>(
    sql: postgres.TransactionSql<{ bigint: number }>,
    afterCommit: Array<() => void>,
    giveUp: (err: Error) => void,
    run: (sql: Sql) => Promise<T>,
  ): Promise<T> {
    const store: Running = {
      sql: guardedSql(sql, limits, { check: () => refuseWhenOver(store), giveUp }),
      savepoint: (nested) => sql.savepoint(nested),
      afterCommit,
      giveUp,
      isOver: false,
    };
    try {
      return await running.run(store, () => run(store.sql));
    } finally {
      store.isOver = true;
    }
  }

  async function tx<T>(run: (sql: Sql) => Promise<T>): Promise<T> {
    const outer = current();
    const afterCommit: Array<() => void> = [];
    // In an object: the compiler would take a variable that only a callback sets for one that is never set.
    const result: { value?: T } = {};
    const attempt: Attempt = async (sql, giveUp) => {
      result.value = await inside(sql, afterCommit, giveUp, run);
    };
    if (outer?.savepoint) {
      await outer.savepoint((sql) => attempt(sql, outer.giveUp));
      outer.afterCommit.push(...afterCommit);
    } else {
      await begun(pool, limits, attempt);
      for (const each of afterCommit) each();
    }
    return result.value as T;
  }

  return {
    get sql() {
      return current()?.sql ?? guarded;
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

type Attempt = (sql: postgres.TransactionSql<{ bigint: number }>, giveUp: (err: Error) => void) => Promise<void>;

/** Waits for a connection no longer than the limits say; a transaction whose turn comes later ends before it began. */
async function begun(pool: postgres.Sql<{ bigint: number }>, limits: Limits, run: Attempt): Promise<void> {
  const state: { late?: StarlingError } = {};
  await new Promise<void>((resolve, reject) => {
    const endWait = watchWait(limits, (isAnswering, ms) => {
      const problem = isAnswering ? 'No connection to the database was free' : 'The database did not answer';
      state.late = new StarlingError('unavailable', `${problem} for ${ms} ms`);
      reject(state.late);
    });
    pool
      .begin(async (sql) => {
        endWait();
        if (state.late !== undefined) throw state.late;
        await run(sql, reject);
      })
      .then(
        () => resolve(),
        (err: unknown) => reject(explained(err)),
      )
      .finally(endWait);
  });
}

interface Guard {
  /** May throw. */
  check(): void;
  /** Told when a query was given up because the database answers nobody. */
  giveUp(err: Error): void;
}

/** The same, but what is waited for is bounded in time, and a failure of the world is one of ours. */
function guardedSql(sql: Sql, limits: Limits, { check, giveUp }: Guard): Sql {
  const guard = (made: unknown): unknown => {
    if (isQuery(made)) {
      const query = made;
      const then = query.then.bind(query);
      // biome-ignore lint/suspicious/noThenProperty: around it, postgres.js would not know it for a part of another query.
      query.then = (resolve, reject) => {
        const outcome = new Promise<unknown>((settle, fail) => {
          const endWait = watchWait(limits, (isAnswering, ms) => {
            const err = new StarlingError('unavailable', `The database did not answer within ${ms} ms`);
            // To cancel what runs takes a connection of its own, and a database that answers. What waits is taken out.
            if (isAnswering || query.active !== true) query.cancel();
            fail(err);
            if (!isAnswering) giveUp(err);
          });
          then(
            (value: unknown) => {
              endWait();
              settle(value);
            },
            (err: unknown) => {
              endWait();
              fail(explained(err));
            },
          );
        });
        return outcome.then(resolve, reject);
      };
    }
    return made;
  };
  return new Proxy(sql, {
    apply: (target, self, args) => {
      check();
      return guard(Reflect.apply(target, self, args));
    },
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name);
      if (name !== 'unsafe' && name !== 'file') return value;
      return (...args: unknown[]) => {
        check();
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
  const isAway = err.name === 'PostgresError' ? awayStates.test(code) : awayCodes.has(code);
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

function hasState(err: unknown, state: string, constraint: string | undefined): boolean {
  if (!(err instanceof Error) || err.name !== 'PostgresError') return false;
  const { code, constraint_name: name } = err as postgres.PostgresError;
  return code === state && (constraint === undefined || name === constraint);
}
