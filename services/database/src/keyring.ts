/** Seals what must not lie readable in a database: with the first key; opens with any of them. */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import { type Checked, refuse, StarlingError } from '@starling/protocol';

const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;

interface Key {
  /** Says which key sealed a text, and nothing of the key. */
  readonly id: string;
  readonly bytes: Uint8Array;
}

export class Keyring {
  readonly #keys: readonly [Key, ...Key[]];

  private constructor(keys: readonly [Key, ...Key[]]) {
    this.#keys = keys;
  }

  /** One or more keys of 32 bytes in base64, with commas between; the first seals. */
  static parse(text: string): Checked<Keyring> {
    const parts = text.split(',').map((part) => part.trim());
    const keys = parts.map((part) => Buffer.from(part, 'base64'));
    const isWhole = parts.every((part) => /^[A-Za-z0-9+/_-]{43}=?$/.test(part));
    if (!isWhole || keys.some((key) => key.length !== keyBytes)) {
      return refuse(
        'request_malformed',
        `must be ${keyBytes} bytes in base64, or several of those with commas between: openssl rand -base64 ${keyBytes}`,
      );
    }
    const [first, ...rest] = keys.map((bytes): Key => ({ id: idOf(bytes), bytes }));
    if (first === undefined) throw new Error('A split text has a part');
    return { ok: true, value: new Keyring([first, ...rest]) };
  }

  /** These, and behind them those of another, which are of use only to open. */
  followedBy(other: Keyring): Keyring {
    return new Keyring([...this.#keys, ...other.#keys]);
  }

  /** A new key, as `parse` reads it. */
  static make(): string {
    return randomBytes(keyBytes).toString('base64');
  }

  /** `purpose` says what the text is and whose, such as `app-key:KEY`: put anywhere else, it does not open. */
  seal(text: string, purpose: string): string {
    const [key] = this.#keys;
    const nonce = randomBytes(nonceBytes);
    const cipher = createCipheriv('aes-256-gcm', key.bytes, nonce).setAAD(Buffer.from(purpose));
    const body = Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
    return `1.${key.id}.${body.toString('base64url')}`;
  }

  /** Throws when no key opens it: the keys are wrong, or the text was changed or moved. */
  open(sealed: string, purpose: string): string {
    const [, id, body] = /^1\.([0-9a-f]{16})\.([\w-]+)$/.exec(sealed) ?? [];
    if (id === undefined || body === undefined)
      throw new StarlingError('internal', `What is sealed for ${purpose} is no sealed text`);
    const key = this.#keys.find((each) => each.id === id);
    if (key === undefined) {
      throw new StarlingError(
        'internal',
        `What is sealed for ${purpose} needs the key ${id}, which STARLING_SECRET_KEY does not hold`,
      );
    }
    const bytes = Buffer.from(body, 'base64url');
    try {
      const decipher = createDecipheriv('aes-256-gcm', key.bytes, bytes.subarray(0, nonceBytes), {
        authTagLength: tagBytes,
      })
        .setAAD(Buffer.from(purpose))
        .setAuthTag(bytes.subarray(-tagBytes));
      const text = decipher.update(bytes.subarray(nonceBytes, -tagBytes));
      return Buffer.concat([text, decipher.final()]).toString('utf8');
    } catch (err) {
      throw new StarlingError('internal', `What is sealed for ${purpose} was changed, or sealed for something else`, {
        cause: err,
      });
    }
  }

  /** Whether the first key sealed it: else it should be sealed again, before its key is taken away. */
  isCurrent(sealed: string): boolean {
    return sealed.startsWith(`1.${this.#keys[0].id}.`);
  }

  /** Keys of 32 bytes for another use, such as signing: the first for new things, all of them for old ones. */
  derive(purpose: string): readonly [Uint8Array, ...Uint8Array[]] {
    const derived = (key: Key) => new Uint8Array(hkdfSync('sha256', key.bytes, 'starling', purpose, keyBytes));
    const [first, ...rest] = this.#keys;
    return [derived(first), ...rest.map(derived)];
  }
}

function idOf(key: Uint8Array): string {
  return createHash('sha256').update('starling key id').update(key).digest('hex').slice(0, 16);
}
