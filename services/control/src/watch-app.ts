/** The debug stream: what nodes tell of an app, for one reader. */
import type { z } from 'zod';
import type { streams } from './contract/index.ts';
import type { Begin } from './frame/stream.ts';

/** One thing that happened; core's `DebugEntry`. */
export interface AppEvent {
  readonly what: string;
  readonly [detail: string]: unknown;
}

export interface AppWatch {
  /** What `listen` throws costs it that entry. Returns the function that ends it. */
  watch(appId: string, listen: (entry: AppEvent) => void): Promise<() => void>;
}

export function watchApp(watch: AppWatch): Begin {
  return async ({ params, query }, stream) => {
    const { appId = '' } = params as Readonly<Record<string, string | undefined>>;
    const { channel, socketId, what } = query as z.output<typeof streams.watchApp.query>;
    const kinds = what?.split(',').map((each) => each.trim());
    return watch.watch(appId, (entry) => {
      if (channel !== undefined && entry['channel'] !== channel) return;
      if (socketId !== undefined && entry['socketId'] !== socketId) return;
      if (kinds !== undefined && !kinds.includes(entry.what)) return;
      stream.send(entry);
    });
  };
}
