/** The processes a run has started: every one is ended, by its pid, however the run ends. */
import type { ChildProcess } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

export class Children {
  readonly #running = new Set<ChildProcess>();

  start(child: ChildProcess): ChildProcess {
    this.#running.add(child);
    child.once('exit', () => this.#running.delete(child));
    child.once('error', () => this.#running.delete(child));
    return child;
  }

  /** Resolves when it is gone. A process that does not heed the signal is killed. */
  async stop(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL', patienceMs = 5_000): Promise<void> {
    if (!this.#running.has(child)) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs);
    await gone;
    clearTimeout(timer);
  }

  killAll(): void {
    for (const child of this.#running) child.kill('SIGKILL');
  }
}

export function findOnPath(name: string): string | undefined {
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .concat('/usr/sbin')
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        // Not there, or not ours to run.
        return false;
      }
    });
}

/** The command, arranged so that it ends with us even when we are killed, where the system can do that. */
export function endingWithUs(command: readonly string[]): readonly string[] {
  const setpriv = findOnPath('setpriv');
  return setpriv === undefined ? command : [setpriv, '--pdeathsig', 'KILL', ...command];
}
