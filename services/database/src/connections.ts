/**
 * The connections to one Postgres. In postgres.js 3.4.9 a connection that is lost can end the whole process (the rollback of
 * its transaction is written to nothing, out of a timer), can stay unusable for ever, and can run the rest of its
 * transaction inside of another one. Therefore a transaction has a client of its own with one connection, it hears of the
 * loss before anything else is sent, and a client that has lost a connection is not used again.
 */
import { once } from 'node:events';
import { Socket } from 'node:net';
import { StarlingError } from '@starling/protocol';
import type postgres from 'postgres';

export type RawSql = postgres.Sql<{ bigint: number }>;

export type ClientOptions = postgres.Options<{ bigint: postgres.PostgresType<number> }>;

export interface ConnectionsOptions {
  readonly make: (options: ClientOptions) => RawSql;
  /** At once, in all. */
  readonly max: number;
  /** Whether the server is one, and not a list in which the library looks for one that answers. */
  readonly isOneServer: boolean;
  readonly connectMs: number;
}

/** A client for statements that stand alone. */
interface Shared {
  readonly sql: RawSql;
  users: number;
  isRetired: boolean;
}

/** A client with one connection, for one transaction at a time. */
export interface Exclusive {
  readonly sql: RawSql;
  readonly isLost: boolean;
  /** At once, whatever is under way on it. */
  discard(): void;
}

/** A pool whose server hangs would be replaced with every statement that gives up. */
const retireEveryMs = 10_000;

export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #exclusiveMax: number;
  readonly #exclusive = new Set<Exclusive>();
  readonly #idle: Exclusive[] = [];
  readonly #waiting: Array<(client: Exclusive) => void> = [];
  readonly #retired = new Set<Shared>();
  #shared: Shared;
  #retiredAtMs = -retireEveryMs;
  #isEnding = false;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
    this.#exclusiveMax = Math.max(1, Math.floor(options.max / 2));
    this.#shared = this.#makeShared();
  }

  /** For a statement that stands alone. Call `done` when it has ended. */
  use(): { readonly sql: RawSql; readonly begin: () => () => void } {
    const shared = this.#shared;
    return {
      sql: shared.sql,
      begin: () => {
        shared.users++;
        return () => {
          shared.users--;
          this.#endIfUnused(shared);
        };
      },
    };
  }

  /** Statements from now on get connections of their own: those that there are answer nothing. */
  retire(): void {
    if (performance.now() - this.#retiredAtMs < retireEveryMs) return;
    this.#retiredAtMs = performance.now();
    this.#replace(this.#shared);
  }

  /** Resolves when one is free. */
  async take(): Promise<Exclusive> {
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    if (this.#exclusive.size < this.#exclusiveMax) return this.#makeExclusive();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  giveBack(client: Exclusive): void {
    if (client.isLost) {
      client.discard();
      this.#exclusive.delete(client);
    }
    const next = this.#waiting.shift();
    if (next !== undefined) next(client.isLost ? this.#makeExclusive() : client);
    else if (!client.isLost) this.#idle.push(client);
  }

  /** What is under way has so many seconds. */
  async end(timeout: number): Promise<void> {
    this.#isEnding = true;
    const pools = [this.#shared, ...this.#retired, ...this.#exclusive].map(({ sql }) => sql.end({ timeout }));
    await Promise.all(pools);
    for (const client of this.#exclusive) client.discard();
  }

  #makeShared(): Shared {
    const { make, max } = this.#options;
    const shared: Shared = {
      sql: make({ max: Math.max(1, max - this.#exclusiveMax), onclose: () => this.#replace(shared) }),
      users: 0,
      isRetired: false,
    };
    return shared;
  }

  #replace(shared: Shared): void {
    if (shared.isRetired || this.#isEnding) return;
    shared.isRetired = true;
    this.#retired.add(shared);
    if (shared === this.#shared) this.#shared = this.#makeShared();
    this.#endIfUnused(shared);
  }

  #endIfUnused(shared: Shared): void {
    if (!shared.isRetired || shared.users > 0 || !this.#retired.delete(shared)) return;
    void shared.sql.end({ timeout: 0 });
  }

  #makeExclusive(): Exclusive {
    const { make, isOneServer, connectMs } = this.#options;
    const state = { isLost: false };
    const lose = () => {
      state.isLost = true;
      const at = this.#idle.indexOf(client);
      if (at < 0) return;
      this.#idle.splice(at, 1);
      this.#exclusive.delete(client);
      client.discard();
    };
    const ways = isOneServer ? ownSocket(connectMs, lose) : undefined;
    const sql = make({ max: 1, onclose: lose, ...ways?.options });
    const client: Exclusive = {
      sql,
      get isLost() {
        return state.isLost;
      },
      discard: () => {
        state.isLost = true;
        void sql.end({ timeout: 0 });
        ways?.destroy();
      },
    };
    this.#exclusive.add(client);
    return client;
  }
}

interface Target {
  readonly path?: string | false;
  readonly host: readonly string[];
  readonly port: readonly number[];
}

/**
 * Sockets that we can destroy: the library only says goodbye on its own, and waits for an answer, so that each that a
 * server which hangs has taken in would stay open.
 */
export function ownSocket(connectMs: number, onLost: () => void): { readonly options: object; destroy(): void } {
  const sockets = new Set<Socket>();
  const connect = async ({ path, host, port }: Target): Promise<Socket> => {
    const [name = 'localhost'] = host;
    const socket = new Socket();
    sockets.add(socket);
    // Before the library hears of it, which tells those that wait.
    socket.on('error', onLost);
    socket.on('close', () => {
      sockets.delete(socket);
      onLost();
    });
    const timer = setTimeout(() => {
      socket.destroy(new StarlingError('unavailable', `The database took no connection within ${connectMs} ms`));
    }, connectMs);
    try {
      if (path) socket.connect(path);
      else socket.connect(port[0] ?? 5_432, name);
      await once(socket, 'connect');
    } finally {
      clearTimeout(timer);
    }
    // Read by the library where TLS names the server.
    return Object.assign(socket, { host: name });
  };
  return {
    // An option that the library has and its types have not.
    options: { socket: connect },
    destroy: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}
