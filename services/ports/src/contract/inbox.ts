/** Collects what arrives, and waits for it with a limit: a test never sleeps. */
import { type Broker, type BrokerMessage, decodeTransition, type Topic } from '../index.ts';

export interface Arrival {
  readonly topic: Topic;
  readonly message: BrokerMessage;
  /** See `textOf`. */
  readonly text: string;
}

const limitMs = 10_000;

export class Inbox {
  readonly arrivals: Arrival[] = [];
  #watchers: Array<() => void> = [];
  /** Ends the listening. */
  readonly close: () => void;

  constructor(broker: Broker) {
    this.close = broker.listen((topic, message) => {
      this.arrivals.push({ topic, message, text: textOf(message) });
      for (const watcher of this.#watchers) watcher();
    });
  }

  /** The texts of one topic, in the order in which they arrived. */
  texts(topic: Topic): string[] {
    return this.arrivals.filter((arrival) => arrival.topic === topic).map((arrival) => arrival.text);
  }

  /** Resolves when the last of `count` messages of the topic is here. It does not look whether more will come. */
  async until(topic: Topic, count: number): Promise<readonly Arrival[]> {
    const here = (): Arrival[] => this.arrivals.filter((arrival) => arrival.topic === topic);
    await new Promise<void>((resolve, reject) => {
      const watcher = (): void => {
        if (here().length < count) return;
        clearTimeout(timer);
        this.#watchers = this.#watchers.filter((other) => other !== watcher);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#watchers = this.#watchers.filter((other) => other !== watcher);
        reject(new Error(`Waited ${limitMs} ms for ${count} messages of ${topic}, got ${here().length}`));
      }, limitMs);
      this.#watchers.push(watcher);
      watcher();
    });
    return here();
  }
}

/** Of a transition `+USER` or `-USER`; else the payload. */
export function textOf({ kind, payload }: BrokerMessage): string {
  const transition = kind === 'transition' ? decodeTransition(payload) : undefined;
  if (transition === undefined) return decodeText(payload);
  return transition.type === 'member-added' ? `+${transition.member.userId}` : `-${transition.userId}`;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function encodeText(text: string): Uint8Array {
  return encoder.encode(text);
}

export function decodeText(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

export function eventOf(text: string, except?: string): BrokerMessage {
  const message = { kind: 'event', payload: encodeText(text) } as const;
  return except === undefined ? message : { ...message, except };
}

/** Names that are ordinary to us and special to somebody: to JavaScript, to a glob, to a cluster's hash tags. */
export const oddNames = [
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  '*',
  '?',
  '[a-z]*',
  '{x}',
  '{}',
  'a:b',
  ':',
  '~user:1',
  '#server-to-user-1',
  ' ',
  'line\nfeed',
  'nul\0nul',
  '"quoted"',
  'é',
  'e\u0301',
  '😀',
  '0',
  '00',
  '1e3',
  'null',
  'x'.repeat(128),
] as const;

/** A frame is UTF-8: characters of one to four bytes, zero among them. */
export const everyCharacter = encodeText(
  `${String.fromCharCode(...Array.from({ length: 2_048 }, (_, unit) => unit))}\u2028\ufeff漢\uffff😀`,
);
