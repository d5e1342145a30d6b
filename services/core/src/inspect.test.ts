import { describe, expect, test } from 'vitest';
import { parseAttributes } from './inspect.ts';

describe('parseAttributes', () => {
  const known = ['user_count', 'subscription_count'] as const;

  test('[RE9] reads a list with spaces, repetitions and empty parts, and undefined as nothing', () => {
    const read = (info: string | undefined) => {
      const attributes = parseAttributes(info, known);
      return attributes.ok ? [...attributes.value] : attributes.refusal.code;
    };
    expect(read(undefined)).toEqual([]);
    expect(read('')).toEqual([]);
    expect(read(' user_count ,user_count,, subscription_count')).toEqual(['user_count', 'subscription_count']);
    expect(read('cache')).toBe('request_malformed');
    expect(read('USER_COUNT')).toBe('request_malformed');
    expect(read('__proto__')).toBe('request_malformed');
  });

  test('[RE9] the refusal names what was given, cut short, and what is accepted', () => {
    const refused = parseAttributes(`user_count,${'x'.repeat(1_000)}`, known);
    const message = refused.ok ? '' : refused.refusal.message;
    expect(message).toContain('"xxx');
    expect(message).toContain('user_count, subscription_count');
    expect(message.length).toBeLessThan(200);
  });
});
