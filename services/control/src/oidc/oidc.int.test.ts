/** Signing in at an identity provider that speaks OpenID Connect over real HTTP. */
import { FakeClock } from '@starling/adapters/memory';
import { databaseOf } from '@starling/database/test-kit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Answer, type Browser, owner, type StartedPeople, startPeople } from '../people.test-kit.ts';
import { type Lies, type OidcServer, startOidcServer } from './oidc-server.test-kit.ts';
import type { OidcRules } from './user.ts';

const minute = 60_000;
const callback = 'http://starling.example/sign-in/oidc/callback';

describe('signing in elsewhere', () => {
  const database = databaseOf();
  let clock: FakeClock;
  let provider: OidcServer;
  let started: StartedPeople;
  const expected: unknown[] = [];
  const start = async (rules: Partial<OidcRules> = {}) => {
    await started?.close();
    const { issuer, clientId, clientSecret } = provider;
    const publicUrl = () => 'http://starling.example';
    const oidc = { issuer, clientId, clientSecret, allowedDomains: [], defaultRole: undefined, publicUrl, ...rules };
    started = await startPeople(database, { oidc, clock });
  };
  beforeEach(async () => {
    clock = new FakeClock();
    provider = await startOidcServer(clock, [callback]);
    await start();
  });
  afterEach(async () => {
    expect(started.problems).toEqual(expected.splice(0));
    await started.close();
    await provider.close();
  });

  /** To the provider, which sends the browser back at once. */
  const toProvider = async (browser: Browser, query = ''): Promise<string> => {
    const sent = await browser.send('GET', `/sign-in/oidc${query}`);
    expect(sent.status).toBe(302);
    const there = await fetch(`${sent.headers['location']}`, { redirect: 'manual' });
    expect(there.status, await there.text()).toBe(302);
    return there.headers.get('location') ?? '';
  };
  const back = (browser: Browser, location: string): Promise<Answer> => {
    const { pathname, search } = new URL(location);
    return browser.send('GET', pathname + search, { headers: { 'sec-fetch-site': 'cross-site' } });
  };
  const signIn = async (browser = started.visit(), query = '') => back(browser, await toProvider(browser, query));
  const usersAndLinks = async () => [
    (await database.sql`select 1 from users`).length,
    (await database.sql`select 1 from identities`).length,
  ];

  test('[AU15] [AU18] lets in whom the provider vouches for, and knows them by their subject from then on', async () => {
    await started.people.ensureFirstOwner(owner);
    const browser = started.visit();
    expect(await signIn(browser, '?returnTo=/apps/1')).toMatchObject({ status: 303, headers: { location: '/apps/1' } });
    expect((await browser.ask('GET', '/me')).json).toMatchObject({ email: owner.email, hasPassword: true });
    expect(browser.cookies.has('starling_oidc')).toBe(false);
    expect(provider.shown).toEqual(['client_secret_basic']);

    provider.account = { sub: 'subject-1', email: 'other@example.com', email_verified: true };
    const again = started.visit();
    expect(await signIn(again, '?returnTo=//evil.example')).toMatchObject({ status: 303, headers: { location: '/' } });
    expect((await again.ask('GET', '/me')).json).toMatchObject({ email: owner.email });
    expect(await usersAndLinks()).toEqual([1, 1]);
    expect((await started.visit().signIn(owner.email, owner.password)).status).toBe(200);
  });

  test.each<[string, Lies]>([
    ['for somebody else', { claims: { aud: 'another client' } }],
    ['for us and others, asked for by another', { claims: { aud: ['starling client', 'another'], azp: 'another' } }],
    ['for us, asked for by another', { claims: { azp: 'another' } }],
    ['from another issuer', { claims: { iss: 'https://evil.example' } }],
    ['with another nonce', { claims: { nonce: 'another' } }],
    ['without a nonce', { without: ['nonce'] }],
    ['without a subject', { without: ['sub'] }],
    ['without an end', { without: ['exp'] }],
    ['that is over', { claims: { exp: 1 } }],
    ['signed with a key that the provider does not show', { signedBy: 'stranger' }],
    ['signed with the client secret', { signedBy: 'client-secret' }],
    [
      'signed with the client secret, by a provider that does so',
      { signedBy: 'client-secret', discovery: { id_token_signing_alg_values_supported: ['HS256', 'ES256'] } },
    ],
    ['signed by nobody', { signedBy: 'nobody' }],
  ])('[AU15] takes no id token %s', async (_what, lies) => {
    await started.people.ensureFirstOwner(owner);
    provider.lies = lies;
    const browser = started.visit();
    expect((await signIn(browser)).status).toBe(401);
    expect((await browser.ask('GET', '/me')).status).toBe(401);
    expect(await usersAndLinks()).toEqual([1, 0]);
    provider.lies = {};
    expect((await signIn(browser)).status).toBe(303);
  });

  test('[AU15] takes an answer only in the browser that asked, in time, and once', async () => {
    await started.people.ensureFirstOwner(owner);
    const [asked, other] = [started.visit(), started.visit()];
    const location = await toProvider(asked);
    expect((await back(other, location)).status).toBe(401);
    // Another try of its own: the states differ.
    await toProvider(other);
    expect((await back(other, location)).status).toBe(401);
    expect((await back(asked, location)).status).toBe(303);
    expect((await back(asked, location)).status).toBe(401);

    const late = await toProvider(other);
    clock.advance(10 * minute);
    expect((await back(other, late)).status).toBe(401);
  });

  test('[AU15] a code is worth nothing without what only the browser has', async () => {
    await started.people.ensureFirstOwner(owner);
    const [victim, thief] = [started.visit(), started.visit()];
    const stolen = new URL(await toProvider(victim)).searchParams.get('code') ?? '';
    const own = new URL(await toProvider(thief));
    own.searchParams.set('code', stolen);
    expect((await back(thief, own.href)).status).toBe(401);
    expect((await thief.ask('GET', '/me')).status).toBe(401);
  });

  test.each<[string, Record<string, string>]>([
    ['that it refused', { error: 'access_denied' }],
    ['of another provider', { iss: 'https://evil.example' }],
    ['without a code', { code: '' }],
  ])('[AU15] takes no answer %s', async (_what, given) => {
    await started.people.ensureFirstOwner(owner);
    provider.lies = { callback: given };
    const answer = await signIn();
    expect(answer).toMatchObject({ status: 401, text: expect.stringContaining('You are not signed in') });
  });

  test('[AU23] sends browsers back to the public URL, whatever the request says its host is', async () => {
    for (const headers of [
      { host: 'evil.example' },
      { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https' },
    ]) {
      const { status, headers: answered } = await started.visit().send('GET', '/sign-in/oidc', { headers });
      expect(status).toBe(302);
      expect(new URL(`${answered['location']}`).searchParams.get('redirect_uri')).toBe(callback);
    }
  });

  test('[AU15] shows the secret as the provider wants it', async () => {
    await provider.close();
    provider = await startOidcServer(clock, [callback], ['client_secret_post']);
    await start();
    await started.people.ensureFirstOwner(owner);
    expect((await signIn()).status).toBe(303);
    expect(provider.shown).toEqual(['client_secret_post']);
  });

  test('[AU15] says so while the provider cannot be used, and goes on when it can', async () => {
    await started.people.ensureFirstOwner(owner);
    provider.lies = { discovery: { issuer: 'https://evil.example' } };
    expect((await started.visit().send('GET', '/sign-in/oidc')).status).toBe(503);
    provider.lies = { discovery: { token_endpoint: 7 } };
    expect((await started.visit().send('GET', '/sign-in/oidc')).status).toBe(503);
    provider.lies = { tokenStatus: 502 };
    expect((await signIn()).status).toBe(503);
    provider.lies = {};
    expect((await signIn()).status).toBe(303);
    const problem = { what: 'signing in elsewhere failed', err: expect.objectContaining({ code: 'unavailable' }) };
    expected.push(problem, problem, problem);
    for (const { err } of started.problems as { err: Error }[])
      expect(err.message).not.toContain(provider.clientSecret);
  });

  test('[AU15] reads no more than a bounded answer, and carries the code nowhere else', async () => {
    await started.people.ensureFirstOwner(owner);
    provider.lies = { discovery: { padding: 'x'.repeat(512 * 1024) } };
    expect((await started.visit().send('GET', '/sign-in/oidc')).status).toBe(503);
    provider.lies = { tokenStatus: 307 };
    expect((await signIn()).status).toBe(503);
    const causes = started.problems.map((problem) => `${((problem as { err: Error }).err.cause as Error).message}`);
    expect(causes).toEqual(['more than 524288 bytes', 'fetch failed']);
    const problem = { what: 'signing in elsewhere failed', err: expect.objectContaining({ code: 'unavailable' }) };
    expected.push(problem, problem);
  });

  test('[AU18] lets nobody in who is not known, unless the rules say what they are', async () => {
    provider.account = { sub: 'subject-2', email: 'eve@example.com', email_verified: true, name: 'Eve' };
    await start({ defaultRole: 'developer' });
    // Not even then, before there is an owner.
    expect((await signIn()).status).toBe(401);
    await started.people.ensureFirstOwner(owner);
    await start();
    await started.people.ensureFirstOwner(owner);
    expect(await signIn()).toMatchObject({ status: 401, text: expect.stringContaining('Nobody has invited you') });
    await start({ defaultRole: 'developer' });
    const eve = started.visit();
    expect((await signIn(eve)).status).toBe(303);
    expect((await eve.ask('GET', '/me')).json).toMatchObject({
      name: 'Eve',
      hasPassword: false,
      memberships: [{ organisationId: await started.organisationId(), role: 'developer' }],
    });
    // Who has no password yet proves by a fresh sign-in who is there.
    clock.advance(10 * minute);
    expect(await eve.ask('PUT', '/me/password', { body: { password: 'a new sentence' } })).toMatchObject({
      status: 403,
      code: 'sign_in_outdated',
    });
    expect(await eve.ask('POST', '/me/second-factor', { body: {} })).toMatchObject({ code: 'sign_in_outdated' });
    expect((await signIn(eve)).status).toBe(303);
    expect((await eve.ask('PUT', '/me/password', { body: { password: 'a new sentence' } })).status).toBe(204);
    expect((await started.visit().signIn('eve@example.com', 'a new sentence')).status).toBe(200);
  });

  test('[AU18] lets in who is invited, who then accepts', async () => {
    const ada = await started.visitOwner();
    const path = `/organisations/${await started.organisationId()}/invitations`;
    const { token } = (await ada.ask('POST', path, { body: { email: 'eve@example.com', role: 'viewer' } })).json;
    provider.account = { sub: 'subject-2', email: 'Eve@Example.com', email_verified: true };
    const eve = started.visit();
    expect((await signIn(eve)).status).toBe(303);
    expect((await eve.ask('GET', '/me')).json.memberships).toEqual([]);
    expect((await eve.ask('POST', '/invitations/accept', { body: { token } })).json).toMatchObject({ role: 'viewer' });
  });

  test('[AU18] believes an address only if the provider has verified it, and only of allowed domains', async () => {
    await started.people.ensureFirstOwner(owner);
    for (const email_verified of [false, 'false', undefined]) {
      provider.account = {
        sub: 'subject-3',
        email: owner.email,
        ...(email_verified === undefined ? {} : { email_verified }),
      };
      expect((await signIn()).status).toBe(401);
    }
    expect(await usersAndLinks()).toEqual([1, 0]);
    await start({ allowedDomains: ['example.org'], defaultRole: 'viewer' });
    for (const email of [owner.email, 'ada@sub.example.org', 'ada@evil-example.org', 'a@example.org@example.com']) {
      provider.account = { sub: 'subject-3', email, email_verified: true };
      expect((await signIn()).status).toBe(401);
    }
    provider.account = { sub: 'subject-3', email: 'ada@example.org', email_verified: true };
    expect((await signIn()).status).toBe(303);
  });

  test('[AU18] who took an address before it was proven loses it to whom the provider vouches for', async () => {
    const ada = await started.visitOwner();
    const squatter = await started.visitMember(ada, 'eve@example.com', 'viewer');
    const made = await squatter.ask('POST', '/me/access-tokens', { body: { label: 'ci', role: 'viewer' } });
    const headers = { authorization: `Bearer ${made.json.token}` };
    provider.account = { sub: 'subject-2', email: 'eve@example.com', email_verified: true };
    const eve = started.visit('198.51.100.1');
    expect((await signIn(eve)).status).toBe(303);
    expect((await eve.ask('GET', '/me')).json).toMatchObject({ id: squatter.userId, hasPassword: false });
    expect((await squatter.ask('GET', '/me')).status).toBe(401);
    expect((await started.visit().ask('GET', '/me', { headers })).status).toBe(401);
    expect((await squatter.signIn('eve@example.com', 'another sentence')).status).toBe(401);
  });

  test('[AU22] whom the provider vouches for gets what organisations gave to the address, and all who took it lose it', async () => {
    const ada = await started.visitOwner();
    const first = await started.visitMember(ada, 'eve@example.com', 'viewer');
    await database.sql`insert into organisations (id, name) values ('org_theirs', 'Theirs')`;
    await database.sql`update memberships set organisation_id = 'org_theirs' where user_id = ${first.userId}`;
    const second = await started.visitMember(ada, 'eve@example.com', 'developer');
    await database.sql`
      insert into memberships (organisation_id, user_id, role, created_at)
      values ('org_theirs', ${second.userId}, 'admin', now())`;
    provider.account = { sub: 'subject-2', email: 'eve@example.com', email_verified: true };
    const eve = started.visit('198.51.100.1');
    expect((await signIn(eve)).status).toBe(303);
    const me = (await eve.ask('GET', '/me')).json;
    expect(me).toMatchObject({ id: first.userId, hasPassword: false, hasProvenEmail: true });
    const held = me.memberships.map(({ organisationId, role }: Record<string, string>) => [organisationId, role]);
    expect(new Map(held)).toEqual(
      new Map([
        [await started.organisationId(), 'developer'],
        ['org_theirs', 'admin'],
      ]),
    );
    for (const squatter of [first, second]) {
      expect((await squatter.ask('GET', '/me')).status).toBe(401);
      expect((await squatter.signIn('eve@example.com', 'another sentence')).status).toBe(401);
    }
    expect(await usersAndLinks()).toEqual([2, 1]);
  });

  test('[AU32] who runs the installation still does when their accounts become one, also as the last', async () => {
    const ada = await started.visitOwner();
    const first = await started.visitMember(ada, 'eve@example.com', 'viewer');
    await database.sql`insert into organisations (id, name) values ('org_theirs', 'Theirs')`;
    await database.sql`update memberships set organisation_id = 'org_theirs' where user_id = ${first.userId}`;
    const second = await started.visitMember(ada, 'eve@example.com', 'developer');
    await database.sql`update operators set user_id = ${second.userId}`;
    provider.account = { sub: 'subject-2', email: 'eve@example.com', email_verified: true };
    const eve = started.visit('198.51.100.1');
    expect((await signIn(eve)).status).toBe(303);
    expect((await eve.ask('GET', '/me')).json.id).toBe(first.userId);
    expect(await database.sql`select user_id from operators`).toEqual([{ user_id: first.userId }]);
    expect(await usersAndLinks()).toEqual([2, 1]);
    const told = await database.sql`
      select organisation_id, actor, target, details from audit_entries where action = 'moveOperator'`;
    expect(told).toMatchObject([
      {
        organisation_id: null,
        actor: { kind: 'system' },
        target: `user:${first.userId}`,
        details: { from: second.userId },
      },
    ]);
  });

  test('[AU22] of two whom the provider gives one address, both are the one who has it', async () => {
    await started.people.ensureFirstOwner(owner);
    await start({ defaultRole: 'viewer' });
    const browsers = [1, 2, 3].map((at) => started.visit(`192.0.2.${at}`));
    const locations: string[] = [];
    for (const [at, browser] of browsers.entries()) {
      provider.account = { sub: `subject-${at}`, email: 'eve@example.com', email_verified: true };
      locations.push(await toProvider(browser));
    }
    const answers = await Promise.all(browsers.map((browser, at) => back(browser, locations[at] ?? '')));
    expect(answers.map(({ status }) => status)).toEqual([303, 303, 303]);
    expect(await usersAndLinks()).toEqual([2, 3]);
  });

  test('[AU18] who comes in by two tabs is one user', async () => {
    await started.people.ensureFirstOwner(owner);
    await start({ defaultRole: 'viewer' });
    provider.account = { sub: 'subject-2', email: 'eve@example.com', email_verified: true };
    const browsers = [1, 2, 3].map((at) => started.visit(`192.0.2.${at}`));
    const answers = await Promise.all(browsers.map((browser) => signIn(browser)));
    expect(answers.map(({ status }) => status)).toEqual([303, 303, 303]);
    expect(await usersAndLinks()).toEqual([2, 1]);
  });
});
