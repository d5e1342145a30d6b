/** The first run: the link, the page behind it, and the owner from the environment. */
import { databaseOf } from '@starling/database/test-kit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { owner, type StartedPeople, startPeople } from '../people.test-kit.ts';

const hour = 3_600_000;
const form = { 'content-type': 'application/x-www-form-urlencoded' };

describe('the first run', () => {
  const database = databaseOf();
  let started: StartedPeople;
  beforeEach(async () => {
    started = await startPeople(database);
  });
  afterEach(async () => {
    expect(started.problems).toEqual([]);
    await started.close();
  });
  const submit = (token: string, over: object = {}, address = '192.0.2.1') =>
    started.visit(address).send('POST', '/setup', {
      headers: form,
      body: new URLSearchParams({ token, ...owner, ...over }),
    });
  const tokenOf = async () => (await started.people.createSetupToken()) ?? '';

  test('[AU9] a link leads to the account of the first owner, and then nowhere', async () => {
    await database.sql`insert into organisations (id, name) values ('org_first', 'First')`;
    const browser = started.visit();
    expect((await browser.ask('GET', '/sign-in')).json).toEqual({ isSetUp: false, hasProvider: false });
    const token = await tokenOf();
    const page = await browser.send('GET', `/setup?token=${token}`);
    expect(page).toMatchObject({ status: 200, text: expect.stringContaining(`value="${token}"`) });

    const done = await browser.send('POST', '/setup', {
      headers: form,
      body: new URLSearchParams({ token, ...owner }),
    });
    expect(done).toMatchObject({ status: 303, headers: { location: 'setup/done' } });
    expect(await browser.ask('GET', '/me')).toMatchObject({
      status: 200,
      json: { email: owner.email, memberships: [{ organisationId: 'org_first', role: 'owner' }] },
    });
    expect((await browser.send('GET', '/setup/done')).status).toBe(200);
    expect((await browser.ask('GET', '/sign-in')).json.isSetUp).toBe(true);
    expect((await browser.send('GET', `/setup?token=${token}`)).status).toBe(410);
    expect((await submit(token, { email: 'eve@example.com' })).status).toBe(410);
    expect(await started.people.createSetupToken()).toBeUndefined();
    expect(await database.sql`select 1 from users`).toHaveLength(1);
  });

  test('[AU9] the link ends after a day and with the next start', async () => {
    const first = await tokenOf();
    const next = await tokenOf();
    expect((await submit(first)).status).toBe(410);
    started.clock.advance(24 * hour);
    expect((await submit(next)).status).toBe(410);
    expect((await submit('')).status).toBe(410);
    expect((await submit('x'.repeat(43))).status).toBe(410);
    expect((await submit(await tokenOf())).status).toBe(303);
  });

  test('[AU9] [AU24] a start whose output is kept makes no other link while one leads somewhere', async () => {
    const keepsFormer = true;
    const made = await Promise.all([1, 2, 3].map(() => started.people.createSetupToken({ keepsFormer })));
    const [token = '', ...more] = made.filter((each) => each !== undefined);
    expect(more).toEqual([]);
    expect((await started.visit().send('GET', `/setup?token=${token}`)).status).toBe(200);
    started.clock.advance(24 * hour);
    const next = await started.people.createSetupToken({ keepsFormer });
    expect((await submit(token)).status).toBe(410);
    // On a terminal it is shown again, as another one.
    const shown = await tokenOf();
    expect((await submit(next ?? '')).status).toBe(410);
    expect((await submit(shown)).status).toBe(303);
    expect(await started.people.createSetupToken({ keepsFormer })).toBeUndefined();
  });

  test('[AU9] of those who use the link at the same moment, one is the owner', async () => {
    const token = await tokenOf();
    const answers = await Promise.all(
      [1, 2, 3, 4].map((at) => submit(token, { email: `user${at}@example.com` }, `192.0.2.${at}`)),
    );
    expect(answers.map(({ status }) => status).toSorted()).toEqual([303, 410, 410, 410]);
    expect(await database.sql`select 1 from users`).toHaveLength(1);
    expect(await database.sql`select 1 from organisations`).toHaveLength(1);
  });

  test('[AU10] the page says what is wrong with which field, and sends no password back', async () => {
    const token = await tokenOf();
    const answer = await submit(token, { name: '<b>', email: 'nonsense"', password: 'password123' });
    expect(answer.status).toBe(400);
    expect(answer.text).toContain('value="&#60;b&#62;"');
    expect(answer.text).toContain('value="nonsense&#34;"');
    expect(answer.text).toContain('id="email-note" class="fault"');
    expect(answer.text).toContain('id="password-note" class="fault"');
    expect(answer.text).not.toContain('password123');
    expect(await database.sql`select 1 from users`).toHaveLength(0);
    expect((await submit(token)).status).toBe(303);
  });

  test('[AU10] the page runs no scripts, is shown in no frame, and its form is taken from no other page', async () => {
    const token = await tokenOf();
    const page = await started.visit().send('GET', `/setup?token=${token}`);
    const policy = `${page.headers['content-security-policy']}`;
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toContain('unsafe');
    expect(page.headers).toMatchObject({ 'cache-control': 'no-store', 'referrer-policy': 'same-origin' });
    const foreign = await started.visit().send('POST', '/setup', {
      headers: { ...form, 'sec-fetch-site': 'cross-site' },
      body: new URLSearchParams({ token, ...owner }),
    });
    expect(foreign.status).toBe(403);
    expect(await database.sql`select 1 from users`).toHaveLength(0);
  });

  test('[AU9] the environment makes the first owner, once, however many programs start', async () => {
    await tokenOf();
    const made = await Promise.all([1, 2, 3].map(() => started.people.ensureFirstOwner(owner)));
    expect(made.filter((each) => each.ok && each.value)).toHaveLength(1);
    expect((await started.visit().signIn(owner.email, owner.password)).status).toBe(200);
    expect(await started.people.ensureFirstOwner({ ...owner, email: 'eve@example.com' })).toEqual({
      ok: true,
      value: false,
    });
    expect(await started.people.createSetupToken()).toBeUndefined();
    expect(await database.sql`select 1 from setup_link`).toHaveLength(0);
  });

  test('[AU9] the environment makes no owner whose password anybody would try', async () => {
    expect(await started.people.ensureFirstOwner({ ...owner, password: 'changeme' })).toMatchObject({ ok: false });
    expect(await database.sql`select 1 from users`).toHaveLength(0);
  });
});
