/** The settings of `starling start`. */
import { flag, type SettingsRule, serverSettings, settings, tlsIsWhole } from '@starling/runtime';
import { z } from 'zod';

const credential = (what: string) =>
  z.string().regex(/^[\w.~-]{1,128}$/, `must be 1 to 128 of A-Z a-z 0-9 _ - . ~, ${what}`);

const originPattern = /^(https?:\/\/)?(\[[\da-f:.]+\]|(\*\.)?[\w-]+(\.[\w-]+)*)(:\d+)?$/i;

/** As `isOriginAllowed` in core reads them: a scheme and a port hold where they are given, `*.` is any subdomain. */
const origins = () =>
  z.string().transform((text, context): readonly string[] => {
    const patterns = text.split(',').map((part) => part.trim());
    for (const pattern of patterns.filter((each) => !originPattern.test(each))) {
      context.addIssue(`holds ${JSON.stringify(pattern)}, expected https://example.com, *.example.com or the like`);
    }
    return patterns;
  });

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

export const startSettings = settings(
  {
    ...serverSettings,
    STARLING_DATA_DIR: z.string().default('.starling').describe('The folder that holds what outlives a restart.'),
    STARLING_APP_ID: z
      .string()
      .regex(/^[1-9]\d{0,14}$/, 'must be 1 to 15 digits: Pusher libraries read it as a number')
      .optional()
      .describe("The first app's id. Made and kept in the data folder when not given."),
    STARLING_APP_KEY: credential('like 278d425bdf160c739803')
      .optional()
      .describe("The first app's key, which clients know."),
    STARLING_APP_SECRET: credential('like 7ad3773142a6692b25b8')
      .optional()
      .describe("The first app's secret, which only its backends know."),
    STARLING_APP_CLIENT_EVENTS: flag()
      .default(true)
      .describe('Whether clients of the first app may send client events.'),
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
  },
  [tlsIsWhole, appIsWhole, secretIsSecret],
);

export type StartSettings = z.output<typeof startSettings>;
