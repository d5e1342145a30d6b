import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { Keyring } from './keyring.ts';

const [one, two, three] = [Keyring.make(), Keyring.make(), Keyring.make()];

function keyring(text: string): Keyring {
  const parsed = Keyring.parse(text);
  if (!parsed.ok) throw new Error(parsed.refusal.message);
  return parsed.value;
}

describe('a keyring', () => {
  test('[DB3] opens what it sealed, and never seals alike', () => {
    const keys = keyring(one);
    for (const text of ['', 'secret', '漢字 😀', 'x'.repeat(100_000)]) {
      expect(keys.open(keys.seal(text, 'app-key:a'), 'app-key:a')).toBe(text);
    }
    expect(keys.seal('secret', 'p')).not.toBe(keys.seal('secret', 'p'));
    expect(keys.seal('secret', 'p')).not.toContain('secret');
  });

  test('[DB3] what was sealed for one place does not open in another', () => {
    const keys = keyring(one);
    const sealed = keys.seal('secret', 'app-key:a');
    for (const purpose of ['app-key:b', 'app-key:', '', 'totp:a']) {
      expect(() => keys.open(sealed, purpose)).toThrow('sealed for something else');
    }
  });

  test('[DB3] a text with any bit changed does not open, nor does any other text', () => {
    const keys = keyring(one);
    const sealed = keys.seal('secret', 'p');
    const [version, id, body = ''] = sealed.split('.');
    const bytes = Buffer.from(body, 'base64url');
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      expect(() => keys.open(`${version}.${id}.${changed.toString('base64url')}`, 'p')).toThrow();
    }
    for (let length = 0; length < bytes.length; length++) {
      const cut = bytes.subarray(0, length).toString('base64url');
      expect(() => keys.open(`${version}.${id}.${cut}`, 'p')).toThrow();
    }
    for (const text of ['', 'secret', '1..', `2.${id}.${body}`, `1.${'0'.repeat(16)}.${body}`]) {
      expect(() => keys.open(text, 'p')).toThrow();
    }
  });

  test('[DB3] a new key in front seals, the old one still opens; without it, the text names what is missing', () => {
    const old = keyring(one).seal('secret', 'p');
    const both = keyring(`${two}, ${one}`);
    expect(both.open(old, 'p')).toBe('secret');
    expect(both.isCurrent(old)).toBe(false);
    const renewed = both.seal('secret', 'p');
    expect(both.isCurrent(renewed)).toBe(true);
    expect(keyring(two).open(renewed, 'p')).toBe('secret');
    expect(() => keyring(three).open(renewed, 'p')).toThrow('which STARLING_SECRET_KEY does not hold');
  });

  test('derives keys that differ by use and by key, and are the same every time', () => {
    const [first, second] = keyring(`${one},${two}`).derive('sessions');
    expect(first).toHaveLength(32);
    expect(first).toEqual(keyring(one).derive('sessions')[0]);
    expect(second).toEqual(keyring(two).derive('sessions')[0]);
    expect(first).not.toEqual(second);
    expect(first).not.toEqual(keyring(one).derive('links')[0]);
  });

  test.each([
    ['nothing', ''],
    ['words', 'correct horse battery staple'],
    ['too little', randomBytes(31).toString('base64')],
    ['too much', randomBytes(33).toString('base64')],
    ['hex', randomBytes(32).toString('hex')],
    ['an empty part', `${one},`],
    ['one bad part', `${one},${randomBytes(16).toString('base64')}`],
  ])('refuses %s, and says how to make one', (_name, text) => {
    const parsed = Keyring.parse(text);
    expect(parsed).toMatchObject({
      ok: false,
      refusal: { message: expect.stringContaining('openssl rand -base64 32') },
    });
  });
});
