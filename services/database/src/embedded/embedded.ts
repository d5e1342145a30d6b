/** Postgres inside this process: for one machine, and for trying it out. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, rmSync } from 'node:fs';
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

export class Embedded {
  /** Where it listens once it has started. */
  readonly socketPath: string;
  readonly #home: string;
  readonly #onDeath: (err: Error) => void;
  #worker: Worker | undefined;
  #unlock: () => void = () => {};
  #isStopping = false;

  /** `onDeath` is called when it ends although nobody stopped it. */
  constructor(dataDir: string, onDeath: (err: Error) => void) {
    this.#home = resolve(dataDir, 'postgres');
    this.socketPath = socketPathOf(this.#home);
    this.#onDeath = onDeath;
  }

  async start(): Promise<void> {
    makePrivate(this.#home);
    makePrivate(dirname(this.socketPath));
    this.#unlock = await lockFolder(this.#home, this.socketPath);
    try {
      const worker = await startWorker(this.#home, this.socketPath);
      this.#worker = worker;
      worker.on('error', (err) => this.#died(err));
      worker.once('exit', (code) => this.#died(new Error(`It ended with ${code}`)));
    } catch (err) {
      this.#unlock();
      throw err;
    }
  }

  async stop(): Promise<void> {
    if (this.#worker === undefined || this.#isStopping) return;
    this.#isStopping = true;
    await ended(this.#worker);
    rmSync(this.socketPath, { force: true });
    this.#unlock();
  }

  #died(err: Error): void {
    if (!this.#isStopping) this.#onDeath(err);
  }
}

/** For this user only: the socket asks for no password, so who may enter the folder may read everything. */
function makePrivate(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // Refused where it is somebody else's.
  chmodSync(folder, 0o700);
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

/** In the folder itself; elsewhere, always in the same place, where its path would be too long for an address. */
function socketPathOf(home: string): string {
  const path = join(home, '.s.PGSQL.5432');
  if (Buffer.byteLength(path) <= socketPathBytesMax) return path;
  return join(tmpdir(), `starling-${createHash('sha256').update(home).digest('hex').slice(0, 20)}`, 's');
}
