/** The global script: `Starling` is the class itself, as `Pusher` is in pusher-js's. */
import { Starling } from './index.ts';

(globalThis as unknown as { Starling: typeof Starling }).Starling = Starling;
