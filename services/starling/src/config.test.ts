import { availableParallelism } from 'node:os';
import { Keyring } from '@starling/database';
import { readConfig } from '@starling/runtime';
import { describe, expect, test } from 'vitest';
import { healthSettings, partSettings, startSettings } from './config.ts';

const app = { STARLING_APP_ID: '1234', STARLING_APP_KEY: 'my-key', STARLING_APP_SECRET: 'my-secret' };

function problemsOf(env: Record<string, string>): string {
  const read = readConfig(startSettings, env);
  return read.ok ? '' : read.text;
}

describe('startSettings', () => {
  test('needs nothing', () => {
    const read = readConfig(startSettings, {});
    expect(read).toMatchObject({
      ok: true,
      value: { STARLING_DATA_DIR: '.starling', STARLING_APP_CLIENT_EVENTS: true, STARLING_HOST: '127.0.0.1' },
    });
  });

  test('takes an app as it is given', () => {
    expect(readConfig(startSettings, { ...app, STARLING_APP_CLIENT_EVENTS: 'false' })).toMatchObject({
      ok: true,
      value: { ...app, STARLING_APP_CLIENT_EVENTS: false },
    });
  });

  test.each(Object.keys(app))('[OP4] refuses an app without its %s, rather than make up the rest', (missing) => {
    const { [missing as keyof typeof app]: _, ...rest } = app;
    expect(problemsOf(rest)).toContain('must be given together, or none of them');
  });

  test('[OP4] refuses a secret that is the key, which every browser is shown', () => {
    expect(problemsOf({ ...app, STARLING_APP_SECRET: app.STARLING_APP_KEY })).toContain(
      'must differ from STARLING_APP_KEY',
    );
  });

  test('reads origins, and names the one that is none', () => {
    const patterns = [
      'https://example.com',
      '*.example.com',
      'https://*.example.com:8443',
      'http://[::1]:3000',
      'localhost',
    ];
    const given = (text: string) => ({ STARLING_APP_ALLOWED_ORIGINS: text });
    expect(readConfig(startSettings, given(patterns.join(' , ')))).toMatchObject({
      ok: true,
      value: { STARLING_APP_ALLOWED_ORIGINS: patterns },
    });
    for (const wrong of ['https://example.com/path', 'a b', '*', 'https://', 'ftp://example.com', 'example.com,,']) {
      const part = wrong.split(',').at(-1);
      expect(problemsOf(given(`localhost,${wrong}`)), wrong).toContain(`holds ${JSON.stringify(part)}, expected`);
    }
  });

  test('[OP4] refuses workers that have no Redis to meet in, and says what to do', () => {
    expect(problemsOf({ STARLING_WORKERS: '2' })).toContain('set REDIS_URL, such as redis://127.0.0.1:6379');
    for (const env of [{ STARLING_WORKERS: '1' }, { STARLING_WORKERS: '2', REDIS_URL: 'redis://127.0.0.1:6379' }]) {
      expect(problemsOf(env)).toBe('');
    }
    for (const wrong of ['0', '-1', '1.5', 'all', '257']) {
      expect(problemsOf({ STARLING_WORKERS: wrong })).toContain('must be auto or a number of processes, 1 to 256');
    }
  });

  test('takes as many workers as there are cores when told so', () => {
    expect(readConfig(startSettings, { STARLING_WORKERS: 'auto', REDIS_URL: 'redis://127.0.0.1:6379' })).toMatchObject({
      ok: true,
      value: { STARLING_WORKERS: availableParallelism() },
    });
  });

  test('[OP4] says all of it at once', () => {
    const text = problemsOf({
      STARLING_APP_ID: 'my-app',
      STARLING_APP_KEY: 'a key',
      STARLING_PORT: 'x',
      STARLING_TLS_KEY: 'k',
    });
    expect(
      text
        .split('\n')
        .filter((line) => /^ {2}STARLING/.test(line))
        .map((line) => line.trim().split(':')[0]),
    ).toEqual(['STARLING_PORT', 'STARLING_APP_ID', 'STARLING_APP_KEY', 'STARLING_TLS_CERT', 'STARLING_APP_ID']);
  });

  test('every setting says what it is for', () => {
    for (const [name, field] of Object.entries({ ...startSettings.shape, ...partSettings.shape })) {
      expect(field.description, name).toMatch(/\.$/);
    }
  });
});

const database = { DATABASE_URL: 'postgres://127.0.0.1/starling', STARLING_SECRET_KEY: Keyring.make() };

describe.each([
  ['startSettings', startSettings],
  ['partSettings', partSettings],
] as const)('the database in %s', (_name, schema) => {
  const problemsWith = (env: Record<string, string>) => {
    const read = readConfig(schema, { ...app, REDIS_URL: 'redis://127.0.0.1:6379', ...env });
    return read.ok ? '' : read.text;
  };

  test('[OP4] refuses a database without the key that seals its secrets, and says how to make one', () => {
    expect(problemsWith(database)).toBe('');
    const { DATABASE_URL } = database;
    expect(problemsWith({ DATABASE_URL })).toContain('STARLING_SECRET_KEY: must be given with DATABASE_URL');
    expect(problemsWith({ DATABASE_URL })).toContain('openssl rand -base64 32');
  });

  test('[OP4] refuses a key that is none, without showing it, and an address that is none', () => {
    const text = problemsWith({ ...database, STARLING_SECRET_KEY: 'hunter2' });
    expect(text).toContain('STARLING_SECRET_KEY: must be 32 bytes in base64');
    expect(text).not.toContain('hunter2');
    expect(problemsWith({ ...database, DATABASE_URL: 'mysql://h/d' })).toContain(
      'DATABASE_URL: must look like postgres://',
    );
    const several = `${Keyring.make()}, ${Keyring.make()}`;
    expect(problemsWith({ ...database, STARLING_SECRET_KEY: several })).toBe('');
  });
});

describe('partSettings', () => {
  const given = { ...app, REDIS_URL: 'redis://127.0.0.1:6379' };

  test('takes an app and a Redis', () => {
    expect(readConfig(partSettings, given)).toMatchObject({ ok: true, value: given });
  });

  test('[OP4] refuses to start alone, or with an app the other programs do not know, and says what to do', () => {
    const read = readConfig(partSettings, {});
    const text = read.ok ? '' : read.text;
    expect(text).toContain('  REDIS_URL: must be given, such as redis://127.0.0.1:6379');
    expect(text).toContain('For one process that needs no Redis run: starling start');
    for (const name of Object.keys(app)) {
      expect(text).toContain(`  ${name}: must be given, the same to every program, or DATABASE_URL`);
    }
  });

  test('takes a database in place of an app', () => {
    const { REDIS_URL } = given;
    expect(readConfig(partSettings, { REDIS_URL, ...database })).toMatchObject({ ok: true });
  });

  test('[OP4] refuses what start refuses of an app', () => {
    const read = readConfig(partSettings, { ...given, STARLING_APP_ID: 'x', STARLING_APP_SECRET: 'my-key' });
    const text = read.ok ? '' : read.text;
    expect(text).toContain('STARLING_APP_ID: must be 1 to 15 digits');
    expect(text).toContain('STARLING_APP_SECRET: must differ from STARLING_APP_KEY');
  });

  test('finds a program by where it listens alone', () => {
    expect(readConfig(healthSettings, { STARLING_PORT: '6002' })).toMatchObject({ ok: true });
  });
});
