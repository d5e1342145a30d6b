/** What a program is started with. */
import type { PinoObserver } from '@starling/runtime';
import type { FirstStart } from './apps.ts';
import type { Settings } from './config.ts';

/** What a program may serve: connections, the HTTP API, the admin API. */
export type Part = 'edge' | 'api' | 'control';

/** Told the address, such as `http://127.0.0.1:6001`. */
export type OnReady = (url: string, first: FirstStart) => void;

export interface ProgramOptions {
  readonly settings: Settings;
  readonly parts: readonly Part[];
  readonly observer: PinoObserver;
  readonly onReady: OnReady;
}
