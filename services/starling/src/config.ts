/** The settings of each command. */

import { peopleRules, peopleSettings } from '@starling/control';
import { Keyring } from '@starling/database';
import { isOriginPattern } from '@starling/protocol';
import {
  flag,
  milliseconds,
  type SettingsRule,
  serverSettings,
  settings,
  tlsIsWhole,
  workers,
} from '@starling/runtime';
import { z } from 'zod';

const credential = (what: string) =>
  z.string().regex(/^[\w.~-]{1,128}$/, `must be 1 to 128 of A-Z a-z 0-9 _ - . ~, ${what}`);

/** As `isOriginAllowed` of the protocol reads them. */
const origins = () =>
  z.string().transform((text, context): readonly string[] => {
    const patterns = text.split(',').map((part) => part.trim());
    for (const pattern of patterns.filter((each) => !isOriginPattern(each))) {
      context.addIssue(
        `holds ${JSON.stringify(pattern)}, expected https://example.com, *.example.com, capacitor://localhost or the like`,
      );
    }
    return patterns;
  });

/** What the app may do, said alike to every program that knows it. */
const appSettings = {
  STARLING_APP_CLIENT_EVENTS: flag().default(true).describe('Whether clients of the first app may send client events.'),
  STARLING_APP_SUBSCRIPTION_COUNTS: flag()
    .default(false)
    .describe('Whether subscribers of the first app are told how many a channel has.'),
  STARLING_APP_WATCHLISTS: flag()
    .default(false)
    .describe('Whether users of the first app are told when those on their watchlists come and go.'),
  STARLING_APP_AUTHORIZED_ONLY: flag()
    .default(false)
    .describe('Whether the first app closes connections that neither sign in nor join a private channel.'),
  STARLING_APP_ALLOWED_ORIGINS: origins()
    .default([])
    .describe('Whose pages may connect to the first app: origins like https://*.example.com, with commas between.'),
} as const;

/** Of the programs that share a database. */
const databaseSettings = {
  DATABASE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\/./, 'must look like postgres://user:password@host:5432/database')
    .optional()
    .describe('The Postgres that holds apps and users. Without it, start keeps its own in the data folder.'),
  STARLING_SECRET_KEY: z
    .string()
    .transform((text, context): Keyring => {
      const read = Keyring.parse(text);
      if (read.ok) return read.value;
      context.addIssue(read.refusal.message);
      return z.NEVER;
    })
    .optional()
    .describe('Seals the secrets in the database: 32 bytes in base64. A new one goes in front, with a comma between.'),
} as const;

/** Of those that may keep a database of their own. */
const dataDirSettings = {
  STARLING_DATA_DIR: z.string().default('.starling').describe('The folder that holds what outlives a restart.'),
  STARLING_POSTGRES_BIN: z
    .string()
    .min(1)
    .optional()
    .describe(
      'The bin folder of a Postgres to run in the data folder, 15 or later, instead of the one that comes along.',
    ),
} as const;

/** Of the programs that hold connections. */
const edgeSettings = {
  STARLING_ALLOW_PRIVATE_TARGETS: flag()
    .default(false)
    .describe('Whether URLs that apps name, such as those of key sets, may lead into private networks.'),
  STARLING_FANOUT: z
    .enum(['auto', 'js'])
    .default('auto')
    .describe('How events reach many sockets: auto uses the native module where it was built, js never does.'),
  STARLING_ACTIVITY_TIMEOUT_SECONDS: z.coerce
    .number()
    .int('must be a whole number')
    .min(5, 'must be 5 or more')
    .max(3_600, 'must be 3600 or less')
    .default(30)
    .describe(
      'After how long a silence clients ping, and 10 seconds later the server does; below what proxies in between allow.',
    ),
  STARLING_MAX_CONNECTIONS_PER_ADDRESS: z.coerce
    .number()
    .int('must be a whole number')
    .min(1, 'must be 1 or more')
    .default(20_000)
    .describe('How many connections one address (of IPv6 one /64) may have to this node, over all apps.'),
  STARLING_CONNECTION_MEMORY_MB: z.coerce
    .number()
    .int('must be a whole number')
    .min(16, 'must be 16 or more')
    .optional()
    .describe('Beyond how much memory, in MB, newcomers are refused. Default: half of what the process may have.'),
  STARLING_COMPRESSION: flag()
    .default(true)
    .describe('Whether events of 512 bytes and more are compressed for clients that offer permessage-deflate.'),
} as const;

/** Of the programs that serve many apps. */
const fairnessSettings = {
  STARLING_FAIRNESS_LAG_MS: milliseconds(0, 60_000)
    .default(200)
    .describe(
      'How late the process may run before apps that take more than their share are refused some; 0 for never.',
    ),
} as const;

/** Of the programs that several processes can share. */
const workerSettings = {
  STARLING_WORKERS: workers()
    .default(1)
    .describe(
      'How many processes share the port and the work, or auto for one on each core. More than 1 need REDIS_URL.',
    ),
} as const;

