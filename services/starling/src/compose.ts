/** What each program is made of: memory or Redis beneath, the engine, the parts that were asked for. Names the adapters. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { JoseTokenVerifier } from '@starling/adapters/jose';
import {
  MemoryAppStore,
  MemoryBroker,
  MemoryNodeDirectory,
  MemoryPresenceStore,
  MemoryRateLimiter,
} from '@starling/adapters/memory';
import { PostgresAppStore } from '@starling/adapters/postgres';
import {
  parseRedisUrl,
  RedisBroker,
  RedisLink,
  RedisNodeDirectory,
  RedisPresenceStore,
  RedisRateLimiter,
} from '@starling/adapters/redis';
import { SystemClock } from '@starling/adapters/system-clock';
import { api } from '@starling/api';
import { type Control, control, oidcOf, ownerOf } from '@starling/control';
import { BrokerBulletin, DebugTap, DebugWatch, Fairness, Fleet, Hub, Sessions, Traffic } from '@starling/core';
import {
  adoptKeyring,
  type ClosedDatabase,
  createDatabase,
  type Database,
  type DatabaseAddress,
  type Keyring,
  keptKeyring,
} from '@starling/database';
import { edge } from '@starling/edge';
import { openSocketWriter } from '@starling/fanout';
import {
  type AppStore,
  type Broker,
  type Bulletin,
  type Clock,
  type NodeDirectory,
  type Observer,
  type PresenceStore,
  probeTopic,
  type RateLimiter,
  type Revoker,
} from '@starling/ports';
import { StarlingError } from '@starling/protocol';
import {
  Lifecycle,
  type Log,
  Metrics,
  type MetricsSnapshot,
  mergeMetrics,
  openHttpServer,
  openLateness,
  PinoObserver,
  Readiness,
  StartError,
  type Supervisor,
  Workers,
} from '@starling/runtime';
import type { ControlSettings, PartSettings, StartSettings } from './config.ts';
import { type Credentials, givenApp, keptCredentials, settleFirstApp, wantedApp } from './first-app.ts';
import { version } from './version.ts';

/** What a program may serve: connections, the HTTP API, the admin API. */
export type Part = 'edge' | 'api' | 'control';

type Settings = StartSettings | PartSettings | ControlSettings;

/** What there is to begin with. */
export interface First {
  /** The first app, if there is any left. */
  app?: Credentials;
  /** Of the link to the account of the first owner; undefined where there is one. */
  setupToken?: string;
}

/** Told the address, such as `http://127.0.0.1:6001`. */
export type OnReady = (url: string, first: First) => void;

