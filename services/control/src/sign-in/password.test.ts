import { describe, expect, it } from 'vitest';
import { checkPassword, Passwords } from './password.ts';

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
