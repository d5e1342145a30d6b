/**
 * What is signed, as strings. The digest (HMAC-SHA256, lower-case hex) is taken where it is needed, so that nothing
 * here depends on a crypto library.
 */

/** For `auth` of a subscribe. `channelData` must be the exact string the client sends. */
export function channelSignatureText(socketId: string, channel: string, channelData?: string): string {
  return channelData === undefined ? `${socketId}:${channel}` : `${socketId}:${channel}:${channelData}`;
}

/** For `auth` of a sign-in. `userData` must be the exact string the client sends. */
export function signinSignatureText(socketId: string, userData: string): string {
  return `${socketId}::user::${userData}`;
}

/** `query` holds every parameter but `auth_signature`, values not URL-encoded; repeated keys keep their order. */
export function requestSignatureText(
  method: string,
  path: string,
  query: ReadonlyArray<readonly [name: string, value: string]>,
): string {
  const pairs = query
    .filter(([name]) => name.toLowerCase() !== 'auth_signature')
    .map(([name, value]) => [name.toLowerCase(), value] as const)
    // Array sort is stable, so repeated keys stay in the order given. UTF-16 order is byte order up to U+D7FF, and
    // beyond it the libraries that sign do not agree among themselves.
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([name, value]) => `${name}=${value}`);
  return `${method.toUpperCase()}\n${path}\n${pairs.join('&')}`;
}

/** Splits `KEY:HEX` at the first colon; null when it is not of that form. */
export function splitAuth(auth: string): { readonly key: string; readonly signature: string } | null {
  const colon = auth.indexOf(':');
  if (colon < 1 || colon === auth.length - 1) return null;
  return { key: auth.slice(0, colon), signature: auth.slice(colon + 1) };
}
