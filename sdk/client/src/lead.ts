/** How a hub is opened by whoever has the lock for it, a page or a worker, and what of the browser that takes. */
import { Hub, type HubMessage, type TabMessage } from './hub.ts';
import type { WebSocketConstructor } from './surroundings.ts';

export interface Wire {
  postMessage(message: TabMessage | HubMessage): void;
  close(): void;
  onmessage: ((event: { readonly data: TabMessage | HubMessage }) => void) | null;
}

export interface Aborter {
  readonly signal: unknown;
  abort(): void;
}

export interface LockOptions {
  readonly signal?: unknown;
  readonly steal?: true;
  readonly ifAvailable?: true;
}

/** What browsers have for tabs that know of each other. */
export interface Platform {
  readonly BroadcastChannel: new (name: string) => Wire;
  readonly AbortController: new () => Aborter;
  readonly crypto: { randomUUID(): string };
  readonly navigator: {
    readonly locks: {
      /**
       * Held until the promise of the callback settles; `ifAvailable` gives null where it is not free. Rejects when it
       * was aborted, when the lock was stolen, and where there are no locks for this page.
       */
      request(
        name: string,
        options: LockOptions,
        callback: (lock: unknown) => Promise<void> | undefined,
      ): Promise<void>;
    };
  };
}

export function platformHere(): Platform | null {
  const here = globalThis as unknown as { [Name in keyof Platform]?: Platform[Name] | undefined };
  const isThere = here.BroadcastChannel !== undefined && here.navigator?.locks !== undefined;
  return isThere ? (here as Platform) : null;
}

/** What to connect to, for those who share that name. */
export interface Lead {
  readonly name: string;
  readonly url: string;
}

/** Only for who has the lock of that name. */
export function openHub(
  platform: Platform,
  { name, url }: Lead,
  WebSocketHere: WebSocketConstructor,
  told: { emptied?(hub: Hub): void; ended?(): void } = {},
): Hub {
  const wire = new platform.BroadcastChannel(name);
  const hub: Hub = new Hub({
    id: platform.crypto.randomUUID(),
    url,
    WebSocket: WebSocketHere,
    post: (message) => wire.postMessage(message),
    watch: (tab, gone) => {
      const aborter = new platform.AbortController();
      const granted = () => {
        gone();
        return undefined;
      };
      // It rejects when the watch is ended, and then there is nothing to do.
      platform.navigator.locks.request(`${name} ${tab}`, { signal: aborter.signal }, granted).catch(() => {});
      return () => aborter.abort();
    },
    emptied: () => told.emptied?.(hub),
    ended: () => {
      wire.close();
      told.ended?.();
    },
  });
  wire.onmessage = ({ data }) => {
    if ('from' in data) hub.receive(data);
  };
  return hub;
}
