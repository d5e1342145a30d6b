/** Capability tokens, by the library that knows JWT. */
export { JoseTokenVerifier, type JoseTokenVerifierOptions } from './token-verifier.ts';
