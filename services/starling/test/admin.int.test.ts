/** The admin API of a cluster of real programs: what is changed there is in force on every node. */

import { setTimeout } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { Keyring } from '@starling/database';
import { databaseOf } from '@starling/database/test-kit';
import { Starling } from '@starling/server';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type Credentials,
  connectPeer,
  openProgram,
  type Program,
  signedPath,
} from '../../../infra/testing/program.ts';
import { RedisServer } from '../../../infra/testing/redis-server.ts';

/** What is promised of every change. */
const inForceMs = 2_000;
const owner = { email: 'owner@example.com', password: 'correct horse battery' };

describe('two edges and an API over one Redis and one Postgres', () => {
  const database = databaseOf();
  let program: Program;
  let redis: RedisServer;
  let urls: { edges: string[]; api: string; control: string };
  let cookie: string;

  // After the database was emptied.
  beforeEach(async () => {
    redis = await RedisServer.start();
    program = openProgram();
    if (!('url' in database.address)) throw new Error('A Postgres server has a URL');
    const env = {
      STARLING_PORT: '0',
      REDIS_URL: redis.url,
      DATABASE_URL: database.address.url,
      STARLING_SECRET_KEY: Keyring.make(),
      STARLING_ADMIN_EMAIL: owner.email,
      STARLING_ADMIN_PASSWORD: owner.password,
      STARLING_DRAIN_SECONDS: '1',
    };
    const [one = '', two = '', api = '', control = ''] = await Promise.all(
      ['edge', 'edge', 'api', 'control'].map(async (part) => {
        const run = program.run([part], { env });
        const [, url = ''] = await run.said(/"url":"(http:[^\s"]+)/);
        return url;
      }),
    );
    urls = { edges: [one, two], api, control };
    const signIn = await fetch(`${control}/api/v1/sign-in`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(owner),
    });
    expect(signIn.status).toBe(200);
    cookie = signIn.headers
      .getSetCookie()
      .map((each) => each.split(';')[0])
      .join('; ');
  });
  afterEach(async () => {
    await program?.close();
    await redis?.remove();
  });

  // biome-ignore lint/suspicious/noExplicitAny: what a test looks at is what it expects there
  const admin = async (method: string, path: string, body?: unknown): Promise<any> => {
    const answer = await fetch(`${urls.control}/api/v1${path}`, {
      method,
      headers: { cookie, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    expect(answer.ok, `${method} ${path}: ${text}`).toBe(true);
    return text === '' ? undefined : JSON.parse(text);
  };
  const publish = async (app: Credentials): Promise<number> => {
    const body = JSON.stringify({ name: 'news', channel: 'room', data: '{}' });
    const answer = await fetch(urls.api + signedPath(app, 'POST', `/apps/${app.id}/events`, body), {
      method: 'POST',
      body,
    });
    await answer.arrayBuffer();
    return answer.status;
  };
  const within = <T>(what: string, done: Promise<T>): Promise<T> =>
    Promise.race([
      done,
      setTimeout(inForceMs, undefined, { ref: false }).then(() => {
        throw new Error(`Not within ${inForceMs} ms: ${what}`);
      }),
    ]);
  /** For what nobody tells: asked again and again until it is so, else at the limit what it was instead is thrown. */
  const until = async <T>(expected: T, ask: () => Promise<T>): Promise<void> => {
    const end = performance.now() + inForceMs;
    for (;;) {
      const found = await ask();
      if (isDeepStrictEqual(found, expected)) return;
      if (performance.now() > end) expect(found, `after ${inForceMs} ms`).toEqual(expected);
      await setTimeout(40);
    }
  };

  const makeApp = async (): Promise<Credentials> => {
    const [organisation] = (await admin('GET', '/organisations')).items;
    const app = await admin('POST', `/organisations/${organisation.id}/apps`, { name: 'Chat' });
    const { key, secret } = await admin('POST', `/apps/${app.id}/keys`, { label: 'first' });
    const made = { id: app.id, key, secret };
    await within(
      'the new key counts',
      until(200, () => publish(made)),
    );
    return made;
  };
  /** What the app's connections hold in Redis. */
  const heldKeys = (app: Credentials): Promise<string[]> =>
    redis.do(async (client) =>
      (await client.keys(`*{${app.id}.*`)).filter((name) => /:(?:memberships|users|occupied)(?::|$)/.test(name)),
    );
  const connectBoth = async (key: string) => Promise.all(urls.edges.map((url) => connectPeer(url, key)));

  test('[AD10] [AD12] a disabled key counts nowhere within 2 s, and of a deleted app nothing is left', async () => {
    const app = await makeApp();
    const second = { ...app, ...(await admin('POST', `/apps/${app.id}/keys`, { label: 'second' })) };
    await within(
      'the second key counts',
      until(200, () => publish(second)),
    );
    const peers = await connectBoth(app.key);
    const others = await connectBoth(second.key);

    await admin('PATCH', `/apps/${app.id}/keys/${app.key}`, { isEnabled: false });
    const [codes] = await within(
      'connections are closed and requests refused',
      Promise.all([Promise.all(peers.map(({ closed }) => closed)), until(401, () => publish(app))]),
    );
    for (const code of codes) expect([4001, 4003]).toContain(code);
    expect(await publish(second)).toBe(200);
    expect(others.map(({ socket }) => socket.readyState)).toEqual([1, 1]);

    // The edges, the API and the admin API itself.
    const { version } = await admin('GET', `/apps/${app.id}`);
    const everywhere = { version, nodes: { connected: 4, applied: 4 }, isComplete: true };
    await until(everywhere, () => admin('GET', `/apps/${app.id}/rollout`));

    // Then the app is deleted, and nothing of it is left.
    for (const { socket } of others) {
      socket.send(JSON.stringify({ event: 'pusher:subscribe', data: { channel: 'room' } }));
    }
    await Promise.all(others.map(({ received }) => received('pusher_internal:subscription_succeeded')));
    expect(await heldKeys(app)).not.toEqual([]);
    await admin('DELETE', `/apps/${app.id}`);
    const [last] = await within(
      'connections are closed and requests refused',
      Promise.all([Promise.all(others.map(({ closed }) => closed)), until(401, () => publish(second))]),
    );
    expect(last).toEqual([4001, 4001]);
    expect(await database.sql`select 1 from app_keys where app_id = ${app.id}`).toHaveLength(0);
    await until([], () => heldKeys(app));
  });

  test('[AD15] [AD17] all nodes are listed, and what happens on any of them is watched from one place', async () => {
    const app = await makeApp();
    const partsOfAll = async () => {
      const { items } = await admin('GET', '/nodes');
      return items.flatMap(({ parts }: { parts: string[] }) => parts).sort();
    };
    await until(['api', 'control', 'edge', 'edge'], partsOfAll);

    const answer = await fetch(`${urls.control}/api/v1/apps/${app.id}/debug`, { headers: { cookie } });
    const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
    const [one, two] = await connectBoth(app.key);
    two?.socket.send(JSON.stringify({ event: 'pusher:subscribe', data: { channel: 'private-room' } }));
    one?.socket.send(JSON.stringify({ event: 'pusher:subscribe', data: { channel: 'room' } }));
    await one?.received('pusher_internal:subscription_succeeded');
    await publish(app);
    one?.socket.close();
    await one?.closed;
    const wanted = [
      /"connection opened"/,
      /"subscription refused"/,
      /"subscribed"/,
      /"what":"event"/,
      /"connection closed"/,
    ];
    let told = '';
    await within(
      'all that happened is told',
      (async () => {
        while (!wanted.every((each) => each.test(told))) {
          const { value, done } = (await reader?.read()) ?? { done: true, value: undefined };
          if (done) throw new Error(`The stream ended; it had told ${told}`);
          told += value;
        }
      })(),
    );
    await reader?.cancel();
    expect(told).toContain('"code":"auth_missing"');
    expect(new Set([...told.matchAll(/"nodeId":"([^"]+)"/g)].map(([, nodeId]) => nodeId)).size).toBe(3);
    two?.socket.close();
  });

  test('[AD25] a limit of the installation is in force on every node within 2 s, and the app’s own again without it', async () => {
    const app = await makeApp();
    await admin('PATCH', '/installation/limits', { eventDataBytes: 1 });
    await within(
      'two bytes are too many',
      until(413, () => publish(app)),
    );
    await admin('PATCH', '/installation/limits', { eventDataBytes: null });
    await within(
      'they are not any more',
      until(200, () => publish(app)),
    );
  });

  test("[TK12] a user's tokens, one token, a key and all tokens are refused on every node within 2 s", async () => {
    const app = await makeApp();
    const other = { ...app, ...(await admin('POST', `/apps/${app.id}/keys`, { label: 'other' })) };
    await within(
      'the other key counts',
      until(200, () => publish(other)),
    );
    const backend = (of: Credentials) =>
      new Starling({ appId: of.id, key: of.key, secret: of.secret, url: urls.api, retries: 0 });
    const mint = (of: Credentials, userId: string, tokenId: string) =>
      backend(of).createToken({ userId, tokenId, capabilities: { '*': ['subscribe'] } });
    /** On both edges, by the app's key: the token alone decides. */
    const connect = async (token: string) => {
      const peers = await Promise.all(urls.edges.map((url) => connectPeer(url, app.key, token)));
      await Promise.all(peers.map(({ received }) => received('starling:auth_success')));
      return peers;
    };
    const tokens = {
      ada: await mint(app, 'ada', 't-ada'),
      bob: await mint(app, 'bob', 't-bob'),
      cay: await mint(other, 'cay', 't-cay'),
      dan: await mint(app, 'dan', 't-dan'),
    };
    const [ada, bob, cay, dan] = await Promise.all(Object.values(tokens).map(connect));
    const codesOf = (what: string, peers: typeof ada = []) =>
      within(what, Promise.all(peers.map(({ closed }) => closed)));

    await backend(app).revokeTokens({ userId: 'ada' });
    expect(await codesOf('of a user', ada)).toEqual([4011, 4011]);
    await backend(app).revokeTokens({ tokenId: 't-bob' });
    expect(await codesOf('one token', bob)).toEqual([4011, 4011]);
    await admin('PATCH', `/apps/${app.id}/keys/${other.key}`, { isEnabled: false });
    expect(await codesOf('of a key', cay)).toEqual([4011, 4011]);
    for (const token of [tokens.ada, tokens.bob]) {
      for (const url of urls.edges) await expect(connectPeer(url, app.key, token)).rejects.toThrow('4011');
    }
    expect(dan?.map(({ socket }) => socket.readyState)).toEqual([1, 1]);
    await admin('PATCH', `/apps/${app.id}/token-settings`, { isEnabled: false });
    expect(await codesOf('all tokens', dan)).toEqual([4010, 4010]);
  });
});

describe('start with workers over one Redis and one Postgres', () => {
  const database = databaseOf();

  test('[AU9] [AU24] prints one link to the first account, which every worker answers', async () => {
    const redis = await RedisServer.start();
    const program = openProgram();
    try {
      if (!('url' in database.address)) throw new Error('A Postgres server has a URL');
      const env = {
        REDIS_URL: redis.url,
        DATABASE_URL: database.address.url,
        STARLING_SECRET_KEY: Keyring.make(),
        STARLING_DRAIN_SECONDS: '1',
      };
      const starling = await program.start({ args: ['--workers', '2'], env });
      const links = [...starling.stdout().matchAll(/\S+\/setup\?token=\S+/g)].map(([link]) => link);
      expect(links).toHaveLength(1);
      for (let each = 0; each < 4; each++) expect((await fetch(links[0] ?? '')).status).toBe(200);
    } finally {
      await program.close();
      await redis.remove();
    }
  });
});