/** Nothing has started when it returns. What only one process may have, a worker has from its `supervisor`. */
export function compose(
  settings: Settings,
  parts: readonly Part[],
  supervisor: Supervisor | undefined,
  log: Log,
  onReady: OnReady,
): Lifecycle {
  const { STARLING_TLS_CERT: certFile, STARLING_TLS_KEY: keyFile, STARLING_PATH_PREFIX: pathPrefix } = settings;
  const drainMs = settings.STARLING_DRAIN_SECONDS * 1_000;
  const nodeId = randomUUID();
  const lifecycle = new Lifecycle(log);
  const clock = new SystemClock();
  const observer = new DebugTap(new PinoObserver(log), { clock, nodeId });
  const traffic = new Traffic();
  const metrics = new Metrics(supervisor && { worker: String(supervisor.number) });
  metrics.watchTraffic(traffic);
  supervisor?.line.answer(metricsOfOne, () => metrics.snapshot());

  const { broker, presenceStore, rateLimiter, nodeDirectory, ping } =
    settings.REDIS_URL === undefined
      ? inProcess(clock)
      : overRedis(settings.REDIS_URL, { nodeId, lifecycle, clock, observer, metrics });
  // In a program that serves no connections too: it asks itself whether messages come back, and tells the subscribers
  // of other nodes their count when this one has given back the seats of a node that died.
  const hub = new Hub({ broker, clock, observer, nodeId });
  lifecycle.add('hub', () => hub.start());
  const bulletin = new BrokerBulletin({ broker, hub, observer });
  lifecycle.add('bulletin', () => bulletin.start());
  lifecycle.add('debug', () => observer.start({ broker, bulletin }));
  const world = { nodeId, lifecycle, clock, observer, metrics, log, bulletin };
  const { appStore, first, kept } = appsOf(settings, supervisor, world);
  // Programs that meet in Redis alone keep no apps together: what one of them revoked, the others would go on taking.
  const isShared = settings.DATABASE_URL !== undefined || settings.REDIS_URL === undefined;
  const revoker: Revoker = isShared ? appStore : { revoke: revokeNowhere };
  const fleet = new Fleet({
    directory: nodeDirectory,
    traffic,
    clock,
    observer,
    about: {
      nodeId,
      host: hostname(),
      parts,
      version,
      startedAt: clock.now(),
      memoryBytes: () => process.memoryUsage.rss(),
    },
  });
  const connectionsElsewhere = (appId: string): number => fleet.connectionsElsewhere(appId);
  const tokenVerifier = new JoseTokenVerifier(observer, { mayBePrivate: settings.STARLING_ALLOW_PRIVATE_TARGETS });
  const stores = { appStore, broker, presenceStore, rateLimiter, tokenVerifier };
  const sessions = new Sessions({ ...stores, hub, clock, observer, traffic, connectionsElsewhere });
  lifecycle.add('sessions', () => sessions.start());

  const admin =
    parts.includes('control') && kept !== undefined
      ? adminOf(settings, kept, { ...world, hub, rateLimiter, nodeDirectory, presenceStore })
      : undefined;
  if (admin !== undefined) lifecycle.add('admin', () => startAdmin(admin, settings, first, supervisor));

  const seat = { topic: probeTopic(nodeId), socketId: nodeId };
  const readiness = new Readiness(
    [
      { name: 'broker', run: () => Promise.all([hub.probe(2_000), ping()]), limitMs: 2_500 },
      // A seat taken and given back: a store that can be read need not be one that can be written.
      { name: 'presence', run: () => presenceStore.join(seat).then(() => presenceStore.leave(seat)), limitMs: 2_500 },
      // An id that no app has: a worker would answer one that it knows from memory. A database that is away is no reason
      // not to be ready, since all that has to do with connections and events goes on without it: a detail only.
      { name: 'apps', run: () => appStore.byId('0'), limitMs: 2_500 },
      ...(kept === undefined
        ? []
        : [{ name: 'database', run: () => kept.database.ping(1_000), limitMs: 1_500, isDetail: true }]),
    ],
    observer,
  );
  const server = openHttpServer({
    log,
    readiness,
    metrics: supervisor === undefined ? metrics : { contentType: metrics.contentType, read: () => readAll(supervisor) },
    pathPrefix,
    trustProxy: settings.STARLING_TRUST_PROXY,
    ...(certFile === undefined || keyFile === undefined ? {} : { tls: { certFile, keyFile } }),
  });
  lifecycle.add('server', async () => {
    if (parts.includes('edge')) {
      const writer = openSocketWriter(settings.STARLING_FANOUT);
      log.info({ path: writer.path, reason: writer.reason }, 'How events reach many sockets');
      await server.app.register(
        edge({ sessions, observer, ws: { writer, compresses: settings.STARLING_COMPRESSION } }),
      );
    }
    if (parts.includes('api')) {
      await server.app.register(
        api({ appStore, revoker, broker, presenceStore, rateLimiter, traffic, clock, observer, pathPrefix }),
      );
    }
    if (admin !== undefined) await server.app.register(admin.routes);
    onReady(await server.listen(settings.STARLING_HOST, settings.STARLING_PORT), first);
    return () => server.close();
  });

  const lateAfterMs = settings.STARLING_FAIRNESS_LAG_MS;
  if (lateAfterMs > 0) {
    const fairness = new Fairness({ traffic, clock }, lateAfterMs);
    lifecycle.add('fairness', () => {
      const lateness = openLateness();
      const end = fairness.start(() => lateness.read());
      return () => {
        end();
        lateness.close();
      };
    });
  }
  lifecycle.add('fleet', () => fleet.start());
  // Last to open and so first to close: while connections are told to go elsewhere, the rest still works.
  lifecycle.add('connections', () => () => sessions.drain(drainMs), drainMs + 5_000);
  lifecycle.add('readiness', () => () => readiness.stop());
  return lifecycle;
}

