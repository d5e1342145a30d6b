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
import { type Control, control, createSetupToken, oidcOf, ownerOf } from '@starling/control';
import {
  addressGroup,
  BrokerBulletin,
  DebugTap,
  DebugWatch,
  defaultSessionSettings,
  Fairness,
  Fleet,
  Hub,
  Sessions,
  Traffic,
} from '@starling/core';
import {
  adoptKeyring,
  type ClosedDatabase,
  createDatabase,
  type Database,
  type DatabaseAddress,
  type Keyring,
  keptKeyring,
} from '@starling/database';
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
  type MetricsText,
  mergeMetrics,
  type OwnPort,
  openHttpServer,
  openLateness,
  openMemoryGauge,
  openMetricsServer,
  type PinoObserver,
  type Port,
  Readiness,
  StartError,
  type Supervisor,
  Workers,
} from '@starling/runtime';
import { transports } from '@starling/transports';
import { publicUrlOf } from './banner.ts';
import type { ControlSettings, PartSettings, StartSettings } from './config.ts';
import { demo } from './demo.ts';
import {
  type Credentials,
  claimFirstSecret,
  givenApp,
  keptCredentials,
  settleFirstApp,
  wantedApp,
} from './first-app.ts';
import { leave, leaveLimitMs } from './leave.ts';
import { throwDatabaseProblem, throwRedisProblem } from './start-problems.ts';
import { version } from './version.ts';

/** What a program may serve: connections, the HTTP API, the admin API. */
export type Part = 'edge' | 'api' | 'control';

type Settings = StartSettings | PartSettings | ControlSettings;

/** What there is to begin with. */
export interface First {
  /** The first app, if there is any left. */
  app?: Credentials;
  /** This start prints its secret, wherever that goes: none has before. */
  isSecretNew?: boolean;
  /** Of the link to the account of the first owner; undefined where there is one, or where a former link is still good. */
  setupToken?: string;
}

/** Told the address, such as `http://127.0.0.1:6001`. */
export type OnReady = (url: string, first: First) => void;

export interface Place {
  readonly settings: Settings;
  readonly parts: readonly Part[];
  readonly observer: PinoObserver;
  readonly onReady: OnReady;
}

