/** Names for new rows. */
import { randomInt } from 'node:crypto';

const letters = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** Like `usr_3fY0c…`: says what it names, and cannot be guessed. */
export function createId(kind: 'inv' | 'org' | 'tok' | 'usr' | 'wh'): string {
  let id = `${kind}_`;
  for (let length = 0; length < 20; length++) id += letters.charAt(randomInt(letters.length));
  return id;
}
