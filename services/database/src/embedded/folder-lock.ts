/** Keeps a second process out of a data folder: two of them on one folder lose each other's rows. */
import { randomBytes } from 'node:crypto';
import { closeSync, linkSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { StarlingError } from '@starling/protocol';

export interface Holder {
  readonly pid: number;
  /** Distinguishes it from a later process with the same pid; null where the system does not say. */
  readonly startedAt: string | null;
  /** A socket in the folder on which the holder listens as long as it lives; null where none can be made. */
  readonly alive: string | null;
  /** The path of the Postgres socket, for other processes of the same user. */
  readonly postgresSocket: string;
}

const lockName = 'starling.lock';

/** Returns the function that releases the folder. Throws a StarlingError that names the process that holds it. */
export async function lockFolder(folder: string, postgresSocket: string): Promise<() => void> {
  const path = join(folder, lockName);
  const alive = await listenIn(folder);
  const own = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
  const holder: Holder = {
    pid: process.pid,
    startedAt: startOf(process.pid),
    alive: alive?.name ?? null,
    postgresSocket,
  };
  let isOurs = false;
  try {
    // `wx`: never through a link that somebody else put there.
    writeFileSync(own, JSON.stringify(holder), { mode: 0o600, flag: 'wx' });
    // One more round for each process that may have died over it, or that starts at this moment.
    for (let round = 0; round < 5; round++) {
      try {
        // Appears whole or not at all, and never replaces another.
        linkSync(own, path);
        isOurs = true;
        return () => {
          rmSync(path, { force: true });
          alive?.close();
        };
      } catch (err) {
        if (!isCode(err, 'EEXIST')) throw err;
      }
      const found = readLock(path);
      if (found === undefined) continue;
      if (found.holder !== undefined && (await isHeld(folder, found.holder))) {
        throw new StarlingError(
          'unavailable',
          `${folder} is in use by process ${found.holder.pid}: two on one data folder would lose data. Stop that one, ` +
            'give this one another STARLING_DATA_DIR, or let both share a Postgres by DATABASE_URL',
        );
      }
      // Only the one that was looked at: another process may have taken over meanwhile.
      if (readLock(path)?.text === found.text) {
        rmSync(path, { force: true });
        if (found.holder?.alive != null) rmSync(join(folder, found.holder.alive), { force: true });
      }
    }
  } finally {
    rmSync(own, { force: true });
    if (!isOurs) alive?.close();
  }
  throw new StarlingError('unavailable', `${path} is being fought over by several processes: start only one`);
}

/** The process that holds the folder, or that held it when it was killed. */
export function lastHolderOf(folder: string): Holder | undefined {
  return readLock(join(folder, lockName))?.holder;
}

/** The process that holds the folder now, if any does. */
export async function holderOf(folder: string): Promise<Holder | undefined> {
  const holder = lastHolderOf(folder);
  return holder !== undefined && (await isHeld(folder, holder)) ? holder : undefined;
}

/**
 * A pid says nothing across containers that share a volume; a socket does, and the kernel closes it with the process.
 * Undefined where the file system has no sockets.
 */
async function listenIn(folder: string): Promise<{ readonly name: string; close(): void } | undefined> {
  const name = `starling.${randomBytes(6).toString('hex')}.alive`;
  const place = openPlace(folder);
  const server = createServer((socket) => socket.destroy());
  const close = () => {
    server.close();
    rmSync(join(folder, name), { force: true });
    place.close();
  };
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(join(place.path, name), resolve);
    });
    server.unref();
    return { name, close };
  } catch {
    close();
    return undefined;
  }
}

/** The folder under a path that is short enough: the address of a socket has 107 bytes. Linux only. */
function openPlace(folder: string): { readonly path: string; close(): void } {
  if (process.platform !== 'linux') return { path: folder, close: () => {} };
  const file = openSync(folder, 'r');
  return { path: `/proc/self/fd/${file}`, close: () => closeSync(file) };
}

function readLock(path: string): { readonly text: string; readonly holder: Holder | undefined } | undefined {
  try {
    const text = readFileSync(path, 'utf8');
    return { text, holder: parseHolder(text) };
  } catch (err) {
    if (isCode(err, 'ENOENT')) return undefined;
    throw err;
  }
}

function parseHolder(text: string): Holder | undefined {
  try {
    const holder = JSON.parse(text) as Holder;
    const isWhole = Number.isInteger(holder.pid) && holder.pid > 0 && typeof holder.postgresSocket === 'string';
    // Its name becomes a path: one of ours, or none.
    return isWhole
      ? { ...holder, alive: /^starling\.[0-9a-f]{12}\.alive$/.exec(holder.alive ?? '')?.[0] ?? null }
      : undefined;
  } catch {
    // Not ours, or of a disk that was full: no process is behind it.
    return undefined;
  }
}

async function isHeld(folder: string, { pid, startedAt, alive }: Holder): Promise<boolean> {
  // Without a start time the pid may be a later process's; the socket is surer.
  if (startedAt === null && alive !== null) return answers(folder, alive);
  // A container's first process has the same pid every time, so the pid alone would lock out its next life.
  const isSame = isAlive(pid) && (startedAt === null ? pid !== process.pid : startOf(pid) === startedAt);
  // A process of another container on the same folder cannot be seen, but it can be spoken to.
  return isSame || (alive !== null && (await answers(folder, alive)));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (err) {
    return isCode(err, 'EPERM');
  }
}

/** Linux only. A dead process that nobody has taken note of has no start. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? 'dead' : (fields[19] ?? null);
  } catch {
    // No such process, or no Linux.
    return null;
  }
}

function answers(folder: string, name: string): Promise<boolean> {
  const place = openPlace(folder);
  return new Promise((resolve) => {
    const socket = connect(join(place.path, name));
    const end = (answer: boolean) => {
      socket.destroy();
      place.close();
      resolve(answer);
    };
    socket.setTimeout(1_000, () => end(false));
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}

function isCode(err: unknown, code: string): boolean {
  return err instanceof Error && 'code' in err && err.code === code;
}
