/** The board that all nodes read, as one topic of the broker. */
import { type Broker, type Bulletin, bulletinTopic, type Notice, type Observer, parseNotice } from '@starling/ports';
import type { Hub } from './hub.ts';

export interface BulletinDeps {
  readonly broker: Broker;
  readonly hub: Hub;
  readonly observer: Observer;
}

export class BrokerBulletin implements Bulletin {
  readonly #deps: BulletinDeps;
  readonly #readers = new Set<{ read(notice: Notice): void }>();

  constructor(deps: BulletinDeps) {
    this.#deps = deps;
  }

  /** Once resolved, notices arrive. */
  async start(): Promise<void> {
    await this.#deps.hub.follow(bulletinTopic, (payload) => this.#receive(payload));
  }

  async post(notice: Notice): Promise<void> {
    await this.#deps.broker.publish(bulletinTopic, { kind: 'event', payload: Buffer.from(JSON.stringify(notice)) });
  }

  listen(read: (notice: Notice) => void): () => void {
    const reader = { read };
    this.#readers.add(reader);
    return () => this.#readers.delete(reader);
  }

  onGap(listener: () => void): () => void {
    return this.#deps.broker.onGap(listener);
  }

  #receive(payload: Uint8Array): void {
    const { observer } = this.#deps;
    const notice = parseNotice(payload);
    if (notice === 'unknown') return;
    if (notice === 'malformed') {
      observer.problem('a notice to all nodes cannot be read', { bytes: payload.byteLength });
      return;
    }
    for (const { read } of [...this.#readers]) {
      try {
        read(notice);
      } catch (err) {
        observer.defect('control message', err, { notice: notice.kind });
      }
    }
  }
}
