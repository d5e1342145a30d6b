/** What we give to browsers and take back from them: signed, or sealed where they should not read it. */
import type { Keyring } from '@starling/database';
import { EncryptJWT, errors, type JWTPayload, jwtDecrypt, jwtVerify, SignJWT } from 'jose';

/** Each use has keys of its own: a ticket for one is none for another. */
export type TicketUse = 'session' | 'browser' | 'oidc';

export class Tickets {
  readonly #keyring: Keyring;

  constructor(keyring: Keyring) {
    this.#keyring = keyring;
  }

  sign(use: TicketUse, claims: JWTPayload, endsAtMs: number): Promise<string> {
    const [key] = this.#keys(use);
    return new SignJWT(claims)
      .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
      .setAudience(use)
      .setExpirationTime(Math.floor(endsAtMs / 1_000))
      .sign(key);
  }

  /** Undefined for what we did not sign, and what has ended. */
  read(use: TicketUse, text: string, nowMs: number): Promise<JWTPayload | undefined> {
    return this.#firstThat(use, async (key) => {
      const options = { algorithms: ['HS256'], audience: use, currentDate: new Date(nowMs) };
      return (await jwtVerify(text, key, options)).payload;
    });
  }

  seal(use: TicketUse, claims: JWTPayload, endsAtMs: number): Promise<string> {
    const [key] = this.#keys(use);
    return new EncryptJWT(claims)
      .setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
      .setAudience(use)
      .setExpirationTime(Math.floor(endsAtMs / 1_000))
      .encrypt(key);
  }

  unseal(use: TicketUse, text: string, nowMs: number): Promise<JWTPayload | undefined> {
    return this.#firstThat(use, async (key) => {
      const options = {
        keyManagementAlgorithms: ['dir'],
        contentEncryptionAlgorithms: ['A256GCM'],
        audience: use,
        currentDate: new Date(nowMs),
      };
      return (await jwtDecrypt(text, key, options)).payload;
    });
  }

  #keys(use: TicketUse): readonly [Uint8Array, ...Uint8Array[]] {
    return this.#keyring.derive(`ticket:${use}`);
  }

  /** With several secret keys, those before the present one are still good for what was given out under them. */
  async #firstThat(use: TicketUse, read: (key: Uint8Array) => Promise<JWTPayload>): Promise<JWTPayload | undefined> {
    for (const key of this.#keys(use)) {
      try {
        return await read(key);
      } catch (err) {
        // Forged, broken, out of date or under another key: all the same to us. Anything else is a defect.
        if (!(err instanceof errors.JOSEError)) throw err;
      }
    }
    return undefined;
  }
}
