import { describe, expect, it } from 'vitest';
import { parseEmail } from './email.ts';

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
