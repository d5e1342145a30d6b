/** Codes on paper for the loss of a phone: 80 random bits each, so a quick digest is enough. */
import { createHash, randomBytes } from 'node:crypto';
import { toBase32 } from './totp.ts';

export function createRecoveryCodes(): string[] {
  return Array.from({ length: 10 }, () => (toBase32(randomBytes(10)).match(/.{4}/g) ?? []).join('-'));
}

/** Of one user's code: undefined for what cannot be one. Case and spaces do not count. */
export function recoveryDigest(userId: string, given: string): string | undefined {
  const code = given.replaceAll(/[\s-]/g, '').toUpperCase();
  if (!/^[A-Z2-7]{16}$/.test(code)) return undefined;
  return createHash('sha256').update(`${userId}:${code}`).digest('base64url');
}
