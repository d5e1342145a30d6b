/** The board that all nodes read, as one topic of the broker. */
import {
  type Broker,
  type ControlBus,
  type ControlMessage,
  controlTopic,
  type Observer,
  parseControlMessage,
} from '@starling/ports';
import type { Hub } from './hub.ts';

export interface ControlBusDeps {
  readonly broker: Broker;
  readonly hub: Hub;
  readonly observer: Observer;
}

export class BrokerControlBus implements ControlBus {
  readonly #deps: ControlBusDeps;
  readonly #readers = new Set<{ read(controlMessage: ControlMessage): void }>();

  constructor(deps: ControlBusDeps) {
    this.#deps = deps;
  }

  /** Once resolved, control messages arrive. */
  async start(): Promise<void> {
    await this.#deps.hub.follow(controlTopic, (payload) => this.#receive(payload));
  }

  async post(controlMessage: ControlMessage): Promise<void> {
    await this.#deps.broker.publish(controlTopic, {
      kind: 'event',
      payload: Buffer.from(JSON.stringify(controlMessage)),
    });
  }

  listen(read: (controlMessage: ControlMessage) => void): () => void {
    const reader = { read };
    this.#readers.add(reader);
    return () => this.#readers.delete(reader);
  }

  onGap(listener: () => void): () => void {
    return this.#deps.broker.onGap(listener);
  }

  #receive(payload: Uint8Array): void {
    const { observer } = this.#deps;
    const controlMessage = parseControlMessage(payload);
    if (controlMessage === 'unknown') return;
    if (controlMessage === 'malformed') {
      observer.problem('a control message to all nodes cannot be read', { bytes: payload.byteLength });
      return;
    }
    for (const { read } of [...this.#readers]) {
      try {
        read(controlMessage);
      } catch (err) {
        observer.defect('control message', err, { controlMessage: controlMessage.kind });
      }
    }
  }
}
