/** The process that keeps the apps, as a test wants it: it is told what an administrator would do. */
import { MemoryAppStore } from '@starling/adapters/memory';
import { serveApps } from '@starling/adapters/process';
import type { App } from '@starling/ports';
import { createLog, Line, PinoObserver } from '@starling/runtime';

const line = new Line(process, new PinoObserver(createLog({ level: 'info', isReadable: true })));
const serving = { store: new MemoryAppStore(), end: () => {} };

line.answer('begin anew', () => {
  serving.end();
  serving.store = new MemoryAppStore();
  serving.end = serveApps(serving.store, line);
});
line.answer('put', (app) => serving.store.put(app as App));
line.answer('remove', (id) => serving.store.remove(id as string));
