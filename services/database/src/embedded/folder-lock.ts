/** Keeps a second process out of a data folder: two of them on one folder lose each other's rows. */
import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { StarlingError } from '@starling/protocol';

interface Holder {
  readonly pid: number;
  /** What tells it from a later process with the same pid; null where the system does not say. */
  readonly startedAt: string | null;
  /** Where its database listens. */
  readonly socketPath: string;
}

/** Returns the function that frees the folder. Throws a StarlingError that names the process that holds it. */
export async function lockFolder(folder: string, socketPath: string): Promise<() => void> {
  const path = join(folder, 'starling.lock');
  const own = `${path}.${process.pid}`;
  writeFileSync(own, JSON.stringify({ pid: process.pid, startedAt: startOf(process.pid), socketPath }), {
    mode: 0o600,
  });
  try {
    // One more round for each process that may have died over it, or that starts at this moment.
    for (let round = 0; round < 5; round++) {
      try {
        // Appears whole or not at all, and never takes the place of another.
        linkSync(own, path);
        return () => rmSync(path, { force: true });
      } catch (err) {
        if (!isCode(err, 'EEXIST')) throw err;
      }
      const found = readLock(path);
      if (found === undefined) continue;
      if (found.holder !== undefined && (await isHeld(found.holder))) {
        throw new StarlingError(
          'unavailable',
          `${folder} is in use by process ${found.holder.pid}: two on one data folder would lose data. Stop that one, ` +
            'give this one another STARLING_DATA_DIR, or let both share a Postgres by DATABASE_URL',
        );
      }
      // Only the one that was looked at: another process may have taken over meanwhile.
      if (readLock(path)?.text === found.text) rmSync(path, { force: true });
    }
  } finally {
    rmSync(own, { force: true });
  }
  throw new StarlingError('unavailable', `${path} is being fought over by several processes: start only one`);
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
    return Number.isInteger(holder.pid) && holder.pid > 0 ? holder : undefined;
  } catch {
    // Not ours, or of a disk that was full: nobody is behind it.
    return undefined;
  }
}

async function isHeld({ pid, startedAt, socketPath }: Holder): Promise<boolean> {
  // A container's first process has the same pid every time, so the pid alone would lock out its next life.
  const isSame = isAlive(pid) && (startedAt === null ? pid !== process.pid : startOf(pid) === startedAt);
  // A process of another container on the same folder cannot be seen, but it can be spoken to.
  return isSame || (await answers(socketPath));
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

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    const end = (answer: boolean) => {
      socket.destroy();
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
