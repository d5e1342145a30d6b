import type { TokenSettings } from '@starling/ports';
import type { z } from 'zod';
import type { tokenSettings as contract } from '../../contract/index.ts';

export function toSettings(tokens: TokenSettings, version: number): z.input<typeof contract> {
  const { isEnabled, jwksUrl = null, issuer = null, audience = null } = tokens;
  return { isEnabled, jwksUrl, issuer, audience, version };
}
