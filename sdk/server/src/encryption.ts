/** End-to-end encryption: the server passes on what only the backend and the channel's subscribers can read. */
import { xsalsa20poly1305 } from '@noble/ciphers/salsa.js';
import { invalid } from './errors.ts';
import { fromBase64, toBase64 } from './secret.ts';

/** What travels as an event's data: NaCl's secretbox, in base64. */
export interface EncryptedData {
  readonly nonce: string;
  readonly ciphertext: string;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const nonceBytes = 24;

export class EncryptionKey {
  readonly #master: Uint8Array;

  /** 32 random bytes in base64, such as `openssl rand -base64 32` prints. Whoever has it can read every channel. */
  constructor(masterKeyBase64: string) {
    const master = fromBase64(masterKeyBase64);
    if (master?.byteLength !== 32) {
      const given = master === undefined ? 'no base64' : `${master.byteLength} bytes`;
      throw invalid(`The encryption master key must be 32 bytes in base64, got ${given}: openssl rand -base64 32`);
    }
    this.#master = master;
  }

  /** The channel's own key, 32 bytes: what its authorised subscribers are given. */
  async channelKey(channel: string): Promise<Uint8Array> {
    const name = encoder.encode(channel);
    const both = new Uint8Array(name.byteLength + this.#master.byteLength);
    both.set(name);
    both.set(this.#master, name.byteLength);
    return new Uint8Array(await crypto.subtle.digest('SHA-256', both));
  }

  async encrypt(channel: string, text: string): Promise<EncryptedData> {
    const nonce = crypto.getRandomValues(new Uint8Array(nonceBytes));
    const box = xsalsa20poly1305(await this.channelKey(channel), nonce);
    return { nonce: toBase64(nonce), ciphertext: toBase64(box.encrypt(encoder.encode(text))) };
  }

  /** Undefined for what was not encrypted with this key for this channel. */
  async decrypt(channel: string, { nonce, ciphertext }: EncryptedData): Promise<string | undefined> {
    const [nonceGiven, box] = [fromBase64(nonce), fromBase64(ciphertext)];
    if (nonceGiven?.byteLength !== nonceBytes || box === undefined) return undefined;
    const key = await this.channelKey(channel);
    try {
      return decoder.decode(xsalsa20poly1305(key, nonceGiven).decrypt(box));
    } catch {
      // Its seal does not hold: the one thing that this throws for.
      return undefined;
    }
  }
}
