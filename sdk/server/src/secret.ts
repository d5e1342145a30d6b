/** What a key's secret signs. WebCrypto only, so that it runs wherever JavaScript does. */

export interface Secret {
  /** HMAC-SHA256, lower-case hex. */
  sign(text: string): Promise<string>;
  /** HMAC-SHA256. */
  digest(text: string): Promise<Uint8Array<ArrayBuffer>>;
}

const encoder = new TextEncoder();

export function secretOf(secret: string): Secret {
  // Imported at the first use, and once: a constructor cannot wait.
  let imported: ReturnType<typeof crypto.subtle.importKey> | undefined;
  const digest = async (text: string): Promise<Uint8Array<ArrayBuffer>> => {
    imported ??= crypto.subtle.importKey('raw', encoder.encode(secret), { name: 'HMAC', hash: 'SHA-256' }, false, [
      'sign',
    ]);
    return new Uint8Array(await crypto.subtle.sign('HMAC', await imported, encoder.encode(text)));
  };
  return { digest, sign: async (text) => toHex(await digest(text)) };
}

/** Takes the same time wherever the two differ. */
export function isSameText(one: string, other: string): boolean {
  let difference = one.length ^ other.length;
  for (let index = 0; index < one.length; index++) difference |= one.charCodeAt(index) ^ other.charCodeAt(index);
  return difference === 0;
}

export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export function toBase64(bytes: Uint8Array): string {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** Undefined for what is not base64. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    // What atob throws says no more than that.
    return undefined;
  }
}

export function toBase64Url(bytes: Uint8Array): string {
  return toBase64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
