import { describe, expect, it } from 'vitest';
import { parseRedisUrl, type RedisAddress } from './address.ts';

const usual: RedisAddress = {
  kind: 'single',
  hosts: [{ host: 'redis.internal', port: 6_379 }],
  master: '',
  isTls: false,
  username: undefined,
  password: undefined,
  db: 0,
  prefix: 'starling:',
  caPath: undefined,
};

describe('a Redis URL', () => {
  it.each<[string, Partial<RedisAddress>]>([
    ['redis://redis.internal', {}],
    ['redis://redis.internal/', {}],
    ['redis://redis.internal:6380/7', { hosts: [{ host: 'redis.internal', port: 6_380 }], db: 7 }],
    ['redis://[::1]:6380', { hosts: [{ host: '::1', port: 6_380 }] }],
    ['redis://:s%40cret@redis.internal', { password: 's@cret' }],
    ['redis://us%3Aer:pa:ss@redis.internal', { username: 'us:er', password: 'pa:ss' }],
    ['redis://user:p@ss@redis.internal', { username: 'user', password: 'p@ss' }],
    ['redis://redis.internal?prefix=a:', { prefix: 'a:' }],
    ['redis://redis.internal?prefix=', { prefix: '' }],
    ['rediss://redis.internal?ca=/etc/ca.pem', { isTls: true, caPath: '/etc/ca.pem' }],
    [
      'redis+cluster://a:7000,b:7001,c',
      {
        kind: 'cluster',
        hosts: [
          { host: 'a', port: 7_000 },
          { host: 'b', port: 7_001 },
          { host: 'c', port: 6_379 },
        ],
      },
    ],
    [
      'rediss+cluster://u:p@a/0?prefix=x',
      { kind: 'cluster', isTls: true, hosts: [{ host: 'a', port: 6_379 }], username: 'u', password: 'p', prefix: 'x' },
    ],
    [
      'redis+sentinel://a,b:26380/mymaster/2',
      {
        kind: 'sentinel',
        hosts: [
          { host: 'a', port: 26_379 },
          { host: 'b', port: 26_380 },
        ],
        master: 'mymaster',
        db: 2,
      },
    ],
  ])('%s is read', (url, expected) => {
    expect(parseRedisUrl(url)).toEqual({ ok: true, value: { ...usual, ...expected } });
  });

  it.each([
    ['', 'none that Starling knows'],
    ['localhost:6379', 'none that Starling knows'],
    ['http://h', 'none that Starling knows'],
    ['redis://', 'host:port'],
    ['redis://h:0', 'host:port'],
    ['redis://h:65536', 'host:port'],
    ['redis://h:port', 'host:port'],
    ['redis+cluster://a,,b', 'host:port'],
    ['redis://a,b', 'several hosts'],
    ['redis://h/x', 'number of a database'],
    ['redis://h/1/2', 'number of a database'],
    ['redis+cluster://h/1', 'database 0 only'],
    ['redis+sentinel://h', 'must name the master'],
    ['redis://h?db=1', 'unknown parameter "db"'],
    ['redis://h?ca=x', 'no TLS'],
    ['redis://h?prefix={a}', 'braces'],
    ['redis://user:%zz@h', 'percent-encoded'],
  ])('%j is refused with what is wrong and what is accepted', (url, fault) => {
    const parsed = parseRedisUrl(url);
    expect(parsed).toMatchObject({ ok: false, message: expect.stringContaining(fault) });
    expect(parsed).toMatchObject({ ok: false, message: expect.stringContaining('redis+sentinel://') });
  });

  it('shows no password when it is refused', () => {
    for (const url of ['redis://user:hunter2@', 'redis://:hunter2@h/x', 'hunter2://h', 'redis://:hunter2@a,b?x=1']) {
      expect(JSON.stringify(parseRedisUrl(url))).not.toContain('hunter2');
    }
  });
});
