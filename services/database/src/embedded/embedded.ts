/** Postgres inside this process: for one machine, and for trying it out. */
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { StarlingError } from '@starling/protocol';
import { lockFolder } from './folder-lock.ts';
import { findSeed, unpackSeed } from './seed.ts';

/** Beside the bundle, or beside this file. */
const workerPlaces = ['./embedded/worker.mjs', './worker.mjs'];
/** Of an address on Linux, less elsewhere. */
const socketPathBytesMax = 100;
const startLimitMs = 60_000;
const stopLimitMs = 5_000;

export interface Embedded {
  readonly socketPath: string;
  stop(): Promise<void>;
}

/** `onDeath` is called when it ends although nobody stopped it. */
export async function startEmbedded(dataDir: string, onDeath: (err: Error) => void): Promise<Embedded> {
  const home = resolve(dataDir, 'postgres');
  mkdirSync(home, { recursive: true, mode: 0o700 });
  // The socket asks for no password: who may enter the folder may read everything.
  chmodSync(home, 0o700);
  const socketPath = socketPathIn(home);
  const unlock = await lockFolder(home, socketPath);
  try {
    const worker = await startWorker(home, socketPath);
    const state = { isStopping: false };
    worker.on('error', (err) => !state.isStopping && onDeath(err));
    worker.once('exit', (code) => !state.isStopping && onDeath(new Error(`The embedded database ended with ${code}`)));
    return {
      socketPath,
      stop: async () => {
        state.isStopping = true;
        await ended(worker);
        removeSocket(home, socketPath);
        unlock();
      },
    };
  } catch (err) {
    unlock();
    throw err;
  }
}

async function startWorker(home: string, socketPath: string): Promise<Worker> {
  const folder = join(home, 'data');
  const seed = findSeed();
  if (seed !== undefined && !existsSync(join(folder, 'PG_VERSION'))) unpackSeed(seed, folder);
  // What a process that was killed has left would keep the next from listening.
  rmSync(socketPath, { force: true });
  const file = workerPlaces
    .map((place) => fileURLToPath(new URL(place, import.meta.url)))
    .find((path) => existsSync(path));
  if (file === undefined) throw new StarlingError('internal', 'The build lacks embedded/worker.mjs');
  const worker = new Worker(file, { workerData: { dataDir: folder, socketPath }, execArgv: [] });
  const limit = AbortSignal.timeout(startLimitMs);
  try {
    await once(worker, 'message', { signal: limit });
  } catch (err) {
    await worker.terminate();
    const problem = limit.aborted
      ? `it was not ready after ${startLimitMs} ms`
      : err instanceof Error
        ? err.message
        : err;
    throw new StarlingError('unavailable', `the embedded database in ${home} does not start: ${problem}`, {
      cause: err,
    });
  }
  return worker;
}

async function ended(worker: Worker): Promise<void> {
  const limit = AbortSignal.timeout(stopLimitMs);
  try {
    const exit = once(worker, 'exit', { signal: limit });
    worker.postMessage('stop');
    await exit;
  } catch {
    // Like a kill: Postgres mends it at the next start.
    await worker.terminate();
  }
}

/** In the folder itself, so that a later process finds out whether anyone listens; in another where its path is too long. */
function socketPathIn(home: string): string {
  const path = join(home, '.s.PGSQL.5432');
  return Buffer.byteLength(path) <= socketPathBytesMax ? path : join(mkdtempSync(join(tmpdir(), 'starling-')), 's');
}

function removeSocket(home: string, socketPath: string): void {
  rmSync(dirname(socketPath) === home ? socketPath : dirname(socketPath), { recursive: true, force: true });
}
