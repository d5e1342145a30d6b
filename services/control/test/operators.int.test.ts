/** Who runs the installation, and what it allows every app at most. */
import { defaultInstallationLimits, readApps } from '@starling/database';
import { databaseOf } from '@starling/database/test-kit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { lockOperators, settleOperator } from '../src/members/operator.ts';
import { type Answer, ourApp, ours, people, type Started, startControl, theirApp } from './started-control.ts';

const database = databaseOf();
let control: Started;
beforeEach(async () => {
  control = await startControl(database);
});
afterEach(async () => {
  expect(control.problems).toEqual([]);
  await control.close();
});
const call = (method: string, path: string, body?: unknown, person: keyof typeof people = 'owner') =>
  control.call(person, method, path, { body });
const operators = async () =>
  (await database.sql<{ id: string }[]>`select user_id as id from operators order by 1`).map(({ id }) => id);

describe('operators', () => {
  test('[AD23] give and take the right, whatever somebody is in an organisation, and each of it is in the audit log', async () => {
    expect((await call('GET', '/operators')).json.items).toMatchObject([{ userId: people.owner }]);
    expect(await call('GET', '/nodes', undefined, 'viewer')).toMatchObject({ status: 403 });
    const given = await call('PUT', `/operators/${people.viewer}`);
    expect(given).toMatchObject({ status: 200, json: { userId: people.viewer, email: 'viewer@example.com' } });
    expect(await call('PUT', `/operators/${people.viewer}`)).toEqual(expect.objectContaining({ json: given.json }));
    expect(await call('GET', '/nodes', undefined, 'viewer')).toMatchObject({ status: 200 });
    expect(await call('GET', `/apps/${theirApp}`, undefined, 'viewer')).toMatchObject({ status: 404 });
    expect(await call('DELETE', `/operators/${people.owner}`, undefined, 'viewer')).toMatchObject({ status: 204 });
    expect(await call('GET', '/nodes')).toMatchObject({ status: 403, error: { code: 'operator_needed' } });
    expect(await call('PUT', '/operators/usr_nobody', undefined, 'viewer')).toMatchObject({ status: 404 });
    expect(await call('DELETE', `/operators/${people.admin}`, undefined, 'viewer')).toMatchObject({ status: 404 });
    const { items } = (await call('GET', '/installation/audit-entries', undefined, 'viewer')).json;
    expect(items).toMatchObject([
      { action: 'takeOperator', target: `user:${people.owner}`, actor: { userId: people.viewer } },
      { action: 'giveOperator', target: `user:${people.viewer}`, actor: { userId: people.owner } },
    ]);
  });

  test('[AD23] never lose the last of them, however many leave at once', async () => {
    expect(await call('DELETE', `/operators/${people.owner}`)).toMatchObject({
      status: 409,
      error: { code: 'last_operator' },
    });
    for (const person of ['admin', 'viewer'] as const) await call('PUT', `/operators/${people[person]}`);
    const answers = await Promise.all(
      (['owner', 'admin', 'viewer'] as const).map((person) =>
        call('DELETE', `/operators/${people[person]}`, undefined, person),
      ),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([204, 204, 409]);
    expect(await operators()).toHaveLength(1);
    await expect(database.sql`delete from users where id = ${(await operators())[0] ?? ''}`).rejects.toThrow();
  });

  test('[AD23] who has lost the right meanwhile gives it to nobody, and takes nobody’s', async () => {
    await call('PUT', `/operators/${people.admin}`);
    const other = await database.openAnother();
    const sent: Promise<Answer>[] = [];
    // As another program takes the right of the owner: those who are admitted meanwhile wait for it.
    await other.tx(async (sql) => {
      await lockOperators(sql);
      await sql`delete from operators where user_id = ${people.owner}`;
      sent.push(call('PUT', `/operators/${people.viewer}`), call('DELETE', `/operators/${people.admin}`));
      const waiting = () => sql`
        select 1 from pg_locks join pg_database d on d.oid = database
        where not granted and locktype = 'advisory' and datname = current_database()`;
      await expect.poll(async () => (await waiting()).length, { timeout: 20_000 }).toBe(2);
    });
    for (const answer of await Promise.all(sent)) {
      expect(answer).toMatchObject({ status: 403, error: { code: 'operator_needed' } });
    }
    expect(await operators()).toEqual([people.admin]);
  });

  test('[AU31] are settled where there is none: who has owned the first organisation for longest', async () => {
    const deps = { database, clock: control.deps.clock };
    expect(await settleOperator(deps)).toBeUndefined();
    await database.sql`delete from operators`;
    await database.sql`
      update memberships set role = 'owner', created_at = '2025-01-01' where user_id = ${people.admin}`;
    const [first, second] = await Promise.all([settleOperator(deps), settleOperator(deps)]);
    expect([first, second].filter((each) => each !== undefined)).toEqual([people.admin]);
    expect(await operators()).toEqual([people.admin]);

    // Where nobody owns the first one, of the first that somebody owns.
    await database.sql`delete from operators`;
    await database.sql`update memberships set role = 'admin' where organisation_id = ${ours}`;
    expect(await settleOperator(deps)).toBe(people.stranger);
  });
});

describe('limits of the installation', () => {
  const path = '/installation/limits';
  const limits = { connections: 50, presenceMembers: 20 };
  /** As nodes go by it. */
  const inForce = async (appId: string) => {
    const [read] = await readApps(database.sql, control.keyring, [appId]);
    if (read === undefined || !('app' in read)) throw new Error(`${appId} is not there`);
    return read.app;
  };

  test('[AD24] are those of the product at first, are set by operators, and can be read by everybody', async () => {
    expect((await call('GET', path, undefined, 'viewer')).json).toEqual({ ...defaultInstallationLimits, version: 0 });
    expect(await call('PATCH', path, { ...limits, version: 0 })).toMatchObject({
      status: 200,
      json: { ...defaultInstallationLimits, ...limits, version: 1 },
    });
    expect(await call('PATCH', path, { connections: 60, version: 0 })).toMatchObject({ status: 409 });
    expect(await call('PATCH', path, { connections: null })).toMatchObject({
      json: { connections: null, presenceMembers: 20, version: 2 },
    });
    expect((await call('GET', path, undefined, 'stranger')).json).toMatchObject({ presenceMembers: 20, version: 2 });
    for (const body of [{ connections: -1 }, { connections: 1e12 }, { eventDataBytes: 0 }, { other: 1 }]) {
      expect(await call('PATCH', path, body)).toMatchObject({ status: 400 });
    }
    const { items } = (await call('GET', '/installation/audit-entries?action=changeInstallationLimits')).json;
    expect(items.map(({ details }: { details: object }) => details)).toMatchObject([
      { connections: { from: 50, to: null } },
      { connections: { from: 100_000, to: 50 }, presenceMembers: { from: 1_000, to: 20 } },
    ]);
  });

  test('[AD24] hold from the start, and a large installation raises them', async () => {
    const many = { limits: { connections: 10_000_000 } };
    expect(await call('PATCH', `/apps/${ourApp}`, many)).toMatchObject({
      status: 400,
      error: { code: 'fields_invalid', fields: { 'limits.connections': expect.stringContaining('at most 100000') } },
    });
    expect(await call('PATCH', path, { connections: null })).toMatchObject({ status: 200 });
    expect(await call('PATCH', `/apps/${ourApp}`, many)).toMatchObject({ status: 200, json: many });
  });

  test('[AD24] an organisation makes no more apps than they allow, also at once', async () => {
    await call('PATCH', path, { appsPerOrganisation: 3 });
    const make = () => call('POST', `/organisations/${ours}/apps`, { name: 'New' });
    const made = await Promise.all([make(), make(), make(), make()]);
    expect(made.map(({ status }) => status).sort()).toEqual([201, 201, 409, 409]);
    expect(made.find(({ status }) => status === 409)?.error).toMatchObject({
      code: 'state_conflict',
      message: expect.stringContaining('allow 3'),
    });
    // Those that are there stay, also when it is fewer.
    expect(await call('PATCH', path, { appsPerOrganisation: 1 })).toMatchObject({ status: 200 });
    expect((await call('GET', `/organisations/${ours}/apps`)).json.items).toHaveLength(3);
    await call('PATCH', path, { appsPerOrganisation: null });
    expect(await make()).toMatchObject({ status: 201 });
  });

  test('[AD25] who sends back the limits that count does not lower the app’s own', async () => {
    await call('PATCH', `/apps/${ourApp}`, { limits: { connections: 40 } });
    await call('PATCH', path, { connections: 30 });
    const read = (await call('GET', `/apps/${ourApp}`)).json;
    expect(read.limits.connections).toBe(30);
    const { version } = (await call('PATCH', `/apps/${ourApp}`, { limits: read.limits })).json;
    expect(version).toBe(read.version);
    const more = { limits: { ...read.limits, presenceMembers: 9 } };
    expect((await call('PATCH', `/apps/${ourApp}`, more)).json.limits).toEqual(more.limits);
    await call('PATCH', path, { connections: null });
    expect((await inForce(ourApp)).limits).toMatchObject({ connections: 40, presenceMembers: 9 });
    await call('PATCH', path, { connections: 30 });
    await call('PATCH', `/apps/${ourApp}`, { limits: { connections: 20 } });
    await call('PATCH', path, { connections: null });
    expect((await inForce(ourApp)).limits.connections).toBe(20);
  });

  test('[AD24] are not passed by what an organisation sets for its apps', async () => {
    await call('PATCH', path, limits);
    const fault = { status: 400, error: { fields: { 'limits.connections': expect.stringContaining('at most 50') } } };
    expect(await call('PATCH', `/apps/${ourApp}`, { limits: { connections: 51 } })).toMatchObject(fault);
    const made = { name: 'New', limits: { connections: 51 } };
    expect(await call('POST', `/organisations/${ours}/apps`, made)).toMatchObject(fault);
    expect(await call('PATCH', `/apps/${ourApp}`, { limits: { connections: 50 } })).toMatchObject({ status: 200 });
    // Also not by what is usual.
    const app = (await call('POST', `/organisations/${ours}/apps`, { name: 'New' })).json;
    expect(app.limits).toMatchObject(limits);
    expect((await inForce(app.id)).limits).toMatchObject(limits);
  });

  test('[AD25] hold for the apps there are, and the apps’ own count again when they are raised', async () => {
    await call('PATCH', `/apps/${ourApp}`, { limits: { connections: 40, presenceMembers: 500 } });
    const before = (await inForce(ourApp)).version;
    control.controlBus.posted.length = 0;
    await call('PATCH', path, { presenceMembers: 20 });
    const app = await inForce(ourApp);
    expect(app.limits).toMatchObject({ connections: 40, presenceMembers: 20 });
    expect(app.version).toBeGreaterThan(before);
    const shown = (await call('GET', `/apps/${ourApp}`)).json;
    expect(shown).toMatchObject({ limits: app.limits, version: app.version });
    const listed = (await call('GET', `/organisations/${ours}/apps`)).json.items;
    expect(listed).toEqual([shown]);
    // Of both apps, which nodes find in the feed up to here.
    const newest = Math.max(app.version, (await inForce(theirApp)).version);
    expect(control.controlBus.posted).toMatchObject([{ kind: 'app-changed', version: newest }]);

    await call('PATCH', path, { presenceMembers: 1_000 });
    expect((await inForce(ourApp)).limits.presenceMembers).toBe(500);
    await call('PATCH', path, { presenceMembers: null });
    expect((await inForce(ourApp)).limits).toMatchObject({ connections: 40, presenceMembers: 500 });
  });

  test('[AD25] disturb no app for which nothing changes', async () => {
    await call('PATCH', `/apps/${ourApp}`, { limits: { connections: 40 } });
    const before = (await inForce(ourApp)).version;
    control.controlBus.posted.length = 0;
    await call('PATCH', path, { connections: 50 });
    expect((await inForce(ourApp)).version).toBe(before);
    expect(control.controlBus.posted).toMatchObject([{ kind: 'app-changed', appId: theirApp }]);
  });
});
