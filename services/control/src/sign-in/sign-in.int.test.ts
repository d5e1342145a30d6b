/** Signing in and out, sessions, passwords, the second factor: through the doors that browsers use. */
import { databaseOf } from '@starling/database/test-kit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { owner, type StartedPeople, startPeople } from '../people.test-kit.ts';
import { codeOf, stepAt } from '../second-factor/totp.ts';
import { pruneSessions } from '../sessions/index.ts';

const [second, minute, hour, day] = [1_000, 60_000, 3_600_000, 24 * 3_600_000];

describe('signing in', () => {
  const database = databaseOf();
  let started: StartedPeople;
  beforeEach(async () => {
    started = await startPeople(database);
    await started.people.ensureFirstOwner(owner);
  });
  afterEach(async () => {
    expect(started.problems).toEqual([]);
    await started.close();
  });

  test('[AU1] [AU4] gives a session cookie that scripts and other sites cannot use', async () => {
    const browser = started.visit();
    expect(await browser.ask('GET', '/me')).toMatchObject({ status: 401, code: 'request_unauthenticated' });
    const answer = await browser.signIn(' ADA@example.com ', owner.password);
    expect(answer).toMatchObject({
      status: 200,
      json: {
        email: owner.email,
        name: owner.name,
        hasPassword: true,
        hasSecondFactor: false,
        memberships: [{ organisationId: await started.organisationId(), role: 'owner' }],
      },
    });
    const cookies = [answer.headers['set-cookie']].flat();
    expect(cookies).toHaveLength(2);
    for (const cookie of cookies)
      expect(cookie).toMatch(/^starling_\w+=[^;]+; Max-Age=\d+; Path=\/; HttpOnly; SameSite=Lax$/);
    expect(await browser.ask('GET', '/me')).toMatchObject({ status: 200, json: { email: owner.email } });

    const secure = started.visit();
    secure.isSecure = true;
    const overTls = await secure.signIn(owner.email, owner.password);
    for (const cookie of [overTls.headers['set-cookie']].flat()) {
      expect(cookie).toMatch(/^__Host-starling_\w+=[^;]+; Max-Age=\d+; Path=\/; HttpOnly; Secure; SameSite=Lax$/);
    }
    expect((await secure.ask('GET', '/me')).status).toBe(200);
  });

  test('[AU2] says the same of a wrong password and of an unknown address', async () => {
    const wrong = await started.visit().signIn(owner.email, 'not the sentence');
    const unknown = await started.visit('192.0.2.2').signIn('nobody@example.com', owner.password);
    const odd = await started.visit('192.0.2.3').signIn('no address', owner.password);
    expect(wrong).toMatchObject({ status: 401, code: 'sign_in_wrong' });
    for (const other of [unknown, odd]) expect({ ...other, headers: {} }).toEqual({ ...wrong, headers: {} });
    expect(await started.visit().ask('POST', '/sign-in', { body: { email: 1 } })).toMatchObject({
      status: 400,
      code: 'fields_invalid',
    });
  });

  test('[AU3] slows down who guesses, and neither the user elsewhere nor a browser that was here before', async () => {
    const known = started.visit('192.0.2.9');
    await known.signIn(owner.email, owner.password);
    await known.ask('POST', '/sign-out');

    const guesser = started.visit('192.0.2.9');
    for (let tries = 0; tries < 6; tries++) {
      expect(await guesser.signIn(owner.email, `guess ${tries}`)).toMatchObject({ status: 401 });
    }
    for (let tries = 0; tries < 3; tries++) {
      started.clock.advance(20 * second);
      expect(await guesser.signIn(owner.email, 'guess more')).toMatchObject({ status: 401 });
    }
    const waits: number[] = [];
    for (let tries = 0; tries < 4; tries++) {
      const refused = await guesser.signIn(owner.email, 'guess more');
      expect(refused).toMatchObject({ status: 429, code: 'rate_limited' });
      // Being right does not help meanwhile: otherwise a guesser need not wait.
      expect(await guesser.signIn(owner.email, owner.password)).toMatchObject({ status: 429 });
      waits.push(Number(refused.headers['retry-after']));
      started.clock.advance(Number(refused.headers['retry-after']) * second);
      expect(await guesser.signIn(owner.email, 'guess more')).toMatchObject({ status: 401 });
    }
    for (const [at, wait] of waits.entries()) if (at > 0) expect(wait).toBeGreaterThan(waits[at - 1] ?? 0);

    expect(await started.visit('198.51.100.1').signIn(owner.email, owner.password)).toMatchObject({ status: 200 });
    expect(await known.signIn(owner.email, owner.password)).toMatchObject({ status: 200 });
    // In time, everything is forgotten.
    started.clock.advance(day + hour);
    expect(await guesser.signIn(owner.email, owner.password)).toMatchObject({ status: 200 });
  });

  test('[AU3] counts tries that come at once, and takes only some each second from an address', async () => {
    const { clock } = started;
    const answers = await Promise.all(
      Array.from({ length: 20 }, () =>
        started.server.inject({
          method: 'POST',
          url: '/api/v1/sign-in',
          payload: { email: owner.email, password: 'guess' },
          remoteAddress: '203.0.113.5',
        }),
      ),
    );
    const heard = answers.filter(({ statusCode }) => statusCode === 401).length;
    expect(heard).toBeLessThanOrEqual(5);
    expect(answers.filter(({ statusCode }) => statusCode === 429).length).toBe(20 - heard);
    clock.advance(minute);
    await started.people.ensureFirstOwner(owner);
  });

  test('[AU19] an account is not guessed from many places, and a browser that was here before passes', async () => {
    const known = await started.visitOwner();
    const guess = (at: number, email: string = owner.email) =>
      started.visit(`198.51.${at >> 8}.${at & 255}`).signIn(email, `guess ${at}`);
    const statuses: number[] = [];
    for (let at = 0; at < 110; at++) statuses.push((await guess(at)).status);
    // Where nobody has tried before neither, and being right does not help.
    expect(statuses).toEqual([...Array.from({ length: 100 }, () => 401), ...Array.from({ length: 10 }, () => 429)]);
    expect(await started.visit('203.0.113.1').signIn(owner.email, owner.password)).toMatchObject({
      status: 429,
      code: 'rate_limited',
    });
    expect(await guess(200, 'somebody.else@example.com')).toMatchObject({ status: 401 });
    await known.ask('POST', '/sign-out');
    known.address = '203.0.113.2';
    expect(await known.signIn(owner.email, owner.password)).toMatchObject({ status: 200 });
    // It comes back slowly, for all of these places together.
    started.clock.advance(10 * minute);
    expect((await guess(201)).status).toBe(401);
    expect((await guess(202)).status).toBe(429);
  });

  test('[AU19] a place that tries many accounts is refused, without using up what is theirs', async () => {
    const statuses: number[] = [];
    for (let at = 0; at < 105; at++) {
      statuses.push((await started.visit('203.0.113.9').signIn(`user${at}@example.com`, 'a guess')).status);
    }
    expect(statuses.indexOf(429)).toBeGreaterThanOrEqual(100);
    expect(statuses.at(-1)).toBe(429);
    for (let at = 0; at < 20; at++) await started.visit('203.0.113.9').signIn(owner.email, 'a guess');
    for (let at = 0; at < 3; at++) {
      const answer = await started.visit(`198.51.100.${at}`).signIn(owner.email, owner.password);
      expect(answer.status).toBe(200);
    }
  });

  test('[AU19] IPv6 addresses of one customer are one place', async () => {
    const statuses: number[] = [];
    for (let at = 1; at <= 8; at++) {
      statuses.push((await started.visit(`2001:db8:1:2::${at}`).signIn(owner.email, 'a guess')).status);
    }
    expect(statuses.slice(0, 5)).toEqual([401, 401, 401, 401, 401]);
    expect(statuses).toContain(429);
    expect((await started.visit('2001:db8:1:3::1').signIn(owner.email, owner.password)).status).toBe(200);
  });

  test("[AU19] to sign in to an account of one's own forgives no guesses at another of the same address", async () => {
    const ada = await started.visitOwner();
    await started.visitMember(ada, 'eve@example.com', 'viewer');
    const statuses: number[] = [];
    for (let round = 0; round < 4; round++) {
      // As a stranger each time: the browser keeps nothing.
      for (let tries = 0; tries < 4; tries++) {
        statuses.push((await started.visit('203.0.113.7').signIn('eve@example.com', 'a guess')).status);
      }
      statuses.push((await started.visit('203.0.113.7').signIn('eve@example.com', 'another sentence')).status);
    }
    expect(statuses.filter((status) => status === 429).length).toBeGreaterThan(4);
  });

  test('[AU21] failed tries are in the audit log of whose account it is, few however many there are', async () => {
    const ada = await started.visitOwner();
    const eve = await started.visitMember(ada, 'eve@example.com', 'viewer');
    for (let at = 1; at <= 9; at++) {
      expect((await started.visit(`198.51.100.${at}`).signIn('eve@example.com', 'a guess')).status).toBe(401);
      expect((await started.visit(`198.51.100.${at}`).signIn('nobody@example.com', 'a guess')).status).toBe(401);
    }
    const failed = () => database.sql`
      select organisation_id as "organisationId", actor, target, details from audit_entries
      where action = 'signInFailed' order by id`;
    expect(await failed()).toEqual(
      [1, 2, 4, 8].map((failures) => ({
        organisationId: expect.stringMatching(/^org_/),
        actor: { kind: 'stranger', address: `198.51.100.${failures}` },
        target: `user:${eve.userId}`,
        details: { reason: 'password', failures },
      })),
    );
    started.clock.advance(day);
    await started.visit().signIn('eve@example.com', 'a guess');
    expect((await failed()).at(-1)).toMatchObject({ details: { failures: 1 } });
  });

  test('[AU21] that somebody knows the password and not the code is in the audit log', async () => {
    const here = await started.visitOwner();
    const offered = await here.ask('POST', '/me/second-factor', { body: { password: owner.password } });
    const code = codeOf(fromBase32(offered.json.secret), stepAt(started.clock.now() + second));
    await here.ask('PUT', '/me/second-factor', { body: { code } });
    expect((await started.visit('198.51.100.1').signIn(owner.email, owner.password, '000000')).status).toBe(401);
    expect(await database.sql`select details from audit_entries where action = 'signInFailed'`).toEqual([
      { details: { reason: 'code', failures: 1 } },
    ]);
  });

  test('[AU4] a session ends when it was idle for three days, and at last after thirty', async () => {
    const idle = await started.visitOwner();
    const used = await started.visitOwner();
    for (let days = 0; days < 29; days++) {
      started.clock.advance(day);
      expect((await used.ask('GET', '/me')).status).toBe(200);
    }
    expect((await idle.ask('GET', '/me')).status).toBe(401);
    started.clock.advance(day);
    expect((await used.ask('GET', '/me')).status).toBe(401);
    await pruneSessions({ database, clock: started.clock });
    expect(await database.sql`select 1 from sessions`).toHaveLength(0);
  });

  test('[AU4] sessions are listed, and end one by one or all at once', async () => {
    const [here, there, elsewhere] = [
      await started.visitOwner(),
      await started.visitOwner(),
      await started.visitOwner(),
    ];
    const { items } = (await here.ask('GET', '/me/sessions')).json;
    expect(items).toHaveLength(3);
    expect(items.filter(({ isThis }: { isThis: boolean }) => isThis)).toMatchObject([
      { address: '192.0.2.1', userAgent: 'Test browser' },
    ]);
    const [other] = items.filter(({ isThis }: { isThis: boolean }) => !isThis);
    expect((await here.ask('DELETE', `/me/sessions/${other.id}`)).status).toBe(204);
    expect(await here.ask('DELETE', `/me/sessions/${other.id}`)).toMatchObject({ status: 404 });
    const left = [(await there.ask('GET', '/me')).status, (await elsewhere.ask('GET', '/me')).status];
    expect(left.toSorted()).toEqual([200, 401]);

    expect((await here.ask('POST', '/sign-out')).status).toBe(204);
    expect(here.cookies.has('starling_session')).toBe(false);
    const [last] = (
      await Promise.all([there, elsewhere].map(async (each) => ({ each, is: await each.ask('GET', '/me') })))
    )
      .filter(({ is }) => is.status === 200)
      .map(({ each }) => each);
    expect((await last?.ask('DELETE', '/me/sessions'))?.status).toBe(204);
    expect(await database.sql`select 1 from sessions`).toHaveLength(0);
  });

  test("[AU4] nobody ends another's session, and a cookie that was signed out is worth nothing", async () => {
    const ada = await started.visitOwner();
    const eve = await started.visitMember(ada, 'eve@example.com', 'admin');
    const [session] = (await ada.ask('GET', '/me/sessions')).json.items;
    expect(await eve.ask('DELETE', `/me/sessions/${session.id}`)).toMatchObject({ status: 404 });
    expect(await eve.ask('DELETE', '/me/sessions/%00')).toMatchObject({ status: 404 });
    const kept = new Map(ada.cookies);
    await ada.ask('POST', '/sign-out');
    for (const [name, value] of kept) ada.cookies.set(name, value);
    expect((await ada.ask('GET', '/me')).status).toBe(401);
  });

  test('[AU5] the cookie is replaced now and then; a replaced one that comes back ends the session', async () => {
    const browser = await started.visitOwner();
    await browser.ask('GET', '/me');
    const first = browser.cookies.get('starling_session') ?? '';
    started.clock.advance(11 * minute);
    await browser.ask('GET', '/me');
    expect(browser.cookies.get('starling_session')).not.toBe(first);
    expect((await browser.ask('GET', '/me')).status).toBe(200);

    // What was under way meanwhile still carries the former one.
    const thief = started.visit();
    thief.cookies.set('starling_session', first);
    expect((await thief.ask('GET', '/me')).status).toBe(200);
    started.clock.advance(2 * minute);
    expect((await thief.ask('GET', '/me')).status).toBe(401);
    expect((await browser.ask('GET', '/me')).status).toBe(401);
  });

  test('[AU5] an answer that is lost with the new cookie does not end the session', async () => {
    const browser = await started.visitOwner();
    await browser.ask('GET', '/me');
    const first = browser.cookies.get('starling_session') ?? '';
    started.clock.advance(11 * minute);
    await browser.ask('GET', '/me');
    browser.cookies.set('starling_session', first);
    started.clock.advance(hour);
    expect((await browser.ask('GET', '/me')).status).toBe(200);
    expect(browser.cookies.get('starling_session')).not.toBe(first);
    expect((await browser.ask('GET', '/me')).status).toBe(200);
  });

  test('[AU5] requests side by side replace the cookie once', async () => {
    const browser = await started.visitOwner();
    await browser.ask('GET', '/me');
    started.clock.advance(11 * minute);
    const answers = await Promise.all(Array.from({ length: 5 }, () => browser.ask('GET', '/me')));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    const [row] = await database.sql`select generation from sessions`;
    expect(row).toEqual({ generation: 2 });
    expect((await browser.ask('GET', '/me')).status).toBe(200);
  });

  test('[AU6] a new password needs the present one, and ends the other sessions', async () => {
    const [here, there] = [await started.visitOwner(), await started.visitOwner()];
    const change = (body: object) => here.ask('PUT', '/me/password', { body });
    expect(await change({ password: 'a new sentence' })).toMatchObject({ status: 403, code: 'password_wrong' });
    expect(await change({ current: 'wrong', password: 'a new sentence' })).toMatchObject({ status: 403 });
    expect(await change({ current: owner.password, password: 'short' })).toMatchObject({
      status: 400,
      code: 'password_weak',
    });
    expect((await change({ current: owner.password, password: 'a new sentence' })).status).toBe(204);
    expect((await here.ask('GET', '/me')).status).toBe(200);
    expect((await there.ask('GET', '/me')).status).toBe(401);
    expect((await started.visit().signIn(owner.email, owner.password)).status).toBe(401);
    expect((await started.visit('192.0.2.4').signIn(owner.email, 'a new sentence')).status).toBe(200);
  });

  test('[AU6] who has stolen a session cannot try passwords as quickly as they like', async () => {
    const browser = await started.visitOwner();
    const change = () => browser.ask('PUT', '/me/password', { body: { current: 'guess', password: 'a new sentence' } });
    const codes: unknown[] = [];
    for (let tries = 0; tries < 10; tries++) codes.push((await change()).code);
    expect(codes.slice(0, 5)).toEqual(Array.from({ length: 5 }, () => 'password_wrong'));
    expect(codes).toContain('rate_limited');
  });

  test('[AU7] [AU8] a second factor counts once it is confirmed, each code once', async () => {
    const [here, there] = [await started.visitOwner(), await started.visitOwner()];
    const { clock } = started;
    expect(await here.ask('POST', '/me/second-factor', { body: {} })).toMatchObject({ code: 'password_wrong' });
    const offered = await here.ask('POST', '/me/second-factor', { body: { password: owner.password } });
    expect(offered.json.url).toContain(`secret=${offered.json.secret}`);
    const code = (steps = 0) => codeOf(fromBase32(offered.json.secret), stepAt(clock.now() + second) + steps);

    // Offered is not yet on.
    expect((await started.visit().signIn(owner.email, owner.password)).status).toBe(200);
    expect(await here.ask('PUT', '/me/second-factor', { body: { code: code(-5) } })).toMatchObject({
      status: 401,
      code: 'second_factor_wrong',
    });
    const confirmed = await here.ask('PUT', '/me/second-factor', { body: { code: code() } });
    const { recoveryCodes } = confirmed.json;
    expect(recoveryCodes).toHaveLength(10);
    expect((await there.ask('GET', '/me')).status).toBe(401);
    expect((await here.ask('GET', '/me')).json.hasSecondFactor).toBe(true);

    const browser = started.visit('198.51.100.7');
    const signIn = (given?: string) => browser.signIn(owner.email, owner.password, given);
    expect(await signIn()).toMatchObject({ status: 401, code: 'second_factor_missing' });
    // The one that confirmed it is used.
    expect(await signIn(code())).toMatchObject({ status: 401, code: 'second_factor_wrong' });
    clock.advance(hour);
    const once = code();
    expect((await signIn(once)).status).toBe(200);
    expect(await signIn(once)).toMatchObject({ status: 401, code: 'second_factor_wrong' });
    // A code from before is older than the one that was used.
    expect(await signIn(code(-1))).toMatchObject({ code: 'second_factor_wrong' });
    clock.advance(hour);
    expect((await signIn(recoveryCodes[3].toLowerCase())).status).toBe(200);
    expect(await signIn(recoveryCodes[3])).toMatchObject({ code: 'second_factor_wrong' });
    // Whether the password is right is not told by the code.
    expect(await browser.signIn(owner.email, 'wrong', code())).toMatchObject({ code: 'sign_in_wrong' });

    const renewed = await here.ask('POST', '/me/second-factor/recovery-codes', { body: { password: owner.password } });
    clock.advance(hour);
    expect(await signIn(recoveryCodes[4])).toMatchObject({ code: 'second_factor_wrong' });
    expect((await signIn(renewed.json.recoveryCodes[4])).status).toBe(200);
    expect((await here.ask('POST', '/me/second-factor/remove', { body: { password: owner.password } })).status).toBe(
      204,
    );
    expect((await signIn()).status).toBe(200);
  });

  test('[AU7] of two who show one code at the same moment, one comes in', async () => {
    const here = await started.visitOwner();
    const { clock } = started;
    const offered = await here.ask('POST', '/me/second-factor', { body: { password: owner.password } });
    const secret = fromBase32(offered.json.secret);
    await here.ask('PUT', '/me/second-factor', { body: { code: codeOf(secret, stepAt(clock.now() + second)) } });
    clock.advance(hour);
    const code = codeOf(secret, stepAt(clock.now()));
    const answers = await Promise.all(
      ['198.51.100.1', '198.51.100.2', '198.51.100.3'].map((address) =>
        started.visit(address).signIn(owner.email, owner.password, code),
      ),
    );
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 401, 401]);
  });

  test('[AU7] codes are not guessed from many places at once', async () => {
    const here = await started.visitOwner();
    const offered = await here.ask('POST', '/me/second-factor', { body: { password: owner.password } });
    const secret = fromBase32(offered.json.secret);
    const code = () => codeOf(secret, stepAt(started.clock.now() + second));
    await here.ask('PUT', '/me/second-factor', { body: { code: code() } });
    const statuses: number[] = [];
    for (let place = 0; place < 10; place++) {
      statuses.push((await started.visit(`198.51.100.${place}`).signIn(owner.email, owner.password, '000000')).status);
    }
    expect(statuses.slice(0, 5)).toEqual([401, 401, 401, 401, 401]);
    expect(statuses.slice(-2)).toEqual([429, 429]);
    // Where the user has signed in before, these do not count.
    started.clock.advance(minute);
    expect((await here.signIn(owner.email, owner.password, code())).status).toBe(200);
  });

  test('[AU16] what signs people in is nowhere to be read', async () => {
    const browser = await started.visitOwner();
    const offered = await browser.ask('POST', '/me/second-factor', { body: { password: owner.password } });
    const code = codeOf(fromBase32(offered.json.secret), stepAt(started.clock.now() + second));
    const confirmed = await browser.ask('PUT', '/me/second-factor', { body: { code } });
    const made = await browser.ask('POST', '/me/access-tokens', {
      body: { label: 'ci', role: 'viewer' },
      headers: { 'idempotency-key': 'one' },
    });
    const invited = await browser.ask('POST', `/organisations/${await started.organisationId()}/invitations`, {
      body: { email: 'eve@example.com', role: 'viewer' },
    });
    const secrets = [
      owner.password,
      offered.json.secret,
      ...confirmed.json.recoveryCodes,
      ...confirmed.json.recoveryCodes.map((each: string) => each.replaceAll('-', '')),
      made.json.token,
      made.json.token.slice(4),
      invited.json.token,
      browser.cookies.get('starling_session'),
    ];
    const tables = await database.sql<{ name: string }[]>`
      select tablename as name from pg_tables where schemaname = 'public'`;
    let text = '';
    for (const { name } of tables) text += JSON.stringify(await database.sql`select * from ${database.sql(name)}`);
    expect(text).toContain(owner.email);
    for (const secret of secrets) expect(text).not.toContain(secret);
  });

  test('[AU17] changes are not taken from pages of other origins, nor as forms', async () => {
    const browser = await started.visitOwner();
    const body = JSON.stringify({ name: 'Eve' });
    const json = { 'content-type': 'application/json' };
    const foreign: Record<string, string>[] = [
      { ...json, 'sec-fetch-site': 'cross-site' },
      { ...json, 'sec-fetch-site': 'same-site' },
    ];
    for (const headers of foreign) {
      expect(await browser.ask('PATCH', '/me', { body, headers })).toMatchObject({
        status: 403,
        code: 'origin_refused',
      });
      expect(await browser.ask('POST', '/sign-out', { headers })).toMatchObject({ status: 403 });
    }
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']) {
      expect((await browser.ask('PATCH', '/me', { body, headers: { 'content-type': type } })).status).toBe(400);
    }
    expect(await browser.ask('PATCH', '/me', { body })).toMatchObject({ status: 200, json: { name: 'Eve' } });
  });
});

function fromBase32(text: string): Buffer {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  const bits = [...text].map((each) => alphabet.indexOf(each).toString(2).padStart(5, '0')).join('');
  return Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)));
}
