import { describe, expect, it } from 'vitest';
import { createRecoveryCodes, recoveryDigest } from './recovery-code.ts';

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
