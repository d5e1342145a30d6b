/** Fields that many operations share. */
import { z } from 'zod';

/** What people call a thing: shown, never parsed. */
export const name = z
  .string()
  .trim()
  .min(1)
  .max(100)
  // Control and line-breaking characters would lie in lists and logs.
  .regex(/^[^\p{Cc}\p{Zl}\p{Zp}]*$/u, 'must be one line of text');

/** As above, and may be empty. */
export const label = z
  .string()
  .trim()
  .max(100)
  .regex(/^[^\p{Cc}\p{Zl}\p{Zp}]*$/u, 'must be one line of text');

/** Grows with every change; given with a change, the change is made only if it is still this. */
export const version = z.number().int().min(1).max(Number.MAX_SAFE_INTEGER);

/** The last moment that has four digits for its year. */
export const latestMs = Date.UTC(10_000, 0) - 1;

/** A moment, as in 2026-11-22T21:00:00.000Z. */
export const time = z.iso
  .datetime()
  .refine((text) => Date.parse(text) >= 0 && Date.parse(text) <= latestMs, 'must lie between 1970 and 9999');
