/** Two control programs over one database and one broker, with people who sign in: what one is told, the other heeds. */
import {
  FakeClock,
  MemoryBroker,
  MemoryNodeDirectory,
  MemoryPresenceStore,
  MemoryRateLimiter,
} from '@starling/adapters/memory';
import { BrokerControlBus, DebugTap, DebugWatch, Hub } from '@starling/core';
import { Keyring } from '@starling/database';
import { databaseOf } from '@starling/database/test-kit';
import { type FastifyInstance, fastify } from 'fastify';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { type Control, control } from '../src/control.ts';

const database = databaseOf();
const owner = { name: 'Ada', email: 'ada@example.com', password: 'a long sentence' };
let clock: FakeClock;
let problems: unknown[];
let stops: (() => Promise<unknown>)[];
let first: Program;
let second: Program;

interface Program {
  readonly admin: Control;
  readonly server: FastifyInstance;
  readonly url: string;
}

/** What the programs share: of the nodes of a cluster this is Redis and Postgres. */
async function openShared(keyring: Keyring) {
  const quiet = {
    notes: false,
    note: () => {},
    problem: (...all: unknown[]) => void problems.push(all),
    defect: (...all: unknown[]) => void problems.push(all),
  };
  const observer = new DebugTap(quiet, { clock, nodeId: 'a' });
  const broker = new MemoryBroker(clock);
  const hub = new Hub({ broker, clock, observer, nodeId: 'a' });
  hub.start();
  const controlBus = new BrokerControlBus({ broker, hub, observer });
  await controlBus.start();
  return {
    database,
    keyring,
    controlBus,
    clock,
    observer,
    rateLimiter: new MemoryRateLimiter(clock),
    rates: { perAddress: 10_000, perPrincipal: 10_000 },
    nodes: new MemoryNodeDirectory(clock),
    presenceStore: new MemoryPresenceStore(broker),
    watch: new DebugWatch({ hub, controlBus, clock, observer }),
    mayTargetPrivate: false,
    version: '1.2.3',
  };
}

async function startProgram(shared: Awaited<ReturnType<typeof openShared>>): Promise<Program> {
  const admin = control(shared);
  const server = fastify({ routerOptions: { maxParamLength: 2_000 }, forceCloseConnections: true });
  await server.register(admin.routes);
  const url = await server.listen({ host: '127.0.0.1', port: 0 });
  stops.push(() => server.close());
  return { admin, server, url };
}

beforeEach(async () => {
  clock = new FakeClock(Date.now());
  problems = [];
  stops = [];
  const keyring = Keyring.parse(Keyring.make());
  if (!keyring.ok) throw new Error(keyring.refusal.message);
  const shared = await openShared(keyring.value);
  first = await startProgram(shared);
  second = await startProgram(shared);
});
afterEach(async () => {
  for (const stop of stops) await stop();
  expect(problems).toEqual([]);
});

/** Somebody with a session, or with a token, who asks either program. */
class Client {
  headers: Record<string, string>;
  constructor(headers: Record<string, string>) {
    this.headers = headers;
  }

