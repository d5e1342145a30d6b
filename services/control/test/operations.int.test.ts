/** What the operations do, told as stories. */
import { FakeClock } from '@starling/adapters/memory';
import { readApps } from '@starling/database';
import { databaseOf } from '@starling/database/test-kit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errorReply } from '../src/contract/operation.ts';
import { expireKeys } from '../src/expire-keys.ts';
import { pruneKeys } from '../src/frame/idempotency.ts';
import { ourApp, ourEndpoint, ourKey, ours, people, type Started, startControl, theirs } from './started-control.ts';

const dayMs = 86_400_000;

describe('the operations', () => {
  const database = databaseOf();
  let clock: FakeClock;
  let control: Started;
  beforeEach(async () => {
    clock = new FakeClock(Date.now());
    control = await startControl(database, { clock });
  });
  afterEach(async () => {
    expect(control.problems).toEqual([]);
    await control.close();
  });
  const as = (person: Parameters<Started['call']>[0]) => ({
    get: (path: string) => control.call(person, 'GET', path),
    post: (path: string, body?: unknown, headers?: Record<string, string>) =>
      control.call(person, 'POST', path, { body, ...(headers === undefined ? {} : { headers }) }),
    patch: (path: string, body: unknown, headers?: Record<string, string>) =>
      control.call(person, 'PATCH', path, { body, ...(headers === undefined ? {} : { headers }) }),
    delete: (path: string, headers?: Record<string, string>) =>
      control.call(person, 'DELETE', path, headers === undefined ? {} : { headers }),
  });
  const owner = as('owner');

  /** The app as a node would go by it. */
  const inForce = async (appId: string) => {
    const [read] = await readApps(database.sql, control.keyring, [appId]);
    return read !== undefined && 'app' in read ? read.app : undefined;
  };

  describe('organisations', () => {
    test('[AD2] are made by owners, seen by members, renamed and deleted when they have no apps', async () => {
      const made = await owner.post('/organisations', { name: '  A zoo  ' });
      expect(made).toMatchObject({ status: 201, json: { name: 'A zoo', role: 'owner', version: 1 } });
      const path = `/organisations/${made.json.id}`;
      expect((await owner.get('/organisations')).json.items).toEqual([
        made.json,
        { id: ours, name: ours, version: 1, createdAt: '2026-01-01T00:00:00.000Z', role: 'owner' },
      ]);
      expect(await owner.patch(path, { name: 'Park' })).toMatchObject({
        status: 200,
        json: { name: 'Park', version: 2 },
      });
      expect(await owner.delete(path)).toMatchObject({ status: 204, text: '' });
      expect(await owner.get(path)).toMatchObject({ status: 404 });
      expect(await owner.delete(`/organisations/${ours}`)).toMatchObject({
        status: 409,
        error: { code: 'state_conflict', hint: 'Delete its apps first.' },
      });
      expect(await owner.get(`/organisations/${ours}`)).toMatchObject({ status: 200 });
    });

    test('[AD4] are not made by who owns none', async () => {
      expect(await as('admin').post('/organisations', { name: 'Mine' })).toMatchObject({
        status: 403,
        error: { code: 'role_too_low' },
      });
    });
  });

  describe('apps', () => {
    test('[AD2] are made with a numeric id and what was said of them', async () => {
      const made = await owner.post(`/organisations/${ours}/apps`, {
        name: 'Chat',
        settings: { allowedOrigins: ['https://*.example.com'], hasWatchlists: true },
        limits: { presenceMembers: 5 },
      });
      expect(made).toMatchObject({
        status: 201,
        json: {
          id: expect.stringMatching(/^[1-9]\d{6,8}$/),
          organisationId: ours,
          isEnabled: true,
          settings: { hasWatchlists: true, hasClientEvents: false, allowedOrigins: ['https://*.example.com'] },
          limits: { presenceMembers: 5, connections: 100_000 },
        },
      });
      expect(await inForce(made.json.id)).toMatchObject({
        name: 'Chat',
        version: made.json.version,
        keys: [],
        hasWatchlists: true,
        limits: { presenceMembers: 5 },
      });
      expect(control.controlBus.posted).toEqual([
        { kind: 'app-changed', appId: made.json.id, version: made.json.version },
      ]);
    });

    test('[AD10] keep what a change leaves out, and say in the audit log what became what', async () => {
      const before = (await owner.get(`/apps/${ourApp}`)).json;
      const changed = await owner.patch(`/apps/${ourApp}`, {
        isEnabled: false,
        settings: { hasClientEvents: true },
        limits: { connections: 3 },
      });
      expect(changed).toMatchObject({ status: 200, json: { name: before.name, isEnabled: false } });
      expect(changed.json.version).toBeGreaterThan(before.version);
      expect(changed.json.limits).toEqual({ ...before.limits, connections: 3 });
      expect(await inForce(ourApp)).toMatchObject({
        isEnabled: false,
        hasClientEvents: true,
        version: changed.json.version,
      });
      const { items } = (await owner.get(`/organisations/${ours}/audit-entries`)).json;
      expect(items).toMatchObject([
        {
          action: 'changeApp',
          target: `app:${ourApp}`,
          details: {
            isEnabled: { from: true, to: false },
            'settings.hasClientEvents': { from: false, to: true },
            'settings.limits.connections': { from: 100_000, to: 3 },
          },
        },
      ]);
    });

    test('[AD9] a change that changes nothing is no change', async () => {
      const before = (await owner.get(`/apps/${ourApp}`)).json;
      expect(await owner.patch(`/apps/${ourApp}`, { name: before.name, limits: before.limits })).toMatchObject({
        status: 200,
        json: { version: before.version },
      });
      expect(control.controlBus.posted).toEqual([]);
      expect((await owner.get(`/organisations/${ours}/audit-entries`)).json.items).toEqual([]);
    });

    test('[AD10] deleted, they take their keys along, and nodes are told', async () => {
      expect(await owner.delete(`/apps/${ourApp}`)).toMatchObject({ status: 204 });
      expect(await inForce(ourApp)).toBeUndefined();
      expect(control.controlBus.posted).toMatchObject([
        { kind: 'app-changed', appId: ourApp },
        { kind: 'access-changed', userId: null },
      ]);
      expect(await database.sql`select 1 from app_keys where app_id = ${ourApp}`).toHaveLength(0);
      expect(await owner.get(`/apps/${ourApp}`)).toMatchObject({ status: 404 });
    });

    test.each([
      [
        'an origin that is none',
        { settings: { allowedOrigins: ['https://ok.example', 'not an origin'] } },
        'settings.allowedOrigins.1',
      ],
      ['a limit below what works', { limits: { eventDataBytes: 0 } }, 'limits.eventDataBytes'],
      ['a limit that is no number', { limits: { connections: '5' } }, 'limits.connections'],
      ['an unknown setting', { settings: { hasEverything: true } }, 'settings.hasEverything'],
      ['a name of two lines', { name: 'one\ntwo' }, 'name'],
      ['an empty name', { name: '  ' }, 'name'],
    ])('[AD5] %s is refused, named by its field, and nothing is changed', async (_name, body, field) => {
      const before = await owner.get(`/apps/${ourApp}`);
      expect(await owner.patch(`/apps/${ourApp}`, { hasOther: 1, ...body })).toMatchObject({
        status: 400,
        error: { code: 'fields_invalid', fields: { [field]: expect.any(String), hasOther: expect.any(String) } },
      });
      expect((await owner.get(`/apps/${ourApp}`)).json).toEqual(before.json);
    });

    test('[AD12] say on how many of the nodes their newest version is in force', async () => {
      control.nodes.push('one', 'two', 'three');
      const rollout = async () => (await owner.get(`/apps/${ourApp}/rollout`)).json;
      await database.sql`update app_changes set at = ${new Date(clock.now() - dayMs)}`;
      // Made before anybody was listening.
      expect(await rollout()).toMatchObject({ nodes: { connected: 3, applied: 3 }, isComplete: true });

      const { version } = (await owner.patch(`/apps/${ourApp}`, { name: 'Other' })).json;
      await database.sql`update app_changes set at = ${new Date(clock.now())} where seq = ${version}`;
      const applied = (nodeId: string, of = version) =>
        control.controlBus.post({ kind: 'app-applied', appId: ourApp, version: of, nodeId });
      expect(await rollout()).toEqual({ version, nodes: { connected: 3, applied: 0 }, isComplete: false });
      await applied('one');
      await applied('two', version - 1);
      await applied('a node that is gone');
      expect(await rollout()).toEqual({ version, nodes: { connected: 3, applied: 1 }, isComplete: false });
      await applied('two');
      await applied('three');
      expect(await rollout()).toEqual({ version, nodes: { connected: 3, applied: 3 }, isComplete: true });
    });
  });

  describe('keys', () => {
    const keys = `/apps/${ourApp}/keys`;

    test('[AD6] show their secret once, to who makes them', async () => {
      const made = await owner.post(keys, { label: 'ci' });
      expect(made).toMatchObject({
        status: 201,
        json: {
          key: expect.stringMatching(/^[0-9a-f]{20}$/),
          secret: expect.stringMatching(/^[0-9a-f]{20}$/),
          label: 'ci',
        },
      });
      const { secret, wasShown: _, ...rest } = made.json;
      expect((await inForce(ourApp))?.keys).toContainEqual({ key: rest.key, secret, isEnabled: true });
      const list = await owner.get(keys);
      expect(list.json.items).toEqual([expect.objectContaining({ key: ourKey }), rest]);
      const everything = JSON.stringify([
        list.text,
        (await owner.get(`/organisations/${ours}/audit-entries`)).text,
        await database.sql`select * from app_keys`,
        await database.sql`select * from audit_entries`,
        await database.sql`select * from idempotency_keys`,
      ]);
      expect(everything).not.toContain(secret);
    });

    test('[AD6] rotated, the old one counts for as long as was said, and no longer', async () => {
      const rotated = await owner.post(`${keys}/${ourKey}/rotate`, { overlapSeconds: 60 });
      const endsAt = new Date(clock.now() + 60_000).toISOString();
      expect(rotated).toMatchObject({
        status: 201,
        json: { secret: expect.any(String), replaces: { key: ourKey, isEnabled: true, expiresAt: endsAt } },
      });
      const enabled = async () => (await inForce(ourApp))?.keys.map(({ key, isEnabled }) => [key, isEnabled]);
      expect(await enabled()).toEqual([
        [ourKey, true],
        [rotated.json.key, true],
      ]);

      clock.advance(59_999);
      expect(await expireKeys(control.deps)).toBe(0);
      clock.advance(1);
      const posted = control.controlBus.posted.length;
      // Of all programs that look at the same time, one does it.
      const done = await Promise.all([1, 2, 3].map(() => expireKeys(control.deps)));
      expect(done.sort()).toEqual([0, 0, 1]);
      expect(await enabled()).toEqual([
        [ourKey, false],
        [rotated.json.key, true],
      ]);
      expect(control.controlBus.posted.slice(posted)).toMatchObject([{ kind: 'app-changed', appId: ourApp }]);
      expect((await owner.get(`/organisations/${ours}/audit-entries?action=expireKey`)).json.items).toMatchObject([
        { actor: { kind: 'system' }, target: `key:${ourKey}` },
      ]);
    });

    test('[AD6] rotated without overlap, the old one ends at once, and cannot be rotated again', async () => {
      expect(await owner.post(`${keys}/${ourKey}/rotate`, { overlapSeconds: 0 })).toMatchObject({
        status: 201,
        json: { replaces: { isEnabled: false } },
      });
      expect(await owner.post(`${keys}/${ourKey}/rotate`, { overlapSeconds: 0 })).toMatchObject({
        status: 409,
        error: { code: 'state_conflict' },
      });
    });

    test('[AD10] disabled, enabled and deleted', async () => {
      const one = `${keys}/${ourKey}`;
      expect(await owner.patch(one, { isEnabled: false })).toMatchObject({ json: { isEnabled: false } });
      expect((await inForce(ourApp))?.keys).toMatchObject([{ isEnabled: false }]);
      expect(await owner.patch(one, { isEnabled: true, label: 'again' })).toMatchObject({
        json: { isEnabled: true, label: 'again', expiresAt: null },
      });
      expect((await inForce(ourApp))?.keys).toMatchObject([{ isEnabled: true }]);
      expect(await owner.delete(one)).toMatchObject({ status: 204 });
      expect((await inForce(ourApp))?.keys).toEqual([]);
      const versions = control.controlBus.posted.map((controlMessage) =>
        'version' in controlMessage ? controlMessage.version : 0,
      );
      expect(versions).toEqual([...new Set(versions)].sort((a, b) => a - b));
    });
  });

  describe('tokens', () => {
    test('[AD2] settings are changed field by field, and null takes one away', async () => {
      const path = `/apps/${ourApp}/token-settings`;
      expect((await owner.get(path)).json).toMatchObject({
        isEnabled: true,
        jwksUrl: null,
        issuer: null,
        audience: null,
      });
      await owner.patch(path, { jwksUrl: 'https://id.example.com/keys', issuer: 'id', audience: 'us' });
      expect((await inForce(ourApp))?.tokens).toEqual({
        isEnabled: true,
        jwksUrl: 'https://id.example.com/keys',
        issuer: 'id',
        audience: 'us',
      });
      await owner.patch(path, { jwksUrl: null, isEnabled: false });
      expect((await inForce(ourApp))?.tokens).toEqual({ isEnabled: false, issuer: 'id', audience: 'us' });
      expect(await owner.patch(path, { jwksUrl: 'http://id.example.com/keys' })).toMatchObject({
        status: 400,
        error: { fields: { jwksUrl: expect.any(String) } },
      });
    });

    test('[AD2] revocations are listed, the newest first, and a repeated one counts from its last time', async () => {
      const path = `/apps/${ourApp}/revocations`;
      await owner.post(path, { by: 'user', id: 'ada' });
      clock.advance(1_000);
      await owner.post(path, { by: 'token', id: 'jti-1' });
      clock.advance(1_000);
      await owner.post(path, { by: 'user', id: 'ada' });
      const at = new Date(clock.now()).toISOString();
      const first = await owner.get(`${path}?limit=1`);
      expect(first.json.items).toEqual([{ by: 'user', id: 'ada', at }]);
      const second = await owner.get(`${path}?limit=1&cursor=${first.json.nextCursor}`);
      expect(second.json).toMatchObject({ items: [{ by: 'token', id: 'jti-1' }], nextCursor: null });
      expect((await inForce(ourApp))?.revocations).toEqual([
        { by: 'token', id: 'jti-1', at: clock.now() - 1_000 },
        { by: 'user', id: 'ada', at: clock.now() },
      ]);
    });
  });

  test('[TK15] revocations of one app have a bound, and those it has are taken again', async () => {
    const path = `/apps/${ourApp}/revocations`;
    await database.sql`
      insert into app_revocations (app_id, by, id, at)
      select ${ourApp}, 'user', 'u' || number, now() from generate_series(1, 10000) as number`;
    expect(await owner.post(path, { by: 'token', id: 'u1' })).toMatchObject({
      status: 409,
      error: { code: 'state_conflict', message: 'The app has 10000 revocations already' },
    });
    expect(await owner.post(path, { by: 'user', id: 'u1' })).toMatchObject({ status: 201 });
  });

  test('[AD2] webhook endpoints are made, changed and deleted, and what their addresses hold stays out of the log', async () => {
    const path = `/apps/${ourApp}/webhook-endpoints`;
    const body = { url: 'https://example.com/hook?token=hush', events: ['member_added', 'member_removed'] };
    const made = await owner.post(path, body);
    expect(made).toMatchObject({ status: 201, json: { ...body, isEnabled: true, version: 1 } });
    const one = `${path}/${made.json.id}`;
    expect(await owner.patch(one, { events: ['cache_miss'], url: 'https://example.com/hook?token=shh' })).toMatchObject(
      {
        json: { events: ['cache_miss'], url: 'https://example.com/hook?token=shh', version: 2 },
      },
    );
    expect((await owner.get(path)).json.items.map(({ id }: { id: string }) => id)).toEqual([ourEndpoint, made.json.id]);
    expect(await owner.delete(one)).toMatchObject({ status: 204 });
    expect(await owner.delete(one)).toMatchObject({ status: 404 });
    const log = (await owner.get(`/organisations/${ours}/audit-entries`)).text;
    expect(log).not.toMatch(/hush|shh/);
    for (const odd of [
      { events: [] },
      { events: ['cache_miss', 'cache_miss'] },
      { url: 'ftp://x' },
      { url: 'https://a:b@c' },
    ]) {
      expect(await owner.post(path, { ...body, ...odd })).toMatchObject({
        status: 400,
        error: { code: 'fields_invalid' },
      });
    }
  });

  describe('records', () => {
    test('[AD9] the audit log is filtered by who, what and when', async () => {
      await as('developer').post(`/apps/${ourApp}/keys`, { label: 'one' });
      clock.advance(60_000);
      const middle = new Date(clock.now()).toISOString();
      await owner.post(`/apps/${ourApp}/keys`, { label: 'two' });
      await owner.patch(`/apps/${ourApp}`, { name: 'Other' });
      const log = `/organisations/${ours}/audit-entries`;
      const actionsOf = async (query: string) =>
        (await as('admin').get(`${log}${query}`)).json.items.map(({ action }: { action: string }) => action);
      expect(await actionsOf('')).toEqual(['changeApp', 'createKey', 'createKey']);
      expect(await actionsOf(`?actor=${people.developer}`)).toEqual(['createKey']);
      expect(await actionsOf('?action=createKey')).toEqual(['createKey', 'createKey']);
      expect(await actionsOf(`?from=${middle}`)).toEqual(['changeApp', 'createKey']);
      expect(await actionsOf(`?to=${middle}`)).toEqual(['createKey']);
      expect(await actionsOf(`?target=app:${ourApp}`)).toEqual(['changeApp']);
      expect((await as('stranger').get(`/organisations/${theirs}/audit-entries`)).json.items).toEqual([]);
    });

    test('[AD2] usage is read by minute, hour and day, from one moment to another', async () => {
      const { sql } = database;
      const minute = (count: number) => new Date(Date.UTC(2026, 0, 1, 0, count));
      await sql`
        insert into usage_minutes ${sql([1, 2, 3].map((count) => ({ app_id: ourApp, at: minute(count), messages_in: count })))}`;
      await sql`insert into usage_days ${sql({ app_id: ourApp, at: minute(0), connections_peak: 9 })}`;
      const range = (from: number, to: number) => `from=${minute(from).toISOString()}&to=${minute(to).toISOString()}`;
      const usage = `/apps/${ourApp}/usage`;
      expect((await owner.get(`${usage}?by=minute&${range(2, 4)}`)).json.items).toMatchObject([
        { at: minute(2).toISOString(), messagesIn: 2 },
        { messagesIn: 3 },
      ]);
      expect((await owner.get(`${usage}?by=day&${range(0, 2_000)}`)).json.items).toMatchObject([
        { connectionsPeak: 9 },
      ]);
      expect((await owner.get(`${usage}?${range(0, 60)}`)).json.items).toEqual([]);
      for (const query of [range(4, 2), `by=minute&${range(0, 1_501)}`, 'by=week']) {
        expect(await owner.get(`${usage}?${query}`)).toMatchObject({ status: 400, error: { code: 'fields_invalid' } });
      }
    });
  });

  describe('lists', () => {
    test('[AD7] a page at a time they show everything once, and a made-up cursor is refused', async () => {
      const names = Array.from({ length: 7 }, (_, index) => `app ${index % 3}`);
      for (const name of names) await owner.post(`/organisations/${ours}/apps`, { name });
      const path = `/organisations/${ours}/apps`;
      const all = (await owner.get(path)).json;
      expect(all).toMatchObject({ nextCursor: null });
      const seen: unknown[] = [];
      for (let cursor: string | null = ''; cursor !== null; ) {
        const page: { items: unknown[]; nextCursor: string | null } = (
          await owner.get(`${path}?limit=3${cursor === '' ? '' : `&cursor=${cursor}`}`)
        ).json;
        expect(page.items.length).toBeLessThanOrEqual(3);
        seen.push(...page.items);
        cursor = page.nextCursor;
      }
      expect(seen).toEqual(all.items);
      expect(seen).toHaveLength(8);
      const { nextCursor } = (await owner.get(`${path}?limit=3`)).json;
      expect(await owner.get(`/apps/${ourApp}/keys?cursor=${nextCursor}`)).toMatchObject({
        status: 400,
        error: { code: 'fields_invalid', fields: { cursor: expect.any(String) } },
      });
      for (const limit of ['0', '101', 'x', '1.5']) {
        expect(await owner.get(`${path}?limit=${limit}`)).toMatchObject({
          status: 400,
          error: { fields: { limit: expect.any(String) } },
        });
      }
    });

    test.each(['keys', 'webhook-endpoints'])('[AD7] of %s, too', async (kind) => {
      const body = kind === 'keys' ? { label: 'x' } : { url: 'https://example.com', events: ['cache_miss'] };
      for (let count = 0; count < 4; count++) await owner.post(`/apps/${ourApp}/${kind}`, body);
      const all = (await owner.get(`/apps/${ourApp}/${kind}`)).json.items;
      const first = (await owner.get(`/apps/${ourApp}/${kind}?limit=2`)).json;
      const second = (await owner.get(`/apps/${ourApp}/${kind}?limit=2&cursor=${first.nextCursor}`)).json;
      const third = (await owner.get(`/apps/${ourApp}/${kind}?limit=2&cursor=${second.nextCursor}`)).json;
      expect([...first.items, ...second.items, ...third.items]).toEqual(all);
      expect(third.nextCursor).toBeNull();
    });

    test('[AD7] of the audit log, while it grows', async () => {
      for (let count = 0; count < 4; count++) await owner.post(`/apps/${ourApp}/keys`, {});
      const log = `/organisations/${ours}/audit-entries?limit=2`;
      const first = (await owner.get(log)).json;
      await owner.post(`/apps/${ourApp}/keys`, {});
      const second = (await owner.get(`${log}&cursor=${first.nextCursor}`)).json;
      const ids = [...first.items, ...second.items].map(({ id }: { id: number }) => id);
      expect(new Set(ids).size).toBe(4);
      expect(second.nextCursor).toBeNull();
    });
  });

  describe('a change to a version', () => {
    test.each([
      [`/organisations/${ours}`, { name: 'Renamed' }],
      [`/apps/${ourApp}`, { name: 'Renamed' }],
      [`/apps/${ourApp}/token-settings`, { issuer: 'id' }],
      [`/apps/${ourApp}/webhook-endpoints/${ourEndpoint}`, { isEnabled: false }],
    ])('[AD8] of %s is made if it still is that, and else told which it is', async (path, body) => {
      const isListed = path.includes('webhook-endpoints');
      const { version } = isListed ? { version: 1 } : (await owner.get(path)).json;
      const told = { status: 409, error: { code: 'version_outdated', version } };
      expect(await owner.patch(path, { ...body, version: version + 1 })).toMatchObject(told);
      expect(await owner.patch(path, body, { 'if-match': `"${version + 1}"` })).toMatchObject(told);
      expect(await owner.patch(path, body, { 'if-match': 'nonsense' })).toMatchObject({
        status: 400,
        error: { fields: { 'If-Match': expect.any(String) } },
      });
      const changed = await owner.patch(path, body, { 'if-match': `"${version}"` });
      expect(changed).toMatchObject({ status: 200, headers: { etag: `"${changed.json.version}"` } });
      expect(changed.json.version).toBeGreaterThan(version);
    });

    test.each([`/apps/${ourApp}`, `/apps/${ourApp}/webhook-endpoints/${ourEndpoint}`])(
      '[AD8] %s is deleted only as the version that was meant',
      async (path) => {
        expect(await owner.delete(path, { 'if-match': '"77"' })).toMatchObject({
          status: 409,
          error: { code: 'version_outdated' },
        });
        expect(await owner.delete(path, { 'if-match': '*' })).toMatchObject({ status: 204 });
      },
    );

    test('[AD8] of many at once exactly one is made', async () => {
      const { version } = (await owner.get(`/apps/${ourApp}`)).json;
      const answers = await Promise.all(
        [1, 2, 3, 4, 5].map((count) => owner.patch(`/apps/${ourApp}`, { name: `name ${count}`, version })),
      );
      expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409, 409]);
      const winner = answers.find(({ status }) => status === 200);
      expect((await owner.get(`/apps/${ourApp}`)).json).toEqual(winner?.json);
    });

    test('none is lost when nobody names a version: edits of different fields all last', async () => {
      await Promise.all([
        owner.patch(`/apps/${ourApp}`, { settings: { hasClientEvents: true } }),
        owner.patch(`/apps/${ourApp}`, { settings: { hasWatchlists: true } }),
        owner.patch(`/apps/${ourApp}`, { limits: { connections: 3 } }),
        owner.patch(`/apps/${ourApp}/token-settings`, { issuer: 'id' }),
      ]);
      expect(await inForce(ourApp)).toMatchObject({
        hasClientEvents: true,
        hasWatchlists: true,
        limits: { connections: 3 },
        tokens: { issuer: 'id' },
      });
    });
  });

  describe('an Idempotency-Key', () => {
    const keys = `/apps/${ourApp}/keys`;
    const once = { 'idempotency-key': 'once' };
    const keyCount = async () => (await database.sql`select 1 from app_keys where app_id = ${ourApp}`).length;

    test('[AD13] gives the same request the same answer without the secret, and makes nothing twice', async () => {
      const first = await owner.post(keys, { label: 'ci' }, once);
      const again = await owner.post(keys, '{ "label" : "ci" }', once);
      expect(first).toMatchObject({ status: 201, json: { secret: expect.any(String), wasShown: false } });
      expect([again.status, again.json]).toEqual([201, { ...first.json, secret: null, wasShown: true }]);
      expect(await keyCount()).toBe(2);
      expect((await owner.get(`/organisations/${ours}/audit-entries`)).json.items).toHaveLength(1);
      expect(JSON.stringify(await database.sql`select * from idempotency_keys`)).not.toContain(first.json.secret);
    });

    test('[AD13] of another request is refused, and of another person is another', async () => {
      await owner.post(keys, { label: 'ci' }, once);
      const reused = { status: 409, error: { code: 'idempotency_key_reused' } };
      expect(await owner.post(keys, { label: 'other' }, once)).toMatchObject(reused);
      expect(await owner.post(`/organisations/${ours}/apps`, { name: 'x' }, once)).toMatchObject(reused);
      expect(await as('developer').post(keys, { label: 'ci' }, once)).toMatchObject({ status: 201 });
      expect(await owner.post(keys, {}, { 'idempotency-key': 'with space' })).toMatchObject({
        status: 400,
        error: { fields: { 'Idempotency-Key': expect.any(String) } },
      });
    });

    test('[AD13] sent many times at once, is done once', async () => {
      const answers = await Promise.all([1, 2, 3, 4, 5, 6].map(() => owner.post(keys, { label: 'ci' }, once)));
      const shown = answers.filter(({ json }) => json.secret !== null);
      expect(shown).toHaveLength(1);
      for (const { status, json } of answers) {
        expect([status, { ...json, secret: shown[0]?.json.secret, wasShown: false }]).toEqual([201, shown[0]?.json]);
      }
      expect(await keyCount()).toBe(2);
    });

    test('[AD13] of a request that was refused may be used again', async () => {
      await owner.patch(`${keys}/${ourKey}`, { isEnabled: false });
      const rotate = () => owner.post(`${keys}/${ourKey}/rotate`, { overlapSeconds: 0 }, once);
      expect(await rotate()).toMatchObject({ status: 409 });
      await owner.patch(`${keys}/${ourKey}`, { isEnabled: true });
      expect(await rotate()).toMatchObject({ status: 201 });
    });

    test('[AD13] is forgotten after a day', async () => {
      const first = await owner.post(keys, { label: 'ci' }, once);
      clock.advance(dayMs - 1);
      expect((await owner.post(keys, { label: 'ci' }, once)).json).toMatchObject({ key: first.json.key });
      clock.advance(1);
      const next = await owner.post(keys, { label: 'another' }, once);
      expect(next).toMatchObject({ status: 201, json: { label: 'another' } });
      clock.advance(dayMs);
      await pruneKeys(control.deps);
      expect(await database.sql`select 1 from idempotency_keys`).toHaveLength(0);
    });
  });

  test('[AD9] a change and its entry in the audit log are one: without the one there is not the other', async () => {
    await database.sql`alter table audit_entries add constraint broken check (action <> 'changeApp')`;
    try {
      expect(await owner.patch(`/apps/${ourApp}`, { name: 'Other' })).toMatchObject({
        status: 500,
        error: { code: 'internal', message: 'Internal error' },
      });
      expect(control.problems.splice(0)).toHaveLength(1);
      expect((await owner.get(`/apps/${ourApp}`)).json.name).toBe(`app ${ourApp}`);
      expect(control.controlBus.posted).toEqual([]);
    } finally {
      await database.sql`alter table audit_entries drop constraint broken`;
    }
  });

  test('[AD1] takes JSON of a bounded size and nothing else, and says what is wrong in one shape', async () => {
    const raw = (payload: string, type = 'application/json') =>
      control.call('owner', 'POST', `/apps/${ourApp}/keys`, { body: payload, headers: { 'content-type': type } });
    expect(await raw(`"${'x'.repeat(256 * 1024)}"`)).toMatchObject({
      status: 413,
      error: { code: 'request_too_large' },
    });
    for (const [payload, type] of [
      ['{', undefined],
      ['{"__proto__":{"label":"x"}}', undefined],
      ['label=x', 'application/x-www-form-urlencoded'],
      ['{"label":"x"}', 'text/plain'],
    ] as const) {
      const answer = await raw(payload, type);
      expect(answer).toMatchObject({ status: 400, error: { code: 'request_malformed' } });
      expect(errorReply.parse(answer.json)).toEqual(answer.json);
    }
    // Clients name a content type where there is no body, too.
    expect(await raw('')).toMatchObject({ status: 201 });
    expect(await owner.get('/nothing')).toMatchObject({ status: 404, error: { code: 'route_unknown' } });
  });

  test('[AD1] every answer says that it is no page and is not to be kept', async () => {
    for (const path of ['/organisations', '/nothing', `/apps/${ourApp}`]) {
      expect((await owner.get(path)).headers).toMatchObject({
        'cache-control': 'no-store',
        'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
        'referrer-policy': 'no-referrer',
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
      });
    }
  });

  test('[AD3] a stranger makes the server read no body', async () => {
    expect(await control.call(undefined, 'POST', `/apps/${ourApp}/keys`, { body: '{' })).toMatchObject({ status: 401 });
  });

  test('[AD1] a person and an address may ask only so often, and are told when again', async () => {
    await control.close();
    await database.sql`truncate organisations, apps, users cascade`;
    control = await startControl(database, { clock, rates: { perAddress: 5, perPrincipal: 2 } });
    const answers = [
      await owner.get('/organisations'),
      await owner.get('/organisations'),
      await owner.get('/organisations'),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 429]);
    expect(answers[2]).toMatchObject({
      headers: { 'retry-after': expect.anything() },
      error: { code: 'rate_limited' },
    });
    expect(await as('admin').get('/organisations')).toMatchObject({ status: 200 });
    expect(await control.call(undefined, 'GET', '/organisations')).toMatchObject({ status: 401 });
    expect(await as('viewer').get('/organisations')).toMatchObject({ status: 429 });
    // The addresses of one customer count as one.
    const statusFrom = async (remoteAddress: string) =>
      (await control.server.inject({ url: '/api/v1/organisations', remoteAddress })).statusCode;
    const statuses: number[] = [];
    for (let at = 1; at <= 6; at++) statuses.push(await statusFrom(`2001:db8::${at}`));
    expect(statuses).toEqual([401, 401, 401, 401, 401, 429]);
    expect(await statusFrom('2001:db8:0:1::1')).toBe(401);
  });
});