const [metricsOfOne, metricsOfAll, setupLinkTurn] = ['metrics', 'metrics of all', 'setup link'] as const;

/** What a worker says when it is ready. */
export interface WorkerReady {
  readonly url: string;
  readonly setupToken: string | undefined;
}

/** Whichever worker is asked shows all of them. */
async function readAll({ line }: Supervisor): Promise<string> {
  return mergeMetrics((await line.ask(metricsOfAll)) as MetricsSnapshot[]);
}

/**
 * The process that keeps what only one process may keep, and has workers that serve. It holds no connections itself.
 * Nothing has started when it returns. `onReady` is told when all of them are ready, `onGivenUp` that none is left.
 */
export function composeWorkers(settings: Settings, log: Log, onReady: OnReady, onGivenUp: () => void): Lifecycle {
  const lifecycle = new Lifecycle(log);
  const metrics = new Metrics({ worker: 'supervisor' });
  const observer = new PinoObserver(log);
  const clock = new SystemClock();
  const nodeId = randomUUID();
  // Nobody but this process changes what it keeps: who can, has a database of its own to do it in.
  const { broker } = inProcess(clock);
  const hub = new Hub({ broker, clock, observer, nodeId });
  lifecycle.add('hub', () => hub.start());
  const bulletin = new BrokerBulletin({ broker, hub, observer });
  lifecycle.add('bulletin', () => bulletin.start());
  const { first } = appsOf(settings, undefined, {
    nodeId,
    lifecycle,
    clock,
    observer,
    metrics,
    log,
    bulletin,
  });
  let isLinkMade = false;
  // What a worker needs to stop in order: its drain, and then each of its steps its own limit.
  const stopLimitMs = settings.STARLING_DRAIN_SECONDS * 1_000 + 30_000;
  const workers = new Workers({
    count: settings.STARLING_WORKERS,
    log,
    stopLimitMs,
    onGivenUp,
    onStarted: (line) => {
      line.answer(metricsOfAll, async () => {
        // One that does not answer is missing, rather than all.
        const asked = workers.lines.map((each) => each.ask(metricsOfOne, undefined, 2_000).catch(() => []));
        return [await metrics.snapshot(), ...(await Promise.all(asked))];
      });
      // A link that another worker makes later would end the one that was printed.
      line.answer(setupLinkTurn, () => {
        const isTurn = !isLinkMade;
        isLinkMade = true;
        return isTurn;
      });
      return () => {};
    },
  });
  metrics.watchNumber('starling_workers', 'Workers that serve now', () => workers.lines.length);
  metrics.watchNumber(
    'starling_worker_restarts_total',
    'Workers that died and had another take their place',
    () => workers.restartCount,
  );
  lifecycle.add(
    'workers',
    async () => {
      const { url, setupToken } = (await workers.start()) as WorkerReady;
      onReady(url, setupToken === undefined ? first : { ...first, setupToken });
      return () => workers.stop();
    },
    stopLimitMs + 5_000,
  );
  return lifecycle;
}

async function revokeNowhere(): Promise<never> {
  throw new StarlingError(
    'unavailable',
    'Tokens cannot be revoked where programs keep no apps together: set DATABASE_URL',
  );
}

interface Stores {
  readonly broker: Broker;
  readonly presenceStore: PresenceStore;
  readonly rateLimiter: RateLimiter;
  readonly nodeDirectory: NodeDirectory;
  /** Resolves when everything is subscribed that should be: a message that comes back shows no more than its own way. */
  ping(): Promise<void>;
}

function inProcess(clock: Clock): Stores {
  const broker = new MemoryBroker(clock);
  return {
    broker,
    presenceStore: new MemoryPresenceStore(broker),
    rateLimiter: new MemoryRateLimiter(clock),
    nodeDirectory: new MemoryNodeDirectory(clock),
    ping: async () => undefined,
  };
}

