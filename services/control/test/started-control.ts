/** The admin API over a real database, two organisations in it, and people of every role. */
import { MemoryBroker, MemoryNodeDirectory, MemoryPresenceStore, MemoryRateLimiter } from '@starling/adapters/memory';
import { SystemClock } from '@starling/adapters/system-clock';
import { Keyring } from '@starling/database';
import type { TestDatabase } from '@starling/database/test-kit';
import type { Bulletin, Clock, Notice, Observer } from '@starling/ports';
import { type FastifyInstance, fastify, type InjectOptions } from 'fastify';
import { basePath, streams } from '../src/contract/index.ts';
import type { ErrorReply } from '../src/contract/operation.ts';
import type { Principal, Role } from '../src/contract/principal.ts';
import { watchStatuses } from '../src/declared-statuses.test-kit.ts';
import { type FrameDeps, mount, secureHeaders } from '../src/frame/mount.ts';
import { mountStream, type StreamBounds } from '../src/frame/stream.ts';
import { implementationsOf } from '../src/operations/index.ts';
import { people as peopleOf } from '../src/people.ts';
import { Rollout } from '../src/rollout.ts';
import { type AppEvent, watchApp } from '../src/watch-app.ts';

export const ours = 'org_ours';
export const theirs = 'org_theirs';
export const ourApp = '1001';
export const theirApp = '1002';
export const ourKey = 'aaaaaaaaaaaaaaaaaaaa';
export const theirKey = 'bbbbbbbbbbbbbbbbbbbb';
export const ourEndpoint = 'wh_ours';
export const theirEndpoint = 'wh_theirs';

/** In our organisation by their role; `stranger` is the owner of the other. */
export const people = {
  owner: 'usr_owner',
  admin: 'usr_admin',
  developer: 'usr_developer',
  viewer: 'usr_viewer',
  stranger: 'usr_stranger',
} as const;
export type Person = keyof typeof people;

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: what a test looks at is what it expects there
  readonly json: any;
  readonly error: ErrorReply['error'];
}

/** A board in memory that shows what was put on it. */
export class TestBulletin implements Bulletin {
  readonly posted: Notice[] = [];
  readonly #readers = new Set<(notice: Notice) => void>();
  readonly #gaps = new Set<() => void>();

