import type { Checked, Claims } from '@starling/protocol';
import type { App } from './app-store.ts';
import type { WallMs } from './clock.ts';

/** A token whose signature and claims hold. */
export interface VerifiedToken extends Claims {
  /** What it stands and falls with: the app key whose secret signed it, or where its provider's keys were found. */
  readonly signer: { readonly key: string } | { readonly jwksUrl: string };
}

/**
 * Decides whether a capability token is genuine, and what it claims.
 *
 * HS256 counts when `kid` is an enabled key of the app, with that key's secret; RS256, ES256 and EdDSA when `kid` is in
 * the key set of the app's JWKS URL, with the `iss` and `aud` that the app's settings name. Nothing else ever counts: who
 * signs decides by which kind of key is verified, the token's own word only picks among them.
 *
 * What a token was revoked by is not looked at here: that changes while a connection lives, and its session looks.
 */
export interface TokenVerifier {
  /**
   * Refuses with `token_invalid`, `token_expired`, or `token_unverifiable` when the provider's keys cannot be had now.
   * Resolves within seconds, whatever becomes of the provider; never rejects.
   */
  verify(app: App, token: string, nowMs: WallMs): Promise<Checked<VerifiedToken>>;
}