  async ask(method: string, path: string, body?: object, program = first) {
    clock.advance(1_000);
    const answer = await fetch(`${program.url}/api/v1${path}`, {
      method,
      headers: { ...this.headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const cookie = answer.headers.getSetCookie().find((each) => each.startsWith('starling_session='));
    if (cookie !== undefined) this.headers = { cookie: cookie.split(';')[0] ?? '' };
    const text = await answer.text();
    return { status: answer.status, json: text === '' ? undefined : JSON.parse(text) };
  }

  /** On the other program. Resolves with what it said when it has ended. */
  async watch(appId: string): Promise<{ readonly ended: Promise<string>; isOpen: boolean }> {
    const stop = new AbortController();
    onTestFinished(() => stop.abort());
    const url = `${second.url}/api/v1/apps/${appId}/debug`;
    const answer = await fetch(url, { headers: this.headers, signal: stop.signal });
    expect(answer.status).toBe(200);
    const stream = { isOpen: true, ended: Promise.resolve('') };
    stream.ended = answer.text().finally(() => {
      stream.isOpen = false;
    });
    stream.ended.catch(() => undefined);
    return stream;
  }
}

async function signIn(email = owner.email, password = owner.password): Promise<Client> {
  const client = new Client({});
  const answer = await client.ask('POST', '/sign-in', { email, password });
  expect(answer.status).toBe(200);
  return client;
}

async function world() {
  await first.admin.people.ensureFirstOwner(owner);
  const ada = await signIn();
  const me = (await ada.ask('GET', '/me')).json;
  const organisationId: string = me.memberships[0].organisationId;
  const app = (await ada.ask('POST', `/organisations/${organisationId}/apps`, { name: 'App' })).json;
  const members = `/organisations/${organisationId}/members`;
  const invited = await ada.ask('POST', `/organisations/${organisationId}/invitations`, {
    email: 'bob@example.com',
    role: 'developer',
  });
  const bob = new Client({});
  const body = { token: invited.json.token, name: 'Bob', password: 'another sentence' };
  expect((await bob.ask('POST', '/invitations/accept', body)).status).toBe(200);
  const bobId: string = (await bob.ask('GET', '/me')).json.id;
  return { ada, adaId: me.id as string, bob, bobId, app, members, organisationId };
}

async function tokenOf(client: Client, role = 'owner') {
  const made = (await client.ask('POST', '/me/access-tokens', { label: 'ci', role })).json;
  return { id: made.accessToken.id as string, client: new Client({ authorization: `Bearer ${made.token}` }) };
}

describe('a stream on another program', () => {
  // No heartbeat comes: the clock stands, but for the second that each request takes.
  test('[AD21] ends when its reader is removed, is made a viewer, or the app is deleted; others go on', async () => {
    const { ada, bob, bobId, app, members } = await world();
    const [ours, theirs] = [await ada.watch(app.id), await bob.watch(app.id)];
    expect((await ada.ask('PATCH', `${members}/${bobId}`, { role: 'viewer' })).status).toBe(200);
    expect(await theirs.ended).toContain('event: end\ndata: {"code":"role_too_low"');
    await ada.ask('PATCH', `${members}/${bobId}`, { role: 'developer' });
    const again = await bob.watch(app.id);
    expect((await ada.ask('DELETE', `${members}/${bobId}`)).status).toBe(204);
    expect(await again.ended).toContain('"code":"resource_unknown"');
    expect(ours.isOpen).toBe(true);
    expect((await ada.ask('DELETE', `/apps/${app.id}`)).status).toBe(204);
    expect(await ours.ended).toContain('"code":"resource_unknown"');
  });

  test('[AD21] ends when its session ends: signed out, everywhere, or by a new password elsewhere', async () => {
    const { ada, app } = await world();
    const ways: ((from: Client) => Promise<{ status: number }>)[] = [
      (from) => from.ask('POST', '/sign-out'),
      () => ada.ask('PUT', '/me/password', { current: owner.password, password: 'a new sentence' }),
      (from) => from.ask('DELETE', '/me/sessions'),
    ];
    let password = owner.password;
    for (const way of ways) {
      const other = await signIn(owner.email, password);
      const stream = await other.watch(app.id);
      expect((await way(other)).status).toBeLessThan(300);
      expect(await stream.ended).toContain('"code":"request_unauthenticated"');
      if (way === ways[1]) password = 'a new sentence';
    }
  });

  test('[AD21] ends when its token is revoked, and no other with it', async () => {
    const { ada, app } = await world();
    const { id, client } = await tokenOf(ada, 'developer');
    const [byToken, bySession] = [await client.watch(app.id), await ada.watch(app.id)];
    expect((await ada.ask('DELETE', `/me/access-tokens/${id}`)).status).toBe(204);
    expect(await byToken.ended).toContain('"code":"request_unauthenticated"');
    expect(bySession.isOpen).toBe(true);
  });
});

describe('the first owner', () => {
  test('[AU31] made by the environment or by the link of a start, is an operator', async () => {
    const { ada, bob, adaId } = await world();
    expect((await ada.ask('GET', '/operators')).json.items).toMatchObject([{ userId: adaId }]);
    expect((await bob.ask('GET', '/nodes')).status).toBe(403);
  });

  test('[AU31] made on the page behind the link, too', async () => {
    const token = await first.admin.people.createSetupToken();
    const form = new URLSearchParams({ token: token ?? '', ...owner });
    const answer = await fetch(`${first.url}/setup`, { method: 'POST', body: form, redirect: 'manual' });
    expect(answer.status).toBe(303);
    expect((await (await signIn()).ask('GET', '/operators')).json.items).toMatchObject([{ email: owner.email }]);
  });

  test('[AU30] is no operator with an access token, whatever its role', async () => {
    const { ada, bobId } = await world();
    const { client } = await tokenOf(ada);
    for (const [method, path] of [
      ['GET', '/nodes'],
      ['GET', '/operators'],
      ['PUT', `/operators/${bobId}`],
      ['DELETE', `/operators/${bobId}`],
      ['PATCH', '/installation/limits'],
      ['GET', '/installation/audit-entries'],
    ] as const) {
      const answer = await client.ask(method, path, method === 'PATCH' ? {} : undefined);
      expect(answer, path).toMatchObject({ status: 403, json: { error: { code: 'operator_needed' } } });
    }
    expect((await client.ask('GET', '/installation/limits')).status).toBe(200);
  });
});
