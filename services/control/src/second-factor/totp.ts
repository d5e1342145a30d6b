/** One-time codes by time, RFC 6238, as authenticator apps make them: SHA-1, six digits, steps of 30 s. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

const stepMs = 30_000;
/** Clocks of phones are off by some seconds, and typing takes some more. */
const stepsAround = [0, -1, 1];

export type TotpHash = 'sha1' | 'sha256' | 'sha512';

export function createTotpSecret(): Buffer {
  return randomBytes(20);
}

export function stepAt(nowMs: number): number {
  return Math.floor(nowMs / stepMs);
}

export function codeOf(secret: Uint8Array, step: number, digits = 6, hash: TotpHash = 'sha1'): string {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const mac = createHmac(hash, secret).update(counter).digest();
  const at = (mac.at(-1) ?? 0) & 0xf;
  return String((mac.readUInt32BE(at) & 0x7fff_ffff) % 10 ** digits).padStart(digits, '0');
}

/** The step this is the code of, now or just before or after; undefined when it is none of theirs. */
export function findStep(secret: Uint8Array, code: string, nowMs: number): number | undefined {
  const given = Buffer.from(code.replaceAll(/[\s-]/g, ''));
  const steps = stepsAround.map((distance) => stepAt(nowMs) + distance).filter((step) => step >= 0);
  // Each is compared, so that the time taken tells nothing.
  const found = steps.filter((step) => {
    const expected = Buffer.from(codeOf(secret, step));
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
  return found[0];
}

/** What an authenticator app reads from a QR code. */
export function totpUrl(secret: Uint8Array, account: string, issuer = 'Starling'): string {
  const label = encodeURIComponent(`${issuer}:${account}`);
  return `otpauth://totp/${label}?secret=${toBase32(secret)}&issuer=${encodeURIComponent(issuer)}`;
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

export function toBase32(bytes: Uint8Array): string {
  let [text, held, heldBits] = ['', 0, 0];
  for (const byte of bytes) {
    held = (held << 8) | byte;
    heldBits += 8;
    for (; heldBits >= 5; heldBits -= 5) text += alphabet.charAt((held >>> (heldBits - 5)) & 31);
    held &= (1 << heldBits) - 1;
  }
  return heldBits === 0 ? text : text + alphabet.charAt((held << (5 - heldBits)) & 31);
}
