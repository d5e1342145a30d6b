/**
 * Reads what another program wrote: another node, another version of this one, or anything else that has the password of
 * the same Redis. A type says nothing of such bytes, so each is looked at before anything relies on it.
 */
import { isNestedDeeper, limits } from '@starling/protocol';

export type Fields = Readonly<Record<string, unknown>>;

/** Null for what is larger than `maxBytes`, nested too deep, or no JSON. */
export function readJson(source: Uint8Array | string, maxBytes: number): { readonly value: unknown } | null {
  // A text's bytes are at least its characters: that much is enough for a bound.
  if ((typeof source === 'string' ? source.length : source.byteLength) > maxBytes) return null;
  const text = typeof source === 'string' ? source : Buffer.from(source).toString();
  if (isNestedDeeper(text, limits.jsonDepth)) return null;
  try {
    return { value: JSON.parse(text) };
  } catch {
    // Not JSON is an answer here, and not a failure.
    return null;
  }
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isTextUpTo(value: unknown, maxLength: number): value is string {
  return typeof value === 'string' && value !== '' && value.length <= maxLength;
}

/** A whole number from 0 that is exact. */
export function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Decimal digits, as topics and URLs hold them. */
export function isAppId(value: unknown): value is string {
  return typeof value === 'string' && /^\d{1,32}$/.test(value);
}
