import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePort, RedisServer } from '../../testing/redis-server.ts';
import { Cluster, eventually, type Node } from './cluster.ts';

const password = 'p@ss:w/r%d';
const prefix = 'shared:';
const database = 1;
const documentation = new URL('../../../docs/cluster.md', import.meta.url);

let folder: string;
let tlsPort: number;
let cluster: Cluster;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'starling-secured-'));
  makeAuthority('authority');
  makeAuthority('stranger');
  sign('server', 'authority');
  tlsPort = await freePort();
  const files = ['--tls-cert-file', path('server.crt'), '--tls-key-file', path('server.key')];
  const authority = ['--tls-ca-cert-file', path('authority.crt'), '--tls-auth-clients', 'no'];
  // The plain port is for this test's own commands.
  const redis = await RedisServer.start('--tls-port', String(tlsPort), ...files, ...authority);
  await redis.do((client) => client.call('ACL', ...documentedUser()));
  cluster = await Cluster.open({ redis, port: tlsPort, urlOf: (port) => urlOf(port) });
});
afterAll(async () => {
  const defects = cluster?.defects();
  await cluster?.close();
  rmSync(folder, { recursive: true, force: true });
  expect(defects).toEqual([]);
});

function path(name: string): string {
  return join(folder, name);
}

function makeAuthority(name: string): void {
  openssl('req', '-x509', ...newKey(name), '-subj', `/CN=${name}`);
}

/** For the address under which the programs know the server. */
function sign(name: string, authority: string): void {
  const by = ['-CA', path(`${authority}.crt`), '-CAkey', path(`${authority}.key`)];
  const addresses = ['-addext', 'subjectAltName=IP:127.0.0.1', '-addext', 'basicConstraints=critical,CA:FALSE'];
  openssl('req', '-x509', ...newKey(name), ...by, '-subj', `/CN=${name}`, ...addresses);
}

function newKey(name: string): string[] {
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  return [...kind, '-out', path(`${name}.crt`), '-keyout', path(`${name}.key`)];
}

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { stdio: 'pipe' });
}

function urlOf(port: number, { secret = password, authority = 'authority' } = {}): string {
  const ca = authority === '' ? '' : `&ca=${path(`${authority}.crt`)}`;
  return `rediss://starling:${encodeURIComponent(secret)}@127.0.0.1:${port}/${database}?prefix=${prefix}${ca}`;
}

/** The arguments of the ACL command that operators are told to give, with this test's password and prefix. */
function documentedUser(): string[] {
  const [, text = ''] = /^ {4}ACL (SETUSER starling [\s\S]*?)\n\n/m.exec(readFileSync(documentation, 'utf8')) ?? [];
  const words = text.replaceAll('\\\n', ' ').split(/\s+/);
  return words.map((word) => word.replace('>PASSWORD', `>${password}`).replace('starling:', prefix));
}

async function inDatabase<T>(run: (client: Redis) => Promise<T>): Promise<T> {
  return cluster.redis.do(async (client) => {
    await client.select(database);
    return run(client);
  });
}

/** By `INFO commandstats`, whoever called them. */
async function calledCommands(): Promise<Set<string>> {
  const info = await cluster.redis.do((client) => client.info('commandstats'));
  return new Set(Array.from(info.matchAll(/^cmdstat_([^:]+):/gm), ([, name = '']) => name));
}

describe('a Redis with TLS, a user and a prefix', () => {
  test('[OP3] serves as any other, by what the documentation grants and no more', async () => {
    const [edge, doomed, api] = (await cluster.startAll(['edge', 'edge', 'api'])) as [Node, Node, Node];
    const ada = await cluster.member(edge, 'presence-hall', 'ada');
    await ada.join('cache-last');
    await ada.signin('ada', ['bob']);
    const bob = await cluster.member(doomed, 'presence-hall', 'bob');
    await bob.signin('bob');
    await ada.until('bob is there', () => ada.usersOf('presence-hall').length === 2);
    expect(await cluster.publish(api, ['presence-hall', 'cache-last'], 'hello', 1)).toMatchObject({ status: 200 });
    await bob.hears('hello', 'presence-hall');
    const cay = await cluster.member(edge, 'cache-last');
    await cay.hears('hello', 'cache-last');
    await cay.join('left-soon');
    cay.close();
    expect(await cluster.channels(api, 'presence-')).toEqual(['presence-hall']);
    expect(await cluster.usersOf(api, 'presence-hall')).toEqual(['ada', 'bob']);

    const gaps = await cluster.metric(edge, 'starling_redis_gaps_total');
    edge.proxy.cut();
    await eventually('subscribed again', 5_000, async () => {
      const now = await cluster.metric(edge, 'starling_redis_gaps_total');
      return now > gaps || `${now} gaps`;
    });
    await cluster.kill(doomed);
    await ada.until('bob is gone', () => ada.usersOf('presence-hall').length === 1, 10_000);

    const clients = await cluster.redis.do((client) => client.client('LIST'));
    const ours = String(clients)
      .split('\n')
      .filter((line) => line.includes('name=starling-'));
    expect(ours.length).toBeGreaterThanOrEqual(4);
    for (const line of ours) expect(line).toMatch(new RegExp(`laddr=127\\.0\\.0\\.1:${tlsPort} .*user=starling `));
    const keys = await inDatabase((client) => client.keys('*'));
    expect(keys.length).toBeGreaterThan(0);
    expect(keys.filter((key) => !key.startsWith(prefix))).toEqual([]);

    // As if its clock had been set back: the next renewal looks at all leases.
    await inDatabase((client) => client.hset(`${prefix}{nodes}:cluster`, 'seen', Number.MAX_SAFE_INTEGER));
    const granted = documentedUser().flatMap((word) => /^\+(.*)$/.exec(word)?.[1] ?? []);
    // The report of the node that was killed is forgotten after 15 s.
    await eventually('all that is granted is used', 25_000, async () => {
      const called = await calledCommands();
      const unused = granted.filter((command) => !called.has(command));
      return unused.length === 0 || String(unused);
    });

    api.run.child.kill('SIGTERM');
    edge.run.child.kill('SIGTERM');
    expect([await api.run.ended, await edge.run.ended]).toEqual([0, 0]);
    expect(await cluster.redis.do((client) => client.call('ACL', 'LOG'))).toEqual([]);
    for (const { run } of [api, edge]) expect(run.stdout() + run.stderr()).not.toContain(password);
  });

  test('[OP3] [OP4] is not used when it or the user cannot prove itself, and nobody is told the password', async () => {
    const refusals = [
      [{ authority: 'stranger' }, /certificate/],
      [{ authority: '' }, /certificate/],
      [{ secret: 'not-the-password' }, /WRONGPASS/],
    ] as const;
    // Side by side: each tries for ten seconds.
    const starts = refusals.map(([changes]) => cluster.start('api', { REDIS_URL: urlOf(tlsPort, changes) }));
    for (const [index, outcome] of (await Promise.allSettled(starts)).entries()) {
      const said = outcome.status === 'rejected' ? String(outcome.reason) : 'It started';
      expect(said).toMatch(/ended \(1\)[\s\S]*the Redis of REDIS_URL cannot be used/);
      expect(said).toMatch(refusals[index]![1]);
      expect(said).not.toMatch(/not-the-password|p@ss|p%40ss/);
    }
  });
});