/** Each worker is a node: alone with its connections unless there is something in which all of them meet. */
const workersMeet: SettingsRule = {
  name: 'STARLING_WORKERS',
  problem:
    'more than one worker need a Redis to meet in, or each would be alone with its connections: set REDIS_URL, such as ' +
    'redis://127.0.0.1:6379, or leave STARLING_WORKERS out to serve with one process',
  holds: ({ STARLING_WORKERS: count, REDIS_URL: url }) => typeof count !== 'number' || count < 2 || url !== undefined,
};

const [idPattern, idProblem] = [
  /^[1-9]\d{0,14}$/,
  'must be 1 to 15 digits: Pusher libraries read it as a number',
] as const;
const [idPurpose, keyPurpose, secretPurpose, redisPurpose] = [
  "The first app's id. Made at the first start when not given; given, the app is made or changed to be as given.",
  "The first app's key, which clients know.",
  "The first app's secret, which only its backends know.",
  'The Redis in which the programs of a cluster meet: redis://, rediss://, redis+cluster:// or redis+sentinel://.',
] as const;
const [keyExample, secretExample] = ['like 278d425bdf160c739803', 'like 7ad3773142a6692b25b8'] as const;

/** A key that each program made for itself would seal what the others cannot open. */
const keyIsShared: SettingsRule = {
  name: 'STARLING_SECRET_KEY',
  problem:
    'must be given with DATABASE_URL, the same to all programs that share the database: it seals the secrets there. ' +
    'Make one with: openssl rand -base64 32',
  holds: (given) => given['DATABASE_URL'] === undefined || given['STARLING_SECRET_KEY'] !== undefined,
};

const credentialSettings = {
  STARLING_APP_ID: z.string().regex(idPattern, idProblem).optional().describe(idPurpose),
  STARLING_APP_KEY: credential(keyExample).optional().describe(keyPurpose),
  STARLING_APP_SECRET: credential(secretExample).optional().describe(secretPurpose),
} as const;

const credentials = ['STARLING_APP_ID', 'STARLING_APP_KEY', 'STARLING_APP_SECRET'];

/** Half a set would leave the rest to chance, and be another app after the next start. */
const appIsWhole: SettingsRule = {
  name: 'STARLING_APP_ID',
  problem: `${credentials.join(', ')} must be given together, or none of them`,
  holds: (given) => new Set(credentials.map((name) => given[name] === undefined)).size === 1,
};

const secretIsSecret: SettingsRule = {
  name: 'STARLING_APP_SECRET',
  problem: 'must differ from STARLING_APP_KEY, which every browser is shown',
  holds: (given) =>
    given['STARLING_APP_SECRET'] === undefined || given['STARLING_APP_SECRET'] !== given['STARLING_APP_KEY'],
};

/** Everything in one process: what is not given is made here or kept in memory. */
export const startSettings = settings(
  {
    ...serverSettings,
    REDIS_URL: z.string().optional().describe(redisPurpose),
    ...databaseSettings,
    ...dataDirSettings,
    ...credentialSettings,
    ...appSettings,
    ...edgeSettings,
    ...fairnessSettings,
    ...workerSettings,
    ...peopleSettings,
  },
  [tlsIsWhole, appIsWhole, secretIsSecret, workersMeet, keyIsShared, ...peopleRules],
);

/** Without a database the programs share no store of apps, so each is told the same app. */
const appIsGiven = credentials.map(
  (name): SettingsRule => ({
    name,
    problem: 'must be given, the same to every program, or DATABASE_URL, where they find all apps',
    holds: (given) =>
      given[name] !== undefined ||
      credentials.some((each) => given[each] !== undefined) ||
      given['DATABASE_URL'] !== undefined,
  }),
);

/** A program of a cluster: what it would have to make up, the others would not know. */
export const partSettings = settings(
  {
    ...serverSettings,
    REDIS_URL: z
      .string(
        'must be given, such as redis://127.0.0.1:6379: programs run apart meet in Redis only, and without it each ' +
          'would be alone. For one process that needs no Redis run: starling start',
      )
      .describe(redisPurpose),
    ...databaseSettings,
    ...credentialSettings,
    ...appSettings,
    ...edgeSettings,
    ...fairnessSettings,
    ...workerSettings,
  },
  [tlsIsWhole, appIsWhole, secretIsSecret, keyIsShared, ...appIsGiven],
);

/** The admin API manages what is in a database, and nothing else. */
export const controlSettings = settings({ ...partSettings.shape, ...peopleSettings }, [
  tlsIsWhole,
  appIsWhole,
  secretIsSecret,
  keyIsShared,
  {
    name: 'DATABASE_URL',
    problem: 'must be given, such as postgres://user:password@host/starling: the admin API manages what is kept there',
    holds: (given) => given['DATABASE_URL'] !== undefined,
  },
  ...peopleRules,
]);

/** Enough to find the database of a program with these settings. */
export const databaseCommandSettings = settings({ ...databaseSettings, ...dataDirSettings }, [keyIsShared]);

/** Enough to find a program that runs with these settings. */
export const healthSettings = settings(serverSettings, [tlsIsWhole]);

export type StartSettings = z.output<typeof startSettings>;
/** Of every command that serves: what it does not take is undefined. */
export type Settings = Omit<z.output<typeof partSettings>, 'REDIS_URL'> & Partial<StartSettings>;
export type DatabaseCommandSettings = z.output<typeof databaseCommandSettings>;
export type HealthSettings = z.output<typeof healthSettings>;
