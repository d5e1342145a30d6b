/** Tokens that an app's own key signed, verified in one step and without the world: those of a provider never count. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { App, TokenVerifier, VerifiedToken, WallMs } from '@starling/ports';
import { type Checked, limits, parseClaims, refuse } from '@starling/protocol';

export class MemoryTokenVerifier implements TokenVerifier {
  async verify(app: App, token: string, nowMs: WallMs): Promise<Checked<VerifiedToken>> {
    if (!app.tokens.isEnabled) return refuse('token_invalid', 'This app takes no tokens');
    const parts = token.split('.');
    const [header = '', payload = '', signature = ''] = parts;
    const { alg, kid, crit } = parse(header);
    const key = app.keys.find((each) => each.isEnabled && each.key === kid);
    if (token.length > limits.tokenBytes || parts.length !== 3 || alg !== 'HS256' || crit !== undefined || !key) {
      return refuse('token_invalid');
    }
    const given = Buffer.from(signature, 'base64url');
    const due = createHmac('sha256', key.secret).update(`${header}.${payload}`).digest();
    if (given.byteLength !== due.byteLength || !timingSafeEqual(given, due)) return refuse('token_invalid');
    const claims = parseClaims(parse(payload), nowMs);
    return claims.ok ? { ok: true, value: { ...claims.value, signer: { key: key.key } } } : claims;
  }
}

/** Nothing of whatever is not an object. */
function parse(part: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString());
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
  } catch {
    // Not JSON: no claim of it counts.
    return {};
  }
}
