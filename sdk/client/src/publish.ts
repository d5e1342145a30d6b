/** Publishing over the connection: every publish ends in an answer, or in the plain word that there is none. */
import { StarlingError } from './errors.ts';
import { after } from './surroundings.ts';

export interface PublishOptions {
  /** Not to this connection. */
  readonly excludeSelf?: boolean;
}

interface Pending {
  resolve(): void;
  reject(error: StarlingError): void;
  stopTimeout(): void;
}

export interface PublisherNeeds {
  readonly timeoutMs: number;
  socketId(): string | undefined;
  send_event(event: string, data: unknown): boolean;
}

export class Publisher {
  private readonly needs: PublisherNeeds;
  private readonly pending = new Map<string, Pending>();
  private serial = 0;

  constructor(needs: PublisherNeeds) {
    this.needs = needs;
  }

  publish(
    channels: string | readonly string[],
    name: string,
    data: unknown,
    options: PublishOptions = {},
  ): Promise<void> {
    const id = String(++this.serial);
    const { timeoutMs } = this.needs;
    return new Promise((resolve, reject) => {
      const wasSent = this.needs.send_event('starling:publish', {
        id,
        channels: typeof channels === 'string' ? [channels] : channels,
        name,
        data: typeof data === 'string' ? data : JSON.stringify(data ?? null),
        ...(options.excludeSelf === true && { socket_id: this.needs.socketId() }),
      });
      if (!wasSent) {
        reject(new StarlingError('not_connected', 'Nothing was published: there is no connection'));
        return;
      }
      const stopTimeout = after(timeoutMs, () => this.abandon(id, `No answer within ${timeoutMs} ms`));
      this.pending.set(id, { resolve, reject, stopTimeout });
    });
  }

  /** `starling:publish_ack` and `starling:publish_error`. */
  answered(event: string, data: unknown): void {
    const { id, code, message, retry_after } = data as Record<string, unknown>;
    const pending = this.take(String(id));
    if (event === 'starling:publish_ack') pending?.resolve();
    else {
      const wait = typeof retry_after === 'number' ? { retryAfterSeconds: retry_after } : {};
      pending?.reject(new StarlingError(String(code), String(message), wait));
    }
  }

  /** The connection has gone, and the answers with it. */
  cut(): void {
    for (const id of [...this.pending.keys()]) this.abandon(id, 'The connection was lost before the answer came');
  }

  private abandon(id: string, reason: string): void {
    this.take(id)?.reject(new StarlingError('publish_unknown', `${reason}: unknown whether it was published`));
  }

  private take(id: string): Pending | undefined {
    const pending = this.pending.get(id);
    this.pending.delete(id);
    pending?.stopTimeout();
    return pending;
  }
}
