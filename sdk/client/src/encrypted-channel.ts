/** A channel whose events only its subscribers can read: the server passes on what it cannot open. */
import type { Answer } from './authorize.ts';
import { type ChannelHost, type Permission, PrivateChannel } from './channel.ts';
import type { Untyped } from './listeners.ts';
import type { Nacl } from './options.ts';
import { decoded } from './surroundings.ts';

// Each is everywhere a WebSocket is, and none is in the language itself.
const { atob, TextDecoder, console } = globalThis as unknown as {
  atob(text: string): string;
  TextDecoder: new () => { decode(bytes: Uint8Array): string };
  console?: { warn(text: string): void };
};

const bytesOf = (base64: string) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

export class EncryptedChannel<Events extends object = Record<string, Untyped>> extends PrivateChannel<Events> {
  private key: Uint8Array | null = null;
  private readonly nacl: Nacl;
  /** Events wait for one that needs a new key, so that they keep their order. */
  private opening: Promise<void> | null = null;

  constructor(name: string, host: ChannelHost, nacl: Nacl) {
    super(name, host);
    this.nacl = nacl;
  }

  override trigger(): never {
    throw new TypeError(`${this.name} is encrypted: client events cannot be sent on it`);
  }

  protected override async permission(socketId: string): Promise<Answer<Permission>> {
    const answer = await this.host.askForChannel(this, socketId);
    if (!answer.ok) return answer;
    const { shared_secret, ...permission } = answer.value;
    if (shared_secret === undefined) {
      const error = `The answer for ${this.name} has no shared_secret: give the server library its encryption master key`;
      return { ok: false, error: { type: 'AuthError', error } };
    }
    this.key = bytesOf(shared_secret);
    return { ok: true, value: permission };
  }

  protected override tellEvent(event: string, data: unknown): void {
    if (event.startsWith('pusher:')) this.tell(event, data);
    else if (this.opening !== null || !this.tellOpened(event, data)) {
      const opening = (this.opening ?? Promise.resolve())
        .then(() => this.openAndTell(event, data))
        .then(() => {
          if (this.opening === opening) this.opening = null;
        });
      this.opening = opening;
    }
  }

  private async openAndTell(event: string, data: unknown): Promise<void> {
    if (this.tellOpened(event, data)) return;
    // The key may have been changed since.
    const socketId = this.host.socketId();
    if (socketId !== undefined) await this.permission(socketId);
    if (!this.tellOpened(event, data))
      console?.warn(`[starling] An event ${event} of ${this.name} cannot be decrypted`);
  }

  private tellOpened(event: string, data: unknown): boolean {
    const { ciphertext, nonce } = Object(data) as Record<string, unknown>;
    if (typeof ciphertext !== 'string' || typeof nonce !== 'string' || this.key === null) return false;
    const opened = this.nacl.secretbox.open(bytesOf(ciphertext), bytesOf(nonce), this.key);
    if (opened === null) return false;
    this.tell(event, decoded(new TextDecoder().decode(opened)));
    return true;
  }
}