interface World {
  readonly nodeId: string;
  readonly lifecycle: Lifecycle;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly metrics: Metrics;
}

interface Apps {
  readonly appStore: AppStore & Revoker;
  /** Known when the step `apps` is open. */
  readonly first: First;
  /** Where they are kept, if this process has that open. */
  readonly kept?: Kept;
}

interface Kept {
  readonly database: Database;
  readonly keyring: Keyring;
}

interface Neighbours extends World {
  readonly log: Log;
  readonly bulletin: Bulletin;
}

/** From a database, or as given. */
function appsOf(settings: Settings, supervisor: Supervisor | undefined, world: Neighbours): Apps {
  const wanted = wantedApp(settings);
  if (settings.DATABASE_URL !== undefined || 'STARLING_DATA_DIR' in settings)
    return fromDatabase(settings, supervisor, world);
  const app = givenApp(wanted);
  return {
    appStore: new MemoryAppStore([app]),
    first: wanted.credentials === undefined ? {} : { app: wanted.credentials },
  };
}

/** By its URL; or one of our own, which the process without a supervisor keeps for itself and its workers. */
export function databaseAddress(settings: DatabaseSettings, supervisor?: Supervisor): DatabaseAddress {
  if (settings.DATABASE_URL !== undefined) return { url: settings.DATABASE_URL };
  // Programs other than start have no folder, and always a URL.
  if (settings.STARLING_DATA_DIR === undefined) throw new StartError('DATABASE_URL is not given');
  if (supervisor !== undefined) return { sharedDataDir: settings.STARLING_DATA_DIR };
  return {
    dataDir: settings.STARLING_DATA_DIR,
    binFolder: settings.STARLING_POSTGRES_BIN,
    processes: settings.STARLING_WORKERS ?? 1,
  };
}

type DatabaseSettings = Partial<
  Pick<StartSettings, 'DATABASE_URL' | 'STARLING_DATA_DIR' | 'STARLING_POSTGRES_BIN' | 'STARLING_WORKERS'>
>;

function fromDatabase(settings: Settings, supervisor: Supervisor | undefined, world: Neighbours): Apps {
  const { lifecycle, metrics, observer, bulletin, log } = world;
  const dataDir = 'STARLING_DATA_DIR' in settings ? settings.STARLING_DATA_DIR : '';
  const database = createdDatabase(databaseAddress(settings, supervisor), observer);
  const { embedded } = database;
  const keyring = settings.STARLING_SECRET_KEY ?? keyringIn(dataDir);
  const appStore = new PostgresAppStore({ ...world, database, keyring });
  const first: First = {};
  lifecycle.add(
    'database',
    async () => {
      await database.open().catch(explainedDatabase);
      if (embedded !== undefined)
        log.info({ folder: embedded.home.cluster }, embeddedNotice(embedded.home.isElsewhere));
      return () => database.close();
    },
    10_000,
  );
  lifecycle.add('apps', async () => {
    await adoptKeyring(database, keyring).catch(explainedDatabase);
    const isFirstOurs =
      supervisor === undefined && ('STARLING_DATA_DIR' in settings || settings.STARLING_APP_ID !== undefined);
    if (isFirstOurs) {
      const kept = () => ('STARLING_DATA_DIR' in settings ? keptCredentials(dataDir) : undefined);
      const app = await settleFirstApp({ database, keyring, bulletin }, wantedApp(settings), kept).catch(
        explainedDatabase,
      );
      if (app !== undefined) first.app = app;
    }
    return appStore.start().catch(explainedDatabase);
  });
  metrics.watchNumber('starling_database_up', 'Whether the apps could be read when last tried, 1 or 0', () =>
    Number(appStore.isUp),
  );
  if (embedded !== undefined) {
    metrics.watchNumber(
      'starling_database_restarts_total',
      'How often the embedded Postgres died or hung, and was started again',
      () => embedded.restartCount,
    );
  }
  metrics.watchNumber(
    'starling_apps_age_seconds',
    'How long ago this node last knew every change of the apps: more than a few seconds while the database is away',
    () => appStore.ageMs / 1_000,
  );
  return { appStore, first, kept: { database, keyring } };
}