/** Nothing has started when it returns. What only one process may have, a worker has from its `supervisor`. */
export function compose(
  { settings, parts, observer: logged, onReady }: Place,
  port: Port,
  supervisor?: Supervisor,
): Lifecycle {
  const { log } = logged;
  const { STARLING_TLS_CERT: certFile, STARLING_TLS_KEY: keyFile, STARLING_PATH_PREFIX: pathPrefix } = settings;
  const drainMs = settings.STARLING_DRAIN_SECONDS * 1_000;
  const nodeId = randomUUID();
  const lifecycle = new Lifecycle(log);
  // Open already, and last to close: who comes while nothing can serve yet, or any more, is not refused.
  lifecycle.add('port', () => () => port.close());
  const clock = new SystemClock(logged);
  const observer = new DebugTap(logged, { clock, nodeId });
  const traffic = new Traffic();
  const metrics = new Metrics(supervisor && { worker: String(supervisor.number) });
  metrics.watchTraffic(traffic);
  metrics.watchDefects(logged.defects);
  supervisor?.line.answer(metricsOfOne, () => metrics.snapshot());

  const gauge = openMemoryGauge(settings.STARLING_WORKERS);
  const { broker, presenceStore, rateLimiter, nodeDirectory, ping } =
    settings.REDIS_URL === undefined
      ? inProcess(clock, gauge.limitBytes)
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
      ...(supervisor !== undefined && { startedBy: supervisor.id }),
      startedAt: clock.now(),
      memoryBytes: () => process.memoryUsage.rss(),
    },
  });
  const connectionsElsewhere = (appId: string): number => fleet.connectionsElsewhere(appId);
  const tokenVerifier = new JoseTokenVerifier(clock, observer, {
    mayBePrivate: settings.STARLING_ALLOW_PRIVATE_TARGETS,
  });
  const stores = { appStore, broker, presenceStore, rateLimiter, tokenVerifier };
  const memory = {
    bytes: (settings.STARLING_CONNECTION_MEMORY_MB ?? 0) * 1_048_576 || gauge.limitBytes * memoryShares.connections,
    isShort: () => gauge.isShort(),
  };
  const sessions = new Sessions(
    { ...stores, hub, clock, observer, traffic, connectionsElsewhere, memory },
    {
      ...defaultSessionSettings,
      activityTimeoutSeconds: settings.STARLING_ACTIVITY_TIMEOUT_SECONDS,
      connectionsPerAddress: settings.STARLING_MAX_CONNECTIONS_PER_ADDRESS,
    },
    { maxTotalBytes: gauge.limitBytes * memoryShares.waiting },
  );
  metrics.watchNumber(
    'starling_held_bytes',
    'Memory that connections, and all that belongs to them, are counted to hold',
    () => sessions.heldBytes,
  );
  metrics.watchNumber('starling_held_limit_bytes', 'Beyond how much of that newcomers are refused', () => memory.bytes);
  lifecycle.add('sessions', () => sessions.start());

  const admin =
    parts.includes('control') && kept !== undefined
      ? adminOf(settings, kept, { ...world, hub, rateLimiter, nodeDirectory, presenceStore })
      : undefined;
  if (admin !== undefined) lifecycle.add('admin', () => startAdmin(admin.control, settings));

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
  const { STARLING_METRICS_TOKEN: metricsToken, STARLING_MAX_SOCKETS: most } = settings;
  const text =
    supervisor === undefined ? metrics : { contentType: metrics.contentType, read: () => readAll(supervisor) };
  const hasMetricsPort = settings.STARLING_METRICS_PORT !== undefined;
  const server = openHttpServer({
    log,
    readiness,
    observer,
    ...(metricsToken !== undefined && !hasMetricsPort && { metrics: { text, token: metricsToken } }),
    sockets: { ...(most !== undefined && { most }), groupOf: addressGroup },
    maxHeaderBytes: settings.STARLING_MAX_HEADER_BYTES,
    pathPrefix,
    trustProxy: settings.STARLING_TRUST_PROXY,
    ...(certFile === undefined || keyFile === undefined ? {} : { tls: { certFile, keyFile } }),
  });
  metrics.watchNumber(
    'starling_sockets_refused_total',
    'Connections that were refused because the process, or their address, had too many',
    () => server.refusedSockets,
  );
  // Of workers the process that started them has the port.
  if (supervisor === undefined) serveMetrics(settings, text, { lifecycle, logged });
  lifecycle.onCrash(() => {
    void port.close();
    // Those of a worker find the others, or the one that takes its place.
    return sessions.drain({ hasSuccessor: supervisor !== undefined || fleet.hadSuccessor, overMs: 0 });
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
  lifecycle.add(
    'server',
    async () => {
      if (parts.includes('edge')) {
        const writer = openSocketWriter(settings.STARLING_FANOUT);
        log.info({ path: writer.path, reason: writer.reason }, 'How events reach many sockets');
        await server.app.register(
          transports({ sessions, observer, ws: { writer, compresses: settings.STARLING_COMPRESSION } }),
        );
      }
      if (parts.includes('api')) {
        await server.app.register(
          api({ appStore, revoker, broker, presenceStore, rateLimiter, traffic, clock, observer, pathPrefix }),
        );
      }
      if (admin !== undefined) await server.app.register(admin.control.routes);
      if (parts.includes('edge') && parts.includes('api')) await server.app.register(demo);
      const url = await server.serve(port);
      admin?.listensAt(url);
      if (supervisor === undefined && kept !== undefined) {
        await settleSecrets(kept, { settings, hasAdmin: admin !== undefined, clock }, first).catch(
          throwDatabaseProblem,
        );
      }
      onReady(url, first);
      return async () => {
        await leave({ readiness, fleet, server, port, sessions, clock, overMs: drainMs });
        await server.close();
      };
    },
    leaveLimitMs(drainMs) + 5_000,
  );
  return lifecycle;
}

/** On the port of their own, if they have one. */
function serveMetrics(
  settings: Settings,
  text: MetricsText,
  { lifecycle, logged: observer }: { readonly lifecycle: Lifecycle; readonly logged: PinoObserver },
): void {
  const { STARLING_METRICS_PORT: port, STARLING_METRICS_HOST: host, STARLING_METRICS_TOKEN: token } = settings;
  if (port === undefined) return;
  lifecycle.add('metrics', async () => {
    const server = await openMetricsServer({ text, token, host, port, observer });
    observer.log.info({ metrics: `${server.url}/metrics` }, 'Metrics are served');
    return () => server.close();
  });
}

const [metricsOfOne, metricsOfAll] = ['metrics', 'metrics of all'] as const;

/** Whichever worker is asked shows all of them. */
async function readAll({ line }: Supervisor): Promise<string> {
  const snapshots = await line.ask(metricsOfAll);
  if (!Array.isArray(snapshots)) throw new StarlingError('internal', 'The supervisor answered with no metrics');
  // A worker that answered with something else is missing, rather than all.
  return mergeMetrics(snapshots.filter((snapshot): snapshot is MetricsSnapshot => Array.isArray(snapshot)));
}

/**
 * The process that keeps what only one process may keep, and has workers that serve. It holds no connections itself.
 * Nothing has started when it returns. `onReady` is told when all of them are ready, `onGivenUp` that none is left.
 */
export function composeWorkers(
  { settings, parts, observer, onReady }: Place,
  port: OwnPort,
  onGivenUp: () => void,
): Lifecycle {
  const { log } = observer;
  const lifecycle = new Lifecycle(log);
  lifecycle.add('port', () => () => port.close());
  const metrics = new Metrics({ worker: 'supervisor' });
  metrics.watchDefects(observer.defects);
  const clock = new SystemClock(observer);
  const nodeId = randomUUID();
  // Nobody but this process changes what it keeps: who can, has a database of its own to do it in.
  const { broker } = inProcess(clock, openMemoryGauge(settings.STARLING_WORKERS + 1).limitBytes);
  const hub = new Hub({ broker, clock, observer, nodeId });
  lifecycle.add('hub', () => hub.start());
  const bulletin = new BrokerBulletin({ broker, hub, observer });
  lifecycle.add('bulletin', () => bulletin.start());
  const { first, kept } = appsOf(settings, undefined, {
    nodeId,
    lifecycle,
    clock,
    observer,
    metrics,
    log,
    bulletin,
  });
  // What a worker needs to stop in order: its drain, and then each of its steps its own limit.
  const stopLimitMs = leaveLimitMs(settings.STARLING_DRAIN_SECONDS * 1_000) + 30_000;
  const workers = new Workers({
    port,
    count: settings.STARLING_WORKERS,
    observer,
    stopLimitMs,
    onGivenUp,
    onStarted: (line) => {
      line.answer(metricsOfAll, snapshotAll);
      return () => {};
    },
  });
  const snapshotAll = async (): Promise<MetricsSnapshot[]> => {
    // One that does not answer is missing, rather than all.
    const asked = workers.lines.map((each) =>
      each.ask(metricsOfOne, undefined, 2_000).then(
        (snapshot) => snapshot as MetricsSnapshot,
        () => [],
      ),
    );
    return [await metrics.snapshot(), ...(await Promise.all(asked))];
  };
  const text = { contentType: metrics.contentType, read: async () => mergeMetrics(await snapshotAll()) };
  serveMetrics(settings, text, { lifecycle, logged: observer });
  lifecycle.onCrash(() => workers.crash());
  metrics.watchNumber('starling_workers', 'Workers that serve now', () => workers.lines.length);
  metrics.watchNumber(
    'starling_worker_restarts_total',
    'Workers that died and had another take their place',
    () => workers.restartCount,
  );
  lifecycle.add(
    'workers',
    async () => {
      const url = String(await workers.start());
      if (kept !== undefined) {
        await settleSecrets(kept, { settings, hasAdmin: parts.includes('control'), clock }, first).catch(
          throwDatabaseProblem,
        );
      }
      onReady(url, first);
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

/**
 * What of a process's memory is for what. With a heap of 256 MB: 128 MB for connections, which is 11,000 that are in a few
 * channels each; 32 MB that may wait for those who do not read, 16 MB of events for cache channels, and 40,000 ids of
 * messages. The rest is for the program itself (about 60 MB), for what is under way, and for V8 to collect in.
 */
const memoryShares = { connections: 1 / 2, waiting: 1 / 8, retained: 1 / 16, messageIds: 1 / 16 } as const;
/** Of one message id: a topic, the id, a time, and a place in a map. */
const messageIdBytes = 400;

function inProcess(clock: Clock, limitBytes: number): Stores {
  const broker = new MemoryBroker(clock, {
    retainedBytes: limitBytes * memoryShares.retained,
    messageIds: Math.floor((limitBytes * memoryShares.messageIds) / messageIdBytes),
  });
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
      await database.open().catch((err: unknown) => throwDatabaseProblem(err, settings.DATABASE_URL));
      if (embedded !== undefined)
        log.info({ folder: embedded.home.cluster }, embeddedNotice(embedded.home.isElsewhere));
      return () => database.close();
    },
    10_000,
  );
  lifecycle.add('apps', async () => {
    await adoptKeyring(database, keyring).catch(throwDatabaseProblem);
    const isFirstOurs =
      supervisor === undefined && ('STARLING_DATA_DIR' in settings || settings.STARLING_APP_ID !== undefined);
    if (isFirstOurs) {
      const kept = () => ('STARLING_DATA_DIR' in settings ? keptCredentials(dataDir) : undefined);
      const app = await settleFirstApp({ database, keyring, bulletin }, wantedApp(settings), kept).catch(
        throwDatabaseProblem,
      );
      if (app !== undefined) first.app = app;
    }
    return appStore.start().catch(throwDatabaseProblem);
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
    return throwDatabaseProblem(err);
  }
}

function embeddedNotice(isElsewhere: boolean): string {
  const place = isElsewhere
    ? 'outside of the data folder, which the user of Postgres cannot reach'
    : 'in the data folder';
  return `The database is a Postgres of our own, ${place}. To have it elsewhere, set DATABASE_URL`;
}

interface Admin {
  readonly control: Control;
  /** What links lead to where no setting says it. */
  listensAt(url: string): void;
}

function adminOf(
  settings: Settings,
  kept: Kept,
  neighbours: Neighbours & Pick<Stores, 'rateLimiter' | 'nodeDirectory' | 'presenceStore'> & { readonly hub: Hub },
): Admin {
  const { bulletin, clock, observer, hub, rateLimiter, nodeDirectory, presenceStore } = neighbours;
  const oidc = 'STARLING_OIDC_ISSUER' in settings ? oidcOf(settings) : undefined;
  const address = { url: '' };
  const given = 'STARLING_PUBLIC_URL' in settings ? settings.STARLING_PUBLIC_URL : undefined;
  const publicUrl = () => publicUrlOf(given, address.url, settings.STARLING_PATH_PREFIX);
  const made = control({
    ...kept,
    bulletin,
    clock,
    observer,
    rateLimiter,
    nodes: nodeDirectory,
    presenceStore,
    watch: new DebugWatch({ hub, bulletin, clock, observer }),
    mayTargetPrivate: settings.STARLING_ALLOW_PRIVATE_TARGETS,
    pathPrefix: settings.STARLING_PATH_PREFIX,
    version,
    ...(oidc === undefined ? {} : { oidc: { ...oidc, publicUrl } }),
  });
  return {
    control: made,
    listensAt: (url) => {
      address.url = url;
    },
  };
}

async function startAdmin(admin: Control, settings: Settings): Promise<() => Promise<void>> {
  const owner = 'STARLING_ADMIN_EMAIL' in settings ? ownerOf(settings) : undefined;
  if (owner !== undefined) {
    const made = await admin.people.ensureFirstOwner(owner).catch(throwDatabaseProblem);
    if (!made.ok) throw new StartError(`STARLING_ADMIN_EMAIL, STARLING_ADMIN_PASSWORD: ${made.refusal.message}`);
  }
  return admin.start();
}

/**
 * Adds to `first` what is printed once. Called when everything serves, and by the process that prints: a start that
 * failed before that has shown nothing. On a terminal somebody sees it now; what is printed elsewhere is kept.
 */
async function settleSecrets(
  { database }: Kept,
  { settings, hasAdmin, clock }: { settings: Settings; hasAdmin: boolean; clock: Clock },
  first: First,
): Promise<void> {
  const isKept = process.stdout.isTTY !== true;
  const prints = 'STARLING_DATA_DIR' in settings && settings.STARLING_APP_ID === undefined && first.app !== undefined;
  if (prints && isKept) first.isSecretNew = await claimFirstSecret(database);
  const token = hasAdmin ? await createSetupToken({ database, clock }, { keepsFormer: isKept }) : undefined;
  if (token !== undefined) first.setupToken = token;
}

function keyringIn(dataDir: string): Keyring {
  try {
    return keptKeyring(dataDir);
  } catch (err) {
    return throwDatabaseProblem(err);
  }
}

function overRedis(url: string, { nodeId, lifecycle, clock, observer, metrics }: World): Stores {
  const address = parseRedisUrl(url);
  if (!address.ok) throw new StartError(`REDIS_URL: ${address.message}`);
  const throwProblem = (err: unknown): never => throwRedisProblem(err, address.value);
  const link = openedLink(() => new RedisLink(address.value, { clock, observer }), throwProblem);
  const presenceStore = new RedisPresenceStore({ link, clock, observer, nodeId });
  metrics.watchNumber('starling_redis_up', 'Whether commands reach Redis, 1 or 0', () => Number(link.isUp));
  metrics.watchNumber(
    'starling_redis_gaps_total',
    'How often subscriptions were cut and came back, each time with messages that may have been missed',
    () => link.gapCount,
  );
  lifecycle.add('redis', () => link.start().catch(throwProblem));
  // Gives back the seats that are left and ends the lease: longer than a Redis that is gone takes to say so.
  lifecycle.add('presence', () => presenceStore.start().catch(throwProblem), 10_000);
  return {
    broker: new RedisBroker(link, observer),
    presenceStore,
    rateLimiter: new RedisRateLimiter(link),
    nodeDirectory: new RedisNodeDirectory(link, observer),
    ping: () => link.ping(),
  };
}

function openedLink(open: () => RedisLink, throwProblem: (err: unknown) => never): RedisLink {
  try {
    return open();
  } catch (err) {
    return throwProblem(err);
  }
}
