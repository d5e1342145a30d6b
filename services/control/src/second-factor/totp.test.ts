import { describe, expect, it } from 'vitest';
import { codeOf, findStep, stepAt, type TotpHash, toBase32, totpUrl } from './totp.ts';

/** RFC 6238, appendix B: the seeds are ASCII digits, as long as the hash. */
const seeds: Record<TotpHash, Buffer> = {
  sha1: Buffer.from('12345678901234567890'),
  sha256: Buffer.from('12345678901234567890123456789012'),
  sha512: Buffer.from('1234567890123456789012345678901234567890123456789012345678901234'),
};
const vectors: [seconds: number, hash: TotpHash, code: string][] = [
  [59, 'sha1', '94287082'],
  [59, 'sha256', '46119246'],
  [59, 'sha512', '90693936'],
  [1111111109, 'sha1', '07081804'],
  [1111111109, 'sha256', '68084774'],
  [1111111109, 'sha512', '25091201'],
  [1111111111, 'sha1', '14050471'],
  [1111111111, 'sha256', '67062674'],
  [1111111111, 'sha512', '99943326'],
  [1234567890, 'sha1', '89005924'],
  [1234567890, 'sha256', '91819424'],
  [1234567890, 'sha512', '93441116'],
  [2000000000, 'sha1', '69279037'],
  [2000000000, 'sha256', '90698825'],
  [2000000000, 'sha512', '38618901'],
  [20000000000, 'sha1', '65353130'],
  [20000000000, 'sha256', '77737706'],
  [20000000000, 'sha512', '47863826'],
];

describe('[AU7] one-time codes', () => {
  it.each(vectors)('[AU7] are those of RFC 6238 at %i s with %s', (seconds, hash, code) => {
    expect(codeOf(seeds[hash], stepAt(seconds * 1_000), 8, hash)).toBe(code);
  });

  const now = Date.UTC(2026, 0, 1, 12, 0, 15);
  it.each([
    [-2, undefined],
    [-1, -1],
    [0, 0],
    [1, 1],
    [2, undefined],
  ])('[AU7] a code %i steps away is found as %s', (distance, found) => {
    const code = codeOf(seeds.sha1, stepAt(now) + distance);
    expect(findStep(seeds.sha1, code, now)).toBe(found === undefined ? undefined : stepAt(now) + found);
  });

  it('may be typed with a space, and nothing else is one', () => {
    const code = codeOf(seeds.sha1, stepAt(now));
    expect(findStep(seeds.sha1, `${code.slice(0, 3)} ${code.slice(3)}`, now)).toBe(stepAt(now));
    for (const wrong of ['', '1', code.slice(1), `${code}0`, 'abcdef', '١٢٣٤٥٦']) {
      expect(findStep(seeds.sha1, wrong, now)).toBeUndefined();
    }
  });
});

it.each([
  ['', ''],
  ['f', 'MY'],
  ['fo', 'MZXQ'],
  ['foo', 'MZXW6'],
  ['foob', 'MZXW6YQ'],
  ['fooba', 'MZXW6YTB'],
  ['foobar', 'MZXW6YTBOI'],
])('writes %j in base32 as RFC 4648 does, without padding', (text, expected) => {
  expect(toBase32(Buffer.from(text))).toBe(expected);
});

it('names account and issuer for the authenticator app', () => {
  expect(totpUrl(seeds.sha1, 'ada@example.com')).toBe(
    'otpauth://totp/Starling%3Aada%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Starling',
  );
});
