/** What a page tells about the network and about itself; in Node, nothing does. */
import { type EventSource, surroundings } from './surroundings.ts';

export interface Wakes {
  online(): void;
  offline(): void;
  /** The page is looked at again, or runs again. */
  seen(): void;
  /** The page is about to stop running, and may run again. */
  frozen(): void;
}

/** Returns what ends it. */
export function listenToWakes(wakes: Wakes): () => void {
  const { document } = surroundings;
  const page = surroundings.addEventListener === undefined ? undefined : (surroundings as unknown as EventSource);
  const ends: Array<() => void> = [];
  const listen = (source: EventSource | undefined, type: string, listener: (event: unknown) => void) => {
    source?.addEventListener(type, listener);
    ends.push(() => source?.removeEventListener(type, listener));
  };
  const isKept = (event: unknown) => (event as { readonly persisted?: boolean }).persisted === true;
  listen(page, 'online', () => wakes.online());
  listen(page, 'offline', () => wakes.offline());
  listen(page, 'pagehide', (event) => isKept(event) && wakes.frozen());
  listen(page, 'pageshow', (event) => isKept(event) && wakes.seen());
  listen(document, 'freeze', () => wakes.frozen());
  listen(document, 'resume', () => wakes.seen());
  listen(document, 'visibilitychange', () => document?.visibilityState === 'visible' && wakes.seen());
  return () => {
    for (const end of ends) end();
  };
}
