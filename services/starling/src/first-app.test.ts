import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readConfig, StartError } from '@starling/runtime';
import { afterAll, describe, expect, test } from 'vitest';
import { startSettings } from './config.ts';
import { firstApp } from './first-app.ts';

const root = mkdtempSync(join(tmpdir(), 'starling-first-app-'));
afterAll(() => rmSync(root, { recursive: true }));

function makeFolder(): string {
  // Not there yet, as at a first start.
  return join(mkdtempSync(join(root, 'data-')), '.starling');
}

function appFrom(env: Record<string, string>) {
  const read = readConfig(startSettings, env);
  if (!read.ok) throw new Error(read.text);
  return firstApp(read.value);
}

describe('firstApp', () => {
  test('[OP5] makes an app with a numeric id and 20 hex characters of key and secret, and keeps it', () => {
    const folder = makeFolder();
    const app = appFrom({ STARLING_DATA_DIR: folder });
    expect(app.id).toMatch(/^[1-9]\d{5,14}$/);
    expect(app.keys).toEqual([
      {
        key: expect.stringMatching(/^[0-9a-f]{20}$/),
        secret: expect.stringMatching(/^[0-9a-f]{20}$/),
        isEnabled: true,
      },
    ]);
    expect(app.hasClientEvents).toBe(true);
    expect(appFrom({ STARLING_DATA_DIR: folder })).toEqual(app);
    expect(appFrom({ STARLING_DATA_DIR: makeFolder() }).keys).not.toEqual(app.keys);
  });

  test('keeps it where only its owner can read it, and leaves nothing half-written', () => {
    const folder = makeFolder();
    appFrom({ STARLING_DATA_DIR: folder });
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder, 'first-app.json')).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toEqual(['first-app.json']);
  });

  test('[OP5] takes the app exactly as the environment says, and keeps nothing of it', () => {
    const folder = makeFolder();
    const env = {
      STARLING_DATA_DIR: folder,
      STARLING_APP_ID: '42',
      STARLING_APP_KEY: 'k',
      STARLING_APP_SECRET: 's',
      STARLING_APP_CLIENT_EVENTS: 'no',
    };
    expect(appFrom(env)).toMatchObject({
      id: '42',
      keys: [{ key: 'k', secret: 's', isEnabled: true }],
      hasClientEvents: false,
    });
    expect(() => readdirSync(folder)).toThrow('ENOENT');
  });

  test('has the settings that the environment says, and none of them otherwise', () => {
    const plain = {
      hasClientEvents: true,
      hasSubscriptionCounts: false,
      hasWatchlists: false,
      admitsAuthorizedOnly: false,
      allowedOrigins: [],
    };
    expect(appFrom({ STARLING_DATA_DIR: makeFolder() })).toMatchObject(plain);
    const settings = [
      ['STARLING_APP_CLIENT_EVENTS', 'no', { hasClientEvents: false }],
      ['STARLING_APP_SUBSCRIPTION_COUNTS', 'yes', { hasSubscriptionCounts: true }],
      ['STARLING_APP_WATCHLISTS', 'yes', { hasWatchlists: true }],
      ['STARLING_APP_AUTHORIZED_ONLY', 'yes', { admitsAuthorizedOnly: true }],
      ['STARLING_APP_ALLOWED_ORIGINS', 'a.example,b.example', { allowedOrigins: ['a.example', 'b.example'] }],
    ] as const;
    for (const [name, value, changed] of settings) {
      expect(appFrom({ STARLING_DATA_DIR: makeFolder(), [name]: value })).toMatchObject({ ...plain, ...changed });
    }
  });

  test('[OP5] takes up a first start that was killed while it wrote', () => {
    const folder = makeFolder();
    const made = appFrom({ STARLING_DATA_DIR: folder });
    rmSync(join(folder, 'first-app.json'));
    writeFileSync(join(folder, 'first-app.json.tmp'), '{"id": "12');
    const app = appFrom({ STARLING_DATA_DIR: folder });
    expect(app.keys).not.toEqual(made.keys);
    expect(appFrom({ STARLING_DATA_DIR: folder })).toEqual(app);
    expect(readdirSync(folder)).toEqual(['first-app.json']);
  });

  test.each(['', '{', '[]', '{"id":"1"}', '{"id":"x","key":"k","secret":"s"}'])(
    'refuses a file that holds %j, and never replaces it',
    (text) => {
      const folder = makeFolder();
      appFrom({ STARLING_DATA_DIR: folder });
      const path = join(folder, 'first-app.json');
      writeFileSync(path, text);
      const start = () => appFrom({ STARLING_DATA_DIR: folder });
      expect(start).toThrow(StartError);
      expect(start).toThrow(path);
      expect(readFileSync(path, 'utf8')).toBe(text);
    },
  );

  test('refuses a file that cannot be read, and a folder that cannot be made', () => {
    const folder = makeFolder();
    appFrom({ STARLING_DATA_DIR: folder });
    const path = join(folder, 'first-app.json');
    expect(() => appFrom({ STARLING_DATA_DIR: path })).toThrow(StartError);
  });
});
