/** Secrets that are enough by themselves: their holder may do what they are for. Only their digests are kept. */
import { createHash, randomBytes } from 'node:crypto';

export interface BearerSecret {
  /** Shown once, to its owner. */
  readonly text: string;
  readonly digest: string;
}

/** 32 random bytes after the prefix: they cannot be guessed, and need no slow hash. */
export function createBearerSecret(prefix = ''): BearerSecret {
  const text = prefix + randomBytes(32).toString('base64url');
  return { text, digest: digestOf(text) };
}

/**
 * What is looked up. The time of a look-up tells how much of the digest fits, which says nothing of a secret: a
 * secret cannot be chosen by its digest.
 */
export function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}
