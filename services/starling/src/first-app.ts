/** The app that is there from the first start on: as the environment says, or made once and kept in a file. */
import { randomBytes, randomInt } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type App, defaultAppLimits, defaultTokenSettings } from '@starling/ports';
import { StartError } from '@starling/runtime';
import { z } from 'zod';
import type { PartSettings, StartSettings } from './config.ts';

export interface FirstAppCredentials {
  readonly id: string;
  readonly key: string;
  readonly secret: string;
}

const kept = z.object({
  id: z.string().regex(/^[1-9]\d{0,14}$/),
  key: z.string().regex(/^[0-9a-f]{20}$/),
  secret: z.string().regex(/^[0-9a-f]{20}$/),
});

/** The app as given, else as kept in the data folder, else made and kept there. */
export function firstApp(settings: StartSettings): App {
  const { STARLING_APP_ID: id, STARLING_APP_KEY: key, STARLING_APP_SECRET: secret } = settings;
  const isGiven = id !== undefined && key !== undefined && secret !== undefined;
  return appOf(isGiven ? { id, key, secret } : keptCredentials(settings.STARLING_DATA_DIR), settings);
}

/** The app as given. */
export function givenApp(settings: PartSettings): App {
  const { STARLING_APP_ID: id, STARLING_APP_KEY: key, STARLING_APP_SECRET: secret } = settings;
  return appOf({ id, key, secret }, settings);
}

function appOf({ id, key, secret }: FirstAppCredentials, settings: StartSettings | PartSettings): App {
  return {
    id,
    version: 1,
    name: 'First app',
    isEnabled: true,
    keys: [{ key, secret, isEnabled: true }],
    hasClientEvents: settings.STARLING_APP_CLIENT_EVENTS,
    hasSubscriptionCounts: settings.STARLING_APP_SUBSCRIPTION_COUNTS,
    hasWatchlists: settings.STARLING_APP_WATCHLISTS,
    admitsAuthorizedOnly: settings.STARLING_APP_AUTHORIZED_ONLY,
    requiresTls: false,
    allowedOrigins: settings.STARLING_APP_ALLOWED_ORIGINS,
    tokens: defaultTokenSettings,
    revocations: [],
    limits: defaultAppLimits,
  };
}

function keptCredentials(dataDir: string): FirstAppCredentials {
  const path = resolve(dataDir, 'first-app.json');
  const text = readIfThere(path);
  if (text === undefined) {
    const made = {
      // Six digits at least, so that nobody takes it for a count.
      id: String(randomInt(100_000, 10_000_000)),
      key: randomBytes(10).toString('hex'),
      secret: randomBytes(10).toString('hex'),
    };
    keep(dataDir, 'first-app.json', `${JSON.stringify(made, null, 2)}\n`);
    return made;
  }
  const read = kept.safeParse(parseJson(text));
  if (read.success) return read.data;
  // Never replaced: every backend and every page of the app carries these credentials.
  throw new StartError(
    `${path} is not the file of app credentials that Starling wrote: put it back as it was, ` +
      'or remove it to have a new app made, with another id, key and secret',
  );
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (err) {
    if (err instanceof Error && 'code' in err && err.code === 'ENOENT') return undefined;
    throw new StartError(`${path} cannot be read: ${err instanceof Error ? err.message : err}`);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Undefined is no JSON value, so the schema refuses it as it refuses any other wrong content.
    return undefined;
  }
}

/** Whole or not at all, whenever the process or the machine dies; readable by its owner only. */
function keep(folder: string, name: string, text: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, name);
  const half = `${path}.tmp`;
  const file = openSync(half, 'w', 0o600);
  try {
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(half, path);
  const entry = openSync(folder, 'r');
  try {
    fsyncSync(entry);
  } finally {
    closeSync(entry);
  }
}