function createdDatabase(address: DatabaseAddress, observer: Observer): ClosedDatabase {
  try {
    return createDatabase(address, { observer });
  } catch (err) {
    return explainedDatabase(err);
  }
}

function embeddedNotice(isElsewhere: boolean): string {
  const place = isElsewhere
    ? 'outside of the data folder, which the user of Postgres cannot reach'
    : 'in the data folder';
  return `The database is a Postgres of our own, ${place}. To have it elsewhere, set DATABASE_URL`;
}

function adminOf(
  settings: Settings,
  kept: Kept,
  neighbours: Neighbours & Pick<Stores, 'rateLimiter' | 'nodeDirectory' | 'presenceStore'> & { readonly hub: Hub },
): Control {
  const { bulletin, clock, observer, hub, rateLimiter, nodeDirectory, presenceStore } = neighbours;
  const oidc = 'STARLING_OIDC_ISSUER' in settings ? oidcOf(settings) : undefined;
  return control({
    ...kept,
    bulletin,
    clock,
    observer,
    rateLimiter,
    nodes: nodeDirectory,
    presenceStore,
    watch: new DebugWatch({ hub, bulletin, clock, observer }),
    pathPrefix: settings.STARLING_PATH_PREFIX,
    version,
    ...(oidc === undefined ? {} : { oidc }),
  });
}

async function startAdmin(
  admin: Control,
  settings: Settings,
  first: First,
  supervisor: Supervisor | undefined,
): Promise<() => Promise<void>> {
  const owner = 'STARLING_ADMIN_EMAIL' in settings ? ownerOf(settings) : undefined;
  if (owner !== undefined) {
    const made = await admin.people.ensureFirstOwner(owner).catch(explainedDatabase);
    if (!made.ok) throw new StartError(`STARLING_ADMIN_EMAIL, STARLING_ADMIN_PASSWORD: ${made.refusal.message}`);
  }
  const isTurn = supervisor === undefined || (await supervisor.line.ask(setupLinkTurn)) === true;
  const setupToken = isTurn ? await admin.people.createSetupToken().catch(explainedDatabase) : undefined;
  if (setupToken !== undefined) first.setupToken = setupToken;
  return admin.start();
}

function keyringIn(dataDir: string): Keyring {
  try {
    return keptKeyring(dataDir);
  } catch (err) {
    return explainedDatabase(err);
  }
}

function explainedDatabase(err: unknown): never {
  if (err instanceof StarlingError) throw new StartError(`the database cannot be used: ${err.message}`);
  if (err instanceof Error && err.name === 'PostgresError')
    throw new StartError(`the database refuses: ${err.message}`);
  throw err;
}

function overRedis(url: string, { nodeId, lifecycle, clock, observer, metrics }: World): Stores {
  const address = parseRedisUrl(url);
  if (!address.ok) throw new StartError(`REDIS_URL: ${address.message}`);
  const link = new RedisLink(address.value, { clock, observer });
  const presenceStore = new RedisPresenceStore({ link, clock, observer, nodeId });
  metrics.watchNumber('starling_redis_up', 'Whether commands reach Redis, 1 or 0', () => Number(link.isUp));
  metrics.watchNumber(
    'starling_redis_gaps_total',
    'How often subscriptions were cut and came back, each time with messages that may have been missed',
    () => link.gapCount,
  );
  lifecycle.add('redis', () => link.start().catch(explainedRedis));
  // Gives back the seats that are left and ends the lease: longer than a Redis that is gone takes to say so.
  lifecycle.add('presence', () => presenceStore.start().catch(explainedRedis), 10_000);
  return {
    broker: new RedisBroker(link, observer),
    presenceStore,
    rateLimiter: new RedisRateLimiter(link),
    nodeDirectory: new RedisNodeDirectory(link),
    ping: () => link.ping(),
  };
}

function explainedRedis(err: unknown): never {
  if (!(err instanceof StarlingError)) throw err;
  throw new StartError(`the Redis of REDIS_URL cannot be used. ${err.message}`);
}
