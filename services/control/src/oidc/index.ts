/** Signing in at an identity provider. */
export { oidcPages } from './pages.ts';
export type { OidcSettings, PublicUrl } from './provider.ts';
export type { OidcRules } from './user.ts';
