/** Members, invitations and access tokens: who may do what to whom. */
import { databaseOf } from '@starling/database/test-kit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Browser, owner, type StartedPeople, startPeople } from '../people.test-kit.ts';
import { deleteMember } from './membership.ts';

const [minute, day] = [60_000, 24 * 3_600_000];

describe('members', () => {
  const database = databaseOf();
  let started: StartedPeople;
  let ada: Browser;
  let ours: string;
  let adaId: string;
  beforeEach(async () => {
    started = await startPeople(database);
    ada = await started.visitOwner();
    ours = `/organisations/${await started.organisationId()}`;
    adaId = (await ada.ask('GET', '/me')).json.id;
  });
  afterEach(async () => {
    expect(started.problems).toEqual([]);
    await started.close();
  });
  const invite = async (email: string, role: string, by = ada) =>
    by.ask('POST', `${ours}/invitations`, { body: { email, role } });
  const accept = (browser: Browser, body: object) => browser.ask('POST', '/invitations/accept', { body });
  /** The owner of another organisation. */
  const stranger = async (): Promise<Browser> => {
    const browser = await started.visitMember(ada, 'mallory@example.com', 'viewer');
    await database.sql`insert into organisations (id, name) values ('org_theirs', 'Theirs')`;
    await database.sql`update memberships set organisation_id = 'org_theirs', role = 'owner' where user_id = ${browser.userId}`;
    return browser;
  };

  test('[AU13] an invitation is accepted once, by a new user who then is signed in', async () => {
    const made = await invite(' Eve@Example.com ', 'developer');
    expect(made).toMatchObject({ status: 201, json: { invitation: { email: 'eve@example.com', role: 'developer' } } });
    const { token } = made.json;
    const eve = started.visit();
    expect(await eve.ask('POST', '/invitations/read', { body: { token } })).toMatchObject({
      status: 200,
      json: { email: 'eve@example.com', role: 'developer', hasUser: false },
    });
    expect(await accept(eve, { token })).toMatchObject({ status: 400, code: 'fields_invalid' });
    expect(await accept(eve, { token, name: 'Eve', password: 'short' })).toMatchObject({ code: 'password_weak' });
    expect(await accept(eve, { token, name: 'Eve', password: 'another sentence' })).toMatchObject({ status: 200 });
    expect((await eve.ask('GET', '/me')).json).toMatchObject({ name: 'Eve', memberships: [{ role: 'developer' }] });
    for (const path of ['read', 'accept']) {
      const body = { token, ...(path === 'accept' ? { name: 'Eve', password: 'another sentence' } : {}) };
      expect(await started.visit().ask('POST', `/invitations/${path}`, { body })).toMatchObject({
        status: 410,
        code: 'link_spent',
      });
    }
    expect((await ada.ask('GET', `${ours}/invitations`)).json.items).toEqual([]);
    expect((await ada.ask('GET', `${ours}/members`)).json.items).toMatchObject([
      { email: owner.email, role: 'owner' },
      { email: 'eve@example.com', role: 'developer', hasSecondFactor: false },
    ]);
  });

  test('[AU13] of two who accept one invitation at the same moment, one is let in', async () => {
    const { token } = (await invite('eve@example.com', 'viewer')).json;
    const answers = await Promise.all(
      [1, 2, 3].map((at) =>
        accept(started.visit(`192.0.2.${at}`), { token, name: 'Eve', password: 'another sentence' }),
      ),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(await database.sql`select 1 from users where email = 'eve@example.com'`).toHaveLength(1);
  });

  test('[AU13] a user there is accepts signed in, as the one who was invited', async () => {
    const eve = await started.visitMember(ada, 'eve@example.com', 'viewer');
    expect(await invite('eve@example.com', 'admin')).toMatchObject({ status: 409, code: 'state_conflict' });
    await eve.ask('DELETE', `${ours}/members/${eve.userId}`);
    const { token } = (await invite('eve@example.com', 'admin')).json;
    expect(await accept(ada, { token })).toMatchObject({ status: 403, code: 'invitation_of_other' });
    expect((await accept(eve, { token })).json).toMatchObject({ role: 'admin' });
    expect((await eve.ask('GET', '/me')).json.memberships).toMatchObject([{ role: 'admin' }]);
  });

  test('[AU13] an invitation ends by time, by being taken back, and by a newer one', async () => {
    const old = (await invite('eve@example.com', 'viewer')).json;
    const newer = (await invite('eve@example.com', 'developer')).json;
    const read = (token: string) => started.visit().ask('POST', '/invitations/read', { body: { token } });
    expect((await read(old.token)).status).toBe(410);
    expect((await read(newer.token)).status).toBe(200);
    expect((await ada.ask('DELETE', `${ours}/invitations/${newer.invitation.id}`)).status).toBe(204);
    expect((await ada.ask('DELETE', `${ours}/invitations/${newer.invitation.id}`)).status).toBe(404);
    expect((await read(newer.token)).status).toBe(410);
    const last = (await invite('eve@example.com', 'viewer')).json;
    started.clock.advance(7 * day);
    expect((await read(last.token)).status).toBe(410);
  });

  test('[AU22] who invites an address and accepts by itself keeps nobody from it', async () => {
    const mallory = await stranger();
    const squat = await mallory.ask('POST', '/organisations/org_theirs/invitations', {
      body: { email: 'victim@example.com', role: 'viewer' },
    });
    const squatter = started.visit('198.51.100.1');
    const squatted = { token: squat.json.token, name: 'Not Victim', password: 'the sentence of a squatter' };
    expect((await accept(squatter, squatted)).status).toBe(200);

    const { token } = (await invite('victim@example.com', 'admin')).json;
    const victim = started.visit('198.51.100.2');
    expect((await victim.ask('POST', '/invitations/read', { body: { token } })).json).toMatchObject({ hasUser: false });
    expect(await accept(victim, { token, name: 'Victim', password: 'another sentence' })).toMatchObject({
      status: 200,
      json: { role: 'admin' },
    });
    // The invitation of one organisation has made the other's account nothing.
    expect((await squatter.ask('GET', '/me')).json).toMatchObject({
      hasProvenEmail: false,
      memberships: [{ organisationId: 'org_theirs', role: 'viewer' }],
    });
    expect(await squatter.ask('GET', `${ours}/members`)).toMatchObject({ status: 404 });
    expect(await accept(squatter, { token })).toMatchObject({ status: 410 });
    // Each signs in with the address and their own password.
    const where = async (password: string) => {
      const browser = started.visit('198.51.100.3');
      const answer = await browser.signIn('victim@example.com', password);
      return answer.json.memberships?.map(({ organisationId }: { organisationId: string }) => organisationId);
    };
    expect(await where('another sentence')).toEqual([await started.organisationId()]);
    expect(await where('the sentence of a squatter')).toEqual(['org_theirs']);
    expect((await ada.ask('GET', `${ours}/members`)).json.items).toMatchObject([
      { email: owner.email, hasProvenEmail: true },
      { email: 'victim@example.com', name: 'Victim', hasProvenEmail: false },
    ]);
  });

  test('[AU22] however many accounts others make for an address, members of an organisation sign in by naming it', async () => {
    const mallory = await stranger();
    for (let at = 0; at < 6; at++) {
      const path = '/organisations/org_theirs/invitations';
      const made = await mallory.ask('POST', path, { body: { email: 'victim@example.com', role: 'viewer' } });
      const squatter = started.visit(`198.51.100.${at}`);
      await accept(squatter, { token: made.json.token, name: 'Not Victim', password: `sentence number ${at}` });
      const { id } = (await squatter.ask('GET', '/me')).json;
      expect((await mallory.ask('DELETE', `/organisations/org_theirs/members/${id}`)).status).toBe(204);
    }
    const { token } = (await invite('victim@example.com', 'admin')).json;
    const victim = started.visit('198.51.100.20');
    expect((await accept(victim, { token, name: 'Victim', password: 'another sentence' })).status).toBe(200);
    const signIn = (browser: Browser, over: object = {}) =>
      browser.ask('POST', '/sign-in', {
        body: { email: 'victim@example.com', password: 'another sentence', ...over },
      });
    const organisationId = await started.organisationId();
    expect((await signIn(started.visit('198.51.100.21'), { organisationId })).status).toBe(200);
    expect((await signIn(started.visit('198.51.100.21'), { organisationId: 'org_theirs' })).status).toBe(401);
    // The browser in which they accepted knows which account is meant.
    await victim.ask('POST', '/sign-out');
    expect((await signIn(victim)).status).toBe(200);
  });

  test('[AU22] an address that is proven has one account, which alone accepts what is for it', async () => {
    const mallory = await stranger();
    const made = await mallory.ask('POST', '/organisations/org_theirs/invitations', {
      body: { email: owner.email, role: 'viewer' },
    });
    const { token } = made.json;
    expect((await started.visit().ask('POST', '/invitations/read', { body: { token } })).json.hasUser).toBe(true);
    expect(await accept(started.visit(), { token, name: 'Ada', password: 'another sentence' })).toMatchObject({
      status: 409,
      code: 'email_taken',
    });
    expect((await accept(ada, { token })).status).toBe(200);
    expect(await database.sql`select 1 from users where email = ${owner.email}`).toHaveLength(1);
  });

  test('[AU14] nobody gives or takes a role above their own', async () => {
    const admin = await started.visitMember(ada, 'admin@example.com', 'admin');
    const viewer = await started.visitMember(ada, 'viewer@example.com', 'viewer');
    const role = (by: Browser, userId: string, to: string) =>
      by.ask('PATCH', `${ours}/members/${userId}`, { body: { role: to } });
    expect(await invite('x@example.com', 'owner', admin)).toMatchObject({ status: 403, code: 'role_too_low' });
    expect(await role(admin, viewer.userId, 'owner')).toMatchObject({ status: 403, code: 'role_too_low' });
    expect(await role(admin, adaId, 'viewer')).toMatchObject({ status: 403, code: 'role_too_low' });
    expect(await admin.ask('DELETE', `${ours}/members/${adaId}`)).toMatchObject({ status: 403 });
    expect(await role(admin, viewer.userId, 'developer')).toMatchObject({ status: 200, json: { role: 'developer' } });
    expect(await viewer.ask('DELETE', `${ours}/members/${admin.userId}`)).toMatchObject({ status: 403 });
    expect(await role(viewer, viewer.userId, 'admin')).toMatchObject({ status: 403 });
    expect(await invite('x@example.com', 'viewer', viewer)).toMatchObject({ status: 403 });
    expect(await role(admin, viewer.userId, 'king')).toMatchObject({ status: 400, code: 'fields_invalid' });
    expect((await viewer.ask('DELETE', `${ours}/members/${viewer.userId}`)).status).toBe(204);
    // At once: the roles are read with every request.
    expect((await viewer.ask('GET', `${ours}/members`)).status).toBe(404);
  });

  test('[AU14] the last owner stays one, also when all leave at the same moment', async () => {
    const leave = (browser: Browser, id: string) => browser.ask('DELETE', `${ours}/members/${id}`);
    expect(await leave(ada, adaId)).toMatchObject({ status: 409, code: 'last_owner' });
    expect(await ada.ask('PATCH', `${ours}/members/${adaId}`, { body: { role: 'admin' } })).toMatchObject({
      status: 409,
      code: 'last_owner',
    });
    const owners: [Browser, string][] = [[ada, adaId]];
    for (const name of ['b', 'c', 'd']) {
      const browser = await started.visitMember(ada, `${name}@example.com`, 'owner');
      owners.push([browser, browser.userId]);
    }
    // Connections that have to be opened first would let one after the other go.
    await Promise.all(Array.from({ length: 10 }, () => database.sql`select pg_sleep(0.1)`));
    const answers = await Promise.all(owners.map(([browser, id]) => leave(browser, id)));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([204, 204, 204, 409]);
    expect(await database.sql`select 1 from memberships where role = 'owner'`).toHaveLength(1);
  });

  test('[AU14] an owner who leaves while another is leaving is told how that ended', async () => {
    const bea = await started.visitMember(ada, 'bea@example.com', 'owner');
    const organisationId = await started.organisationId();
    const elsewhere = await database.openAnother();
    const second = await database.tx(async (sql) => {
      const first = await deleteMember({ database }, { organisationId, userId: adaId, by: 'oneself' });
      expect(first).toEqual({ ok: true, value: { from: 'owner' } });
      const leaving = deleteMember({ database: elsewhere }, { organisationId, userId: bea.userId, by: 'oneself' });
      // Time enough for who does not wait.
      await sql`select pg_sleep(0.3)`;
      return { leaving };
    });
    expect(await second.leaving).toMatchObject({ ok: false, refusal: { code: 'last_owner' } });
  });

  test('[AU14] members come a page at a time', async () => {
    for (const name of ['b', 'c', 'd']) await started.visitMember(ada, `${name}@example.com`, 'viewer');
    const emails: string[] = [];
    for (let cursor = ''; ; ) {
      const { json } = await ada.ask('GET', `${ours}/members?limit=2${cursor}`);
      emails.push(...json.items.map(({ email }: { email: string }) => email));
      if (json.nextCursor === null) break;
      cursor = `&cursor=${json.nextCursor}`;
    }
    expect(emails).toEqual([owner.email, 'b@example.com', 'c@example.com', 'd@example.com']);
    expect(await ada.ask('GET', `${ours}/members?cursor=nonsense`)).toMatchObject({ status: 400 });
  });

  test('[AU14] to those of another organisation this one does not exist, and nor do its people', async () => {
    const mallory = await stranger();
    const made = (await invite('eve@example.com', 'viewer')).json.invitation.id;
    const asked: [string, string, object?][] = [
      ['GET', `${ours}/members`],
      ['PATCH', `${ours}/members/${adaId}`, { role: 'viewer' }],
      ['DELETE', `${ours}/members/${adaId}`],
      ['GET', `${ours}/invitations`],
      ['POST', `${ours}/invitations`, { email: 'x@example.com', role: 'viewer' }],
      ['DELETE', `${ours}/invitations/${made}`],
      ['PATCH', `/organisations/org_theirs/members/${adaId}`, { role: 'viewer' }],
      ['DELETE', `/organisations/org_theirs/members/${adaId}`],
      ['DELETE', `/organisations/org_theirs/invitations/${made}`],
    ];
    for (const [method, path, body] of asked) {
      expect(await mallory.ask(method, path, { body })).toMatchObject({ status: 404, code: 'resource_unknown' });
      expect(await started.visit().ask(method, path, { body })).toMatchObject({ status: 401 });
    }
    expect((await ada.ask('GET', `${ours}/invitations`)).json.items).toHaveLength(1);
  });

  const tokenOf = async (browser: Browser, body: object) => {
    const made = await browser.ask('POST', '/me/access-tokens', { body: { label: 'ci', role: 'owner', ...body } });
    expect(made).toMatchObject({ status: 201, json: { token: expect.stringMatching(/^sta_[\w-]{43}$/) } });
    return made.json as { readonly token: string; readonly accessToken: { readonly id: string } };
  };
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

  test('[AU11] an access token does what its user may, and no more than it was made for', async () => {
    await database.sql`insert into organisations (id, name) values ('org_other', 'Other')`;
    await database.sql`
      insert into memberships (organisation_id, user_id, role, created_at) values ('org_other', ${adaId}, 'owner', now())`;
    const program = started.visit();
    const ask = (token: string, path: string, method = 'GET', body?: object) =>
      program.ask(method, path, { headers: bearer(token), body });
    const { token: viewer } = await tokenOf(ada, { role: 'viewer' });
    expect((await ask(viewer, `${ours}/members`)).status).toBe(200);
    expect((await ask(viewer, '/organisations/org_other/members')).status).toBe(200);
    expect(await ask(viewer, `${ours}/invitations`)).toMatchObject({ status: 403, code: 'role_too_low' });

    const { token: single } = await tokenOf(ada, { organisationId: 'org_other' });
    expect((await ask(single, '/organisations/org_other/invitations')).status).toBe(200);
    expect((await ask(single, `${ours}/members`)).status).toBe(404);

    // It falls with its user.
    const eve = await started.visitMember(ada, 'eve@example.com', 'admin');
    const { token: eves } = await tokenOf(eve, {});
    expect((await ask(eves, `${ours}/invitations`)).status).toBe(200);
    await ada.ask('PATCH', `${ours}/members/${eve.userId}`, { body: { role: 'viewer' } });
    expect((await ask(eves, `${ours}/invitations`)).status).toBe(403);
    await ada.ask('DELETE', `${ours}/members/${eve.userId}`);
    expect((await ask(eves, `${ours}/members`)).status).toBe(404);
  });

  test('[AU11] an access token ends by time and by being revoked, and says when it was used', async () => {
    const expiresAt = new Date(started.clock.now() + day).toISOString();
    const short = await tokenOf(ada, { expiresAt });
    const long = await tokenOf(ada, {});
    const status = async (token: string) =>
      (await started.visit().ask('GET', '/me', { headers: bearer(token) })).status;
    expect((await ada.ask('GET', '/me/access-tokens')).json.items).toMatchObject([
      { lastUsedAt: null },
      { lastUsedAt: null },
    ]);
    expect([await status(short.token), await status(long.token)]).toEqual([200, 200]);
    started.clock.advance(10 * minute);
    const { items } = (await ada.ask('GET', '/me/access-tokens')).json;
    for (const { lastUsedAt } of items) expect(Date.parse(lastUsedAt)).toBeLessThan(started.clock.now() - 9 * minute);
    started.clock.advance(day);
    expect([await status(short.token), await status(long.token)]).toEqual([401, 200]);
    expect((await ada.ask('DELETE', `/me/access-tokens/${long.accessToken.id}`)).status).toBe(204);
    expect((await ada.ask('DELETE', `/me/access-tokens/${long.accessToken.id}`)).status).toBe(404);
    expect(await status(long.token)).toBe(401);
    const past = new Date(started.clock.now()).toISOString();
    expect(
      await ada.ask('POST', '/me/access-tokens', { body: { label: 'ci', role: 'viewer', expiresAt: past } }),
    ).toMatchObject({ status: 400 });
  });

  test('[AU12] a token decides nothing about its user, and a wrong one is not made good by a cookie', async () => {
    const { token, accessToken } = await tokenOf(ada, {});
    const asked: [string, string, object?][] = [
      ['POST', '/sign-out'],
      ['PATCH', '/me', { name: 'Eve' }],
      ['PUT', '/me/password', { current: owner.password, password: 'a new sentence' }],
      ['DELETE', '/me/sessions'],
      ['DELETE', '/me/sessions/any'],
      ['POST', '/me/second-factor', { password: owner.password }],
      ['PUT', '/me/second-factor', { code: '000000' }],
      ['POST', '/me/second-factor/remove', { password: owner.password }],
      ['POST', '/me/second-factor/recovery-codes', { password: owner.password }],
      ['POST', '/me/access-tokens', { label: 'ci', role: 'owner' }],
      ['DELETE', `/me/access-tokens/${accessToken.id}`],
    ];
    for (const [method, path, body] of asked) {
      expect(await started.visit().ask(method, path, { headers: bearer(token), body })).toMatchObject({
        status: 403,
        code: 'session_needed',
      });
      expect(await started.visit().ask(method, path, { body })).toMatchObject({ status: 401 });
    }
    for (const authorization of ['Bearer sta_wrong', `Bearer ${token}x`, `Basic ${token}`, 'Bearer', token]) {
      expect((await ada.ask('GET', '/me', { headers: { authorization } })).status).toBe(401);
    }
    expect((await ada.ask('GET', '/me')).status).toBe(200);
  });

  test('[AU12] a token sees of its user only what it reaches', async () => {
    await database.sql`insert into organisations (id, name) values ('org_other', 'Other')`;
    await database.sql`
      insert into memberships (organisation_id, user_id, role, created_at) values ('org_other', ${adaId}, 'owner', now())`;
    const { token: single } = await tokenOf(ada, { organisationId: 'org_other', role: 'developer' });
    const { token: wide } = await tokenOf(ada, { role: 'viewer' });
    const ask = (path: string, token: string) => started.visit().ask('GET', path, { headers: bearer(token) });
    expect((await ask('/me', single)).json.memberships).toEqual([
      { organisationId: 'org_other', organisationName: 'Other', role: 'developer' },
    ]);
    expect((await ask('/me', wide)).json.memberships).toMatchObject([{ role: 'viewer' }, { role: 'viewer' }]);
    expect((await ada.ask('GET', '/me')).json.memberships).toMatchObject([{ role: 'owner' }, { role: 'owner' }]);
    for (const token of [single, wide]) {
      for (const path of ['/me/sessions', '/me/access-tokens']) {
        expect(await ask(path, token)).toMatchObject({ status: 403, code: 'session_needed' });
      }
    }
    expect((await ask('/organisations', wide)).status).toBe(404);
  });

  test("[AU12] nobody sees or ends another's tokens, or makes one for an organisation that is not theirs", async () => {
    const { accessToken } = await tokenOf(ada, {});
    const mallory = await stranger();
    expect((await mallory.ask('GET', '/me/access-tokens')).json.items).toEqual([]);
    expect((await mallory.ask('DELETE', `/me/access-tokens/${accessToken.id}`)).status).toBe(404);
    const body = { label: 'ci', role: 'viewer', organisationId: await started.organisationId() };
    expect((await mallory.ask('POST', '/me/access-tokens', { body })).status).toBe(404);
  });

  describe('an Idempotency-Key', () => {
    const once = { 'idempotency-key': 'once' };
    const body = { label: 'ci', role: 'owner' };

    test('[AD13] gives no answer of a session to a token of the same user, nor of one token to another', async () => {
      const first = await ada.ask('POST', '/me/access-tokens', { body, headers: once });
      expect(first).toMatchObject({ status: 201, json: { token: expect.stringMatching(/^sta_/), wasShown: false } });
      const { token: viewer } = await tokenOf(ada, { role: 'viewer' });
      const repeated = await started.visit().ask('POST', '/me/access-tokens', {
        body,
        headers: { ...once, ...bearer(viewer) },
      });
      expect(repeated).toMatchObject({ status: 403, code: 'session_needed' });

      const [one, other] = [await tokenOf(ada, { role: 'admin' }), await tokenOf(ada, { role: 'admin' })];
      const inviteBy = (token: string) =>
        started.visit().ask('POST', `${ours}/invitations`, {
          body: { email: 'eve@example.com', role: 'viewer' },
          headers: { ...once, ...bearer(token) },
        });
      const made = await inviteBy(one.token);
      const again = await inviteBy(one.token);
      expect(again.json.invitation).toEqual(made.json.invitation);
      const elsewhere = await inviteBy(other.token);
      expect(elsewhere).toMatchObject({ status: 201, json: { wasShown: false } });
      expect(elsewhere.json.invitation.id).not.toBe(made.json.invitation.id);
    });

    test('[AD13] another session of the same user asks anew', async () => {
      const first = await ada.ask('POST', '/me/access-tokens', { body, headers: once });
      const elsewhere = await started.visitOwner();
      const second = await elsewhere.ask('POST', '/me/access-tokens', { body, headers: once });
      expect(second).toMatchObject({ status: 201, json: { wasShown: false } });
      expect(second.json.accessToken.id).not.toBe(first.json.accessToken.id);
    });

    test('[AD13] is judged by what the principal may do now, not by what it once did', async () => {
      const eve = await started.visitMember(ada, 'eve@example.com', 'owner');
      const inviteOwner = () =>
        eve.ask('POST', `${ours}/invitations`, { body: { email: 'x@example.com', role: 'owner' }, headers: once });
      expect((await inviteOwner()).status).toBe(201);
      await ada.ask('PATCH', `${ours}/members/${eve.userId}`, { body: { role: 'admin' } });
      expect(await inviteOwner()).toMatchObject({ status: 403, code: 'role_too_low' });
      await ada.ask('PATCH', `${ours}/members/${eve.userId}`, { body: { role: 'viewer' } });
      expect(await inviteOwner()).toMatchObject({ status: 403, code: 'role_too_low' });
      await ada.ask('DELETE', `${ours}/members/${eve.userId}`);
      expect(await inviteOwner()).toMatchObject({ status: 404 });
    });
  });
});
