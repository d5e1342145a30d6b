import { describe, expect, test } from 'vitest';
import { flag, readConfig, serverSettings, settings, tlsIsWhole } from './config.ts';

const schema = settings({ ...serverSettings, STARLING_FLAG: flag().default(false).describe('A flag.') }, [tlsIsWhole]);

function read(env: Record<string, string | undefined>) {
  const settled = readConfig(schema, env);
  if (!settled.ok) throw new Error(settled.text);
  return settled.value;
}

describe('readConfig', () => {
  test('gives the defaults where nothing is set, and takes an empty variable for one that is not set', () => {
    const value = read({ STARLING_HOST: '', STARLING_PORT: ' ' });
    expect(value).toMatchObject({ STARLING_HOST: '127.0.0.1', STARLING_PORT: 6001, STARLING_DRAIN_SECONDS: 15 });
  });

  test('[OP4] prints all problems together, each with what the variable is for', () => {
    const refused = readConfig(schema, {
      STARLING_PORT: '70000',
      STARLING_LOG_LEVEL: 'loud',
      STARLING_TRUST_PROXY: 'the one in front',
      STARLING_FLAG: 'perhaps',
      STARLING_TLS_KEY: '/key.pem',
    });
    if (refused.ok) throw new Error('accepted');
    expect(refused.text).toContain('STARLING_PORT: must be a port number, 0 to 65535\n    The port to listen on.');
    expect(refused.text).toContain('STARLING_LOG_LEVEL: must be debug, info, warn or error');
    expect(refused.text).toContain('STARLING_TRUST_PROXY: must be true, false, a number');
    expect(refused.text).toContain('STARLING_FLAG: must be true or false\n    A flag.');
    expect(refused.text).toContain('STARLING_TLS_CERT: STARLING_TLS_CERT and STARLING_TLS_KEY must be given together');
  });

  test('[OP4] refuses a TLS key without its certificate rather than serve in the clear', () => {
    expect(readConfig(schema, { STARLING_TLS_KEY: '/key.pem' }).ok).toBe(false);
    expect(readConfig(schema, { STARLING_TLS_CERT: '/cert.pem' }).ok).toBe(false);
    expect(readConfig(schema, { STARLING_TLS_CERT: '/cert.pem', STARLING_TLS_KEY: '/key.pem' }).ok).toBe(true);
  });

  test('honours PORT, but STARLING_PORT first', () => {
    expect(read({ PORT: '8080' }).STARLING_PORT).toBe(8080);
    expect(read({ PORT: '8080', STARLING_PORT: '7000' }).STARLING_PORT).toBe(7000);
  });

  test('passes over the STARLING_PORT that Kubernetes makes up beside a Service of that name', () => {
    expect(read({ STARLING_PORT: 'tcp://10.0.0.7:6001' }).STARLING_PORT).toBe(6001);
  });

  test.each([
    ['true', true],
    ['no', false],
    ['2', 2],
    ['1', 1],
    ['10.0.0.0/8, ::1', ['10.0.0.0/8', '::1']],
  ])('reads whom to trust from %j', (text, expected) => {
    expect(read({ STARLING_TRUST_PROXY: text }).STARLING_TRUST_PROXY).toEqual(expected);
  });

  test.each([
    ['/realtime/', '/realtime'],
    ['/a/b', '/a/b'],
    ['/', ''],
  ])('reads the path prefix %j as %j', (text, expected) => {
    expect(read({ STARLING_PATH_PREFIX: text }).STARLING_PATH_PREFIX).toBe(expected);
  });

  test('takes a flag in words, and "false" for false', () => {
    expect(read({ STARLING_FLAG: 'false' }).STARLING_FLAG).toBe(false);
    expect(read({ STARLING_FLAG: 'on' }).STARLING_FLAG).toBe(true);
  });
});