  async post(notice: Notice): Promise<void> {
    this.posted.push(notice);
    for (const read of this.#readers) read(notice);
  }

  listen(read: (notice: Notice) => void): () => void {
    this.#readers.add(read);
    return () => this.#readers.delete(read);
  }

  onGap(listener: () => void): () => void {
    this.#gaps.add(listener);
    return () => this.#gaps.delete(listener);
  }

  loseSome(): void {
    for (const listener of this.#gaps) listener();
  }
}

export interface Started {
  readonly server: FastifyInstance;
  readonly deps: FrameDeps & { readonly bulletin: TestBulletin };
  readonly bulletin: TestBulletin;
  readonly keyring: Keyring;
  readonly problems: unknown[];
  readonly nodes: string[];
  readonly directory: MemoryNodeDirectory;
  readonly presenceStore: MemoryPresenceStore;
  /** Who watches which app now. */
  readonly watchers: ReadonlyArray<{ readonly appId: string; readonly listen: (entry: AppEvent) => void }>;
  call(person: Person | undefined, method: string, path: string, given?: Given): Promise<Answer>;
  close(): Promise<void>;
}

export interface Given {
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

export async function startControl(
  database: TestDatabase,
  over: {
    clock?: Clock;
    rates?: FrameDeps['rates'];
    mayTargetPrivate?: boolean;
    streamBounds?: Partial<StreamBounds>;
  } = {},
): Promise<Started> {
  const clock = over.clock ?? new SystemClock();
  const parsed = Keyring.parse(Keyring.make());
  if (!parsed.ok) throw new Error(parsed.refusal.message);
  const keyring = parsed.value;
  const bulletin = new TestBulletin();
  const problems: unknown[] = [];
  const observer: Observer = {
    notes: false,
    note: () => {},
    problem: (what, details) => problems.push({ what, ...details }),
    defect: (kind, err) => problems.push({ what: `defect: ${kind}`, err }),
  };
  const nodes: string[] = [];
  const rollout = new Rollout({
    bulletin,
    clock,
    observer,
    nodes: { nodes: async () => nodes.map((nodeId) => ({ nodeId })) },
  });
  const endRollout = rollout.start();
  const deps: Started['deps'] = {
    database,
    keyring,
    bulletin,
    clock,
    observer,
    rateLimiter: new MemoryRateLimiter(clock),
    rates: over.rates ?? { perAddress: 10_000, perPrincipal: 10_000 },
    authenticate: async ({ headers }) => {
      const userId = headers.authorization?.slice('Test '.length);
      return userId === undefined ? undefined : deps.renew({ userId } as Principal);
    },
    renew: async ({ userId }) => {
      const rows = await database.sql<{ id: string; role: Role }[]>`
        select organisation_id as id, role from memberships where user_id = ${userId}`;
      const roles = new Map(rows.map(({ id, role }) => [id, role]));
      return { kind: 'user', userId, sessionId: 'session', roleIn: (id) => roles.get(id) };
    },
  };
  await populate(database, keyring);
  const directory = new MemoryNodeDirectory(clock);
  const presenceStore = new MemoryPresenceStore(new MemoryBroker(clock));
  const live = { nodes: directory, presenceStore };
  const watchers: { appId: string; listen: (entry: AppEvent) => void }[] = [];
  const watch = async (appId: string, listen: (entry: AppEvent) => void) => {
    const watcher = { appId, listen };
    watchers.push(watcher);
    return () => void watchers.splice(watchers.indexOf(watcher), 1);
  };
  const server = fastify({ routerOptions: { maxParamLength: 2_000 }, forceCloseConnections: true });
  // People sign in in stories of their own, which take the time that hashes of passwords take.
  const who = peopleOf(deps);
  const { mayTargetPrivate = false } = over;
  const implementations = implementationsOf({
    ...deps,
    ...live,
    ...who.deps,
    rollout,
    mayTargetPrivate,
    hasProvider: false,
  });
  await server.register(
    async (api) => {
      secureHeaders(api);
      watchStatuses(api, (what) => problems.push({ what }));
      await who.authentication(api);
      mount(api, deps, implementations);
      mountStream(api, { ...deps, streamBounds: over.streamBounds ?? {} }, streams.watchApp, watchApp({ watch }));
    },
    { prefix: basePath },
  );
  await server.ready();

  return {
    server,
    deps,
    bulletin,
    keyring,
    problems,
    nodes,
    directory,
    presenceStore,
    watchers,
    call: async (person, method, path, { body, headers = {} } = {}) => {
      const answer = await server.inject({
        method: method as NonNullable<InjectOptions['method']>,
        url: `/api/v1${path}`,
        headers: {
          ...(person === undefined ? {} : { authorization: `Test ${people[person]}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { payload: typeof body === 'string' ? body : JSON.stringify(body) }),
      });
      const text = answer.body;
      const json = text === '' ? undefined : JSON.parse(text);
      return { status: answer.statusCode, headers: answer.headers, text, json, error: json?.error };
    },
    close: async () => {
      endRollout();
      await server.close();
    },
  };
}

async function populate(database: TestDatabase, keyring: Keyring): Promise<void> {
  const { sql } = database;
  const at = new Date('2026-01-01T00:00:00Z');
  await sql`
    insert into users ${sql(
      Object.entries(people).map(([name, id]) => ({
        id,
        email: `${name}@example.com`,
        has_proven_email: true,
        name,
        created_at: at,
      })),
    )}`;
  for (const [organisationId, appId, key, endpoint] of [
    [ours, ourApp, ourKey, ourEndpoint],
    [theirs, theirApp, theirKey, theirEndpoint],
  ] as const) {
    await sql`insert into organisations ${sql({ id: organisationId, name: organisationId, created_at: at })}`;
    await sql`
      insert into apps ${sql({ id: appId, organisation_id: organisationId, name: `app ${appId}`, version: 1, created_at: at })}`;
    const sealed = keyring.seal('cccccccccccccccccccc', `app-secret:${key}`);
    await sql`insert into app_keys ${sql({ key, app_id: appId, secret_sealed: sealed, created_at: at })}`;
    await sql`
      insert into webhook_endpoints ${sql({ id: endpoint, app_id: appId, url: 'https://example.com/hook', events: ['cache_miss'], created_at: at })}`;
    await sql`insert into app_changes (app_id) values (${appId})`;
  }
  // The owner of ours runs the installation, too.
  await sql`insert into operators ${sql({ user_id: people.owner, created_at: at })}`;
  for (const [name, userId] of Object.entries(people)) {
    const [organisation, role] = name === 'stranger' ? [theirs, 'owner'] : [ours, name];
    await sql`
      insert into memberships ${sql({ organisation_id: organisation, user_id: userId, role, created_at: at })}`;
  }
}
