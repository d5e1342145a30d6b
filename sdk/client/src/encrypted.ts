/** For end-to-end encrypted channels: `new Starling(key, { nacl })`. Apart, so that nobody pays who has none. */
import { xsalsa20poly1305 } from '@noble/ciphers/salsa.js';
import type { Nacl } from './index.ts';

export const nacl: Nacl = {
  secretbox: {
    open(box, nonce, key) {
      try {
        return xsalsa20poly1305(key, nonce).decrypt(box);
      } catch {
        // Wrong key, or not what was sent: the same to who reads it.
        return null;
      }
    },
  },
};
