// Runs Postgres, compiled to WebAssembly, in a thread of its own behind a unix socket: a heavy query would stop the
// event loop of the connections for seconds. Plain JavaScript, since a thread starts from this file as it is.
import { parentPort, workerData } from 'node:worker_threads';
import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';

const { dataDir, socketPath } = workerData;
const db = await PGlite.create(dataDir);
// One is in use at a time; a second and third are those that the other side gave up.
const server = new PGLiteSocketServer({ db, path: socketPath, maxConnections: 3 });
await server.start();
parentPort.once('message', async () => {
  await server.stop();
  await db.close();
  process.exit(0);
});
parentPort.postMessage('ready');
