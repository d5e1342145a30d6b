/** What signing in is made of that needs no database. */
import { Keyring } from '@starling/database';
import { describe, expect, it } from 'vitest';
import { html } from '../frame/html.ts';
import { parseEmail } from '../members/email.ts';
import { localPath } from '../oidc/pages.ts';
import { createRecoveryCodes, recoveryDigest } from '../second-factor/recovery-code.ts';
import { Tickets } from '../sessions/ticket.ts';
import { checkPassword, Passwords } from './password.ts';

function keyringOf(...keys: string[]): Keyring {
  const read = Keyring.parse(keys.join(','));
  if (!read.ok) throw new Error(read.refusal.message);
  return read.value;
}

describe('e-mail addresses', () => {
  it.each([
    [' Ada@Example.COM ', 'ada@example.com'],
    ['a.b+c@sub.example.co', 'a.b+c@sub.example.co'],
    ['ａda@example.com', 'ada@example.com'],
  ])('[AU1] %j is kept as %s', (given, kept) => {
    expect(parseEmail(given)).toEqual({ ok: true, value: kept });
  });

  it.each([
    '',
    'ada',
    'ada@',
    '@example.com',
    'a@b@example.com',
    'ada@example',
    'a da@example.com',
    `${'a'.repeat(65)}@b.cd`,
  ])('[AU1] %j is none', (given) => {
    expect(parseEmail(given)).toMatchObject({ ok: false, refusal: { code: 'fields_invalid' } });
  });
});

describe('passwords', () => {
  const lane = { kind: 'known', name: 'a test' } as const;
  it.each(['short', 'aaaaaaaaaaaa', 'abababababab', 'password123', 'ada@example.com', 'Ada12345678', 'x'.repeat(201)])(
    '[AU2] %j will not do',
    (password) => {
      expect(checkPassword(password, 'ada@example.com')).toMatchObject({
        ok: false,
        refusal: { code: 'password_weak' },
      });
    },
  );

  it('[AU2] a sentence will, however its letters are composed', async () => {
    const passwords = new Passwords();
    const hash = await passwords.hash('ein schöner Satz', lane);
    expect(checkPassword('ein schöner Satz', 'ada@example.com').ok).toBe(true);
    expect(hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    expect(await passwords.matches('ein scho\u0308ner Satz', hash, lane)).toBe(true);
    expect(await passwords.matches('ein schoner Satz', hash, lane)).toBe(false);
  });

  it('[AU2] are checked against a hash of nobody where there is none, and are wrong', async () => {
    const passwords = new Passwords();
    for (const none of [null, undefined]) expect(await passwords.matches('of nobody', none, lane)).toBe(false);
  });
});

describe('tickets', () => {
  const [one, other] = [Keyring.make(), Keyring.make()];
  const now = Date.UTC(2026, 0, 1);

  it('[AU4] are good for their use, until their end, and under keys that were replaced', async () => {
    const text = await new Tickets(keyringOf(one)).sign('session', { jti: 'a' }, now + 1_000);
    const renewed = new Tickets(keyringOf(other, one));
    expect(await renewed.read('session', text, now)).toMatchObject({ jti: 'a' });
    expect(await renewed.read('browser', text, now)).toBeUndefined();
    expect(await renewed.read('session', text, now + 1_000)).toBeUndefined();
    expect(await new Tickets(keyringOf(other)).read('session', text, now)).toBeUndefined();
  });

  it('[AU4] are not forged', async () => {
    const tickets = new Tickets(keyringOf(one));
    const text = await tickets.sign('session', { jti: 'a' }, now + 1_000);
    const [head, body, signature] = text.split('.') as [string, string, string];
    const claims = Buffer.from(JSON.stringify({ jti: 'b', aud: 'session', exp: now })).toString('base64url');
    const none = Buffer.from('{"alg":"none"}').toString('base64url');
    for (const forged of [`${head}.${claims}.${signature}`, `${none}.${body}.`, `${head}.${body}.`, '', 'a.b.c', 'ü']) {
      expect(await tickets.read('session', forged, now)).toBeUndefined();
    }
  });

  it('[AU15] of a sign-in elsewhere are not readable', async () => {
    const tickets = new Tickets(keyringOf(one));
    const text = await tickets.seal('oidc', { verifier: 'secret' }, now + 1_000);
    expect(Buffer.from(text, 'base64url').toString('latin1')).not.toContain('secret');
    expect(await tickets.unseal('oidc', text, now)).toMatchObject({ verifier: 'secret' });
    expect(await tickets.unseal('oidc', text, now + 1_000)).toBeUndefined();
    expect(await tickets.unseal('session', text, now)).toBeUndefined();
  });
});

describe('recovery codes', () => {
  it('[AU8] differ, are typed in any case, and mean nothing for another user', () => {
    const codes = createRecoveryCodes();
    expect(new Set(codes).size).toBe(10);
    for (const code of codes) expect(code).toMatch(/^([A-Z2-7]{4}-){3}[A-Z2-7]{4}$/);
    const [code = ''] = codes;
    const digest = recoveryDigest('usr_1', code);
    expect(digest).toBeDefined();
    expect(recoveryDigest('usr_1', code.toLowerCase().replaceAll('-', ' '))).toBe(digest);
    expect(recoveryDigest('usr_2', code)).not.toBe(digest);
    expect(recoveryDigest('usr_1', '123456')).toBeUndefined();
  });
});

it.each([
  ['/apps/1?tab=keys#a', '/apps/1?tab=keys#a'],
  ['/', '/'],
  ['//evil.example', undefined],
  ['/\\evil.example', undefined],
  ['/\t/evil.example', undefined],
  ['/a/..//evil.example', undefined],
  ['https://evil.example', undefined],
  ['javascript:alert(1)', undefined],
  ['', undefined],
  [undefined, undefined],
])('[AU15] after a sign-in elsewhere %j leads to %j', (given, path) => {
  expect(localPath(given)).toBe(path);
});

it('a page shows what it is given as text', () => {
  const name = `<b title='"'>&`;
  expect(html`<p>${name}${undefined}${false}${html`<i>${'<'}</i>`}${[html`1`, html`2`]}</p>`.text).toBe(
    '<p>&#60;b title=&#39;&#34;&#39;&#62;&#38;<i>&#60;</i>12</p>',
  );
});
