import { createRequire } from 'node:module';
import { type NativeModule, NativeSocketWriter } from './native-socket-writer.ts';
import { type SocketWriter, StreamSocketWriter } from './socket-writer.ts';

export type FanoutChoice = 'auto' | 'js';

/** The native writer where it was built and fits this machine, else the plain one. `file` is the native module's. */
export function openSocketWriter(choice: FanoutChoice = 'auto', file = '@starling/fanout/native'): SocketWriter {
  if (choice === 'js') return new StreamSocketWriter();
  try {
    // By the package's name, so that it is found from the source and from the bundle in another room alike.
    const native: NativeModule = createRequire(import.meta.url)(file);
    return new NativeSocketWriter(native);
  } catch (err) {
    // Not built, or for another machine: either way the plain one serves, and the reason says which.
    const isMissing = (err as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND';
    return new StreamSocketWriter(isMissing ? 'not built' : String(err));
  }
}
